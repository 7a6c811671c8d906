"""Composing in a child: what it bounds, what it costs whom, and that nothing is left behind."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError, NotNowError
from outbox.core.message import Message
from outbox.mail import children
from outbox.mail.addressees import addressees
from outbox.mail.child import Child
from outbox.mail.composer import LARGE, Composer, Limits
from tests.mail.rows import SHOP, claimed, composed, read, text_of

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HUNGRY = "{% set ns = namespace(a='x' * 1000) %}{% for _ in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"


@pytest.fixture
def folder(tmp_path):
    """Templates, good ones and hostile ones."""
    path = tmp_path / "templates"
    path.mkdir()
    files = {
        "hi.txt": "Hello {{ name }}",
        "hi.subject.txt": "Hi {{ name }}",
        "other.txt": "Other",
        "fine.txt": "Fine",
        "endless.txt": ENDLESS,
        "sometimes.txt": "{% if bad %}" + ENDLESS + "{% endif %}fine",
        "hungry.txt": HUNGRY,
        "long.txt": "{% for a in range(1000) %}{{ 'x' * 100000 }}{% endfor %}",
        "wrong.txt": "one\n{{ order }}",
        "styled.html": "<style>p { color: red }</style>{% for _ in range(n) %}<p>x{% endfor %}",
        "selective.html": "<style>" + " ".join(f"p:nth-child({n}) b {{ color: red }}" for n in range(5000)) + "</style>"
        "{% for _ in range(40000) %}<p><b>x</b></p>{% endfor %}",
    }
    for name, text in files.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


@pytest.fixture
async def composer(folder):
    composer = Composer(SHOP, folder, Limits(timeout=1.0, memory=128 << 20, max_size=4 << 20))
    yield composer
    await composer.close()
    assert _children_of_this_process() == set()


def _children_of_this_process() -> set[int]:
    """The processes that compose for us, zombies included."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        zombie, parent = rest.split()[0] == "Z", int(rest.split()[1])
        if parent == os.getpid() and (b"outbox.mail.child_main" in command or (zombie and "python" in name)):
            found.add(int(status.parent.name))
    return found


def _environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _files_of(pid: int) -> str:
    """With what is mapped from them, compiled modules among others."""
    return Path(f"/proc/{pid}/maps").read_text()


async def made(composer, files=(), **columns):
    """The message of a row, as the poller has it made."""
    row = claimed(**{"subject": "Hi", "body_text": None} | columns)
    return await composer.compose(row, addressees(row), files, ())


async def test_a_literal_row_starts_no_child(composer):
    await made(composer, body_text="Hello", body_html="<p>Hello")
    assert _children_of_this_process() == set()


@pytest.mark.parametrize(
    "columns",
    [
        {"template": "hi", "context": json.dumps({"name": "Zoë 😀 日本"}), "subject": None},
        {"body_html": "<p>Hello <b>Zoë</b>"},
        {"body_text": "é" * LARGE},
        {"body_text": "x" * 100, "headers": json.dumps({f"X-{n}": "y" for n in range(2000)})},
        {"body_text": "x", "to_addrs": ", ".join(f"Zoë {n} <r{n}@example.org>" for n in range(1000))},
        {"body_html": "<p>" + "😀\r\n" * LARGE, "body_text": "y", "sender": "zoë@example.org"},
    ],
)
async def test_a_child_makes_the_very_bytes_that_are_made_here(composer, folder, columns):
    files = [AttachedFile("ö.bin", bytes(range(256)) * 2000, None, "logo")]
    message = await made(composer, files, **columns)
    assert message == composed(files, **{"body_text": None} | columns, templates=folder)
    assert len(_children_of_this_process()) == 1


async def test_the_text_and_the_css_of_a_template_fit_into_the_memory_that_it_is_given(composer):
    message = read((await made(composer, template="styled", context='{"n": 30000}', locale="de")).content)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


async def test_errors_of_a_template_are_told_as_ever(composer):
    with pytest.raises(ContentError, match=r"^wrong\.txt line 2: 'order' is undefined$"):
        await made(composer, template="wrong")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"template": "endless"}, r"^template 'endless': took longer than 1 s$"),
        ({"template": "selective"}, r"^template 'selective': took longer than 1 s$"),
        ({"template": "hungry"}, r"^template 'hungry': needed more than 128 MiB$"),
        ({"template": "long"}, r"^its content has 100000000 bytes, more than max_message_size allows \(4194304\)$"),
        ({"template": "x" * 70_000}, r"^template: it has 70000 characters"),
        ({"template": "hi", "context": "[" * 100_000}, r"^context: not valid JSON"),
        ({"template": "hi", "context": '{"a":' * 100_000}, r"^context: not valid JSON"),
        ({"template": "hi", "context": '{"name": 1e999999, "a": ' + "9" * 5000 + "}"}, r"^context: not valid JSON"),
        ({"body_text": "x" * (5 << 20)}, r"^its content has 5242880 bytes, more than max_message_size"),
        ({"subject": "x" * 100_000}, r"^subject: it has 100000 characters; at most 65536"),
        ({"sender": "x" * 100_000}, r"^sender: it has 100000 characters"),
        (
            {"body_text": "x", "headers": json.dumps({f"X-{n}": "" for n in range(100_000)})},
            r"^headers: it has \d+ char",
        ),
        ({"to_addrs": "a@b.example, " * 100_000}, r"^to_addrs: it has 1300000 characters"),
        ({"to_addrs": ",".join(f"{n}@b.example" for n in range(6000))}, r"^6000 recipients; an email goes to 5000"),
    ],
)
async def test_what_takes_too_much_is_an_error_of_its_row(composer, columns, said):
    with pytest.raises(ContentError, match=said):
        await made(composer, **columns)
    assert (await made(composer, template="other")).content, "and the next row is served"


async def test_files_count_for_the_size(composer):
    with pytest.raises(ContentError, match="more than max_message_size"):
        await made(composer, [AttachedFile("a.bin", b"x" * (5 << 20))], body_text="x")


async def test_deeply_nested_html_is_sent(composer):
    message = await made(composer, body_html="<table><tr><td>" * 50_000)
    assert read(message.content)["Subject"] == "Hi"


async def test_many_at_once_each_get_their_own_answer(composer):
    names = [f"r{number}" for number in range(200)]
    messages = await asyncio.gather(
        *(made(composer, template="hi", context=json.dumps({"name": name}), subject=None) for name in names)
    )
    assert [read(message.content)["Subject"] for message in messages] == [f"Hi {name}" for name in names]
    assert [text_of(read(message.content)) for message in messages] == [f"Hello {name}\n" for name in names]


async def test_a_changed_template_is_used_at_once(composer, folder):
    assert text_of(read((await made(composer, template="other")).content)) == "Other\n"
    (folder / "other.txt").write_text("Changed")
    os.utime(folder / "other.txt", (1, 1))
    assert text_of(read((await made(composer, template="other")).content)) == "Changed\n"


async def _in_the_middle_of(composer, **columns):
    """A request under way, and the child that works on it."""
    await made(composer, template="other")
    [child] = _children_of_this_process()
    work = asyncio.create_task(made(composer, **columns))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return work, child


async def test_a_child_that_is_killed_once_costs_its_row_nothing(composer):
    (work, child) = await _in_the_middle_of(composer, template="hi", context='{"name": "Ada"}')
    os.kill(child, signal.SIGKILL)
    assert text_of(read((await work).content)) == "Hello Ada\n"


async def test_a_row_that_kills_its_child_twice_fails(composer, monkeypatch):
    take = Child._take_answers

    def take_and_kill(self):
        take(self)
        assert self.at, "it is ready, and at work"
        os.kill(self._process.pid, signal.SIGSEGV)

    monkeypatch.setattr(Child, "_take_answers", take_and_kill)
    said = r"^template 'endless': the process that composes it was killed by SIGSEGV, twice$"
    with pytest.raises(ContentError, match=said):
        await made(composer, template="endless")


async def test_those_behind_an_endless_template_are_made_by_the_other_child(composer):
    await asyncio.gather(made(composer, template="other"), made(composer, template="fine"))
    assert len(_children_of_this_process()) == 2
    endless = asyncio.create_task(made(composer, template="endless"))
    await asyncio.sleep(0)
    others = [made(composer, template=name, context='{"name": "Ada"}') for name in ["other", "hi"] * 10]
    messages = await asyncio.gather(*others)
    assert not endless.done()
    assert [text_of(read(message.content)) for message in messages] == ["Other\n", "Hello Ada\n"] * 10
    with pytest.raises(ContentError, match="took longer than 1 s"):
        await endless


async def test_those_behind_a_row_that_runs_over_are_not_blamed(composer):
    await made(composer, template="other")
    rows = [made(composer, template="sometimes", context=json.dumps({"bad": n == 3})) for n in range(12)]
    found = await asyncio.gather(*rows, return_exceptions=True)
    assert [n for n, one in enumerate(found) if isinstance(one, ContentError)] == [3]
    assert all(isinstance(one, NotNowError | Message) for n, one in enumerate(found) if n != 3)


async def test_those_behind_a_row_without_bounds_are_made(composer):
    rows = [made(composer, template=name) for name in ["hungry", *["other", "fine"] * 5]]
    hungry, *others = await asyncio.gather(*rows, return_exceptions=True)
    assert isinstance(hungry, ContentError)
    assert all(isinstance(one, Message) for one in others)


async def test_a_child_that_is_killed_costs_none_of_those_in_its_queue_anything(composer):
    await made(composer, template="other")
    [child] = _children_of_this_process()
    rows = [asyncio.create_task(made(composer, template="hi", context=f'{{"name": {n}}}')) for n in range(40)]
    await asyncio.wait(rows, return_when=asyncio.FIRST_COMPLETED)
    os.kill(child, signal.SIGKILL)
    messages = await asyncio.gather(*rows)
    assert [text_of(read(message.content)) for message in messages] == [f"Hello {n}\n" for n in range(40)]


async def test_large_content_finds_its_turn_among_many_small_rows(composer):
    small = [made(composer, template=name, context='{"name": "Ada"}') for name in ["other", "hi"] * 50]
    large = [made(composer, body_text="x" * LARGE + str(n)) for n in range(4)]
    messages = await asyncio.gather(*small, *large)
    assert len(messages) == 104


async def test_a_cancelled_request_does_not_answer_the_next_one(composer):
    (work, child) = await _in_the_middle_of(composer, template="endless")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert text_of(read((await made(composer, template="other")).content)) == "Other\n"
    assert child not in _children_of_this_process()


async def test_an_endless_template_delays_neither_others_nor_many_rows_of_its_own(composer):
    (work, _) = await _in_the_middle_of(composer, template="endless")
    assert (await made(composer, template="other")).content
    assert not work.done()
    with pytest.raises(ContentError, match="took longer than 1 s"):
        await work
    rows = await asyncio.gather(*(made(composer, template="endless") for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(row, ContentError) for row in rows) == 1, "it takes turns, with a tenth of the time"
    assert str(next(row for row in rows if isinstance(row, ContentError))).endswith("took longer than 0.1 s")
    delays = sorted(row.delay for row in rows if isinstance(row, NotNowError))
    assert len(delays) == 49
    assert len(set(delays)) == 49, "they come back one after the other"
    assert delays[-1] < 10


async def test_a_good_row_is_made_from_a_template_that_has_run_over(composer):
    with pytest.raises(ContentError, match="took longer"):
        await made(composer, template="sometimes", context='{"bad": true}')
    assert text_of(read((await made(composer, template="sometimes", context='{"bad": false}')).content)) == "fine\n"


async def test_two_endless_templates_leave_a_child_to_the_others(composer, folder):
    (folder / "endless2.txt").write_text(ENDLESS)
    names = ["endless", "endless2"]
    await asyncio.gather(*(made(composer, template=name) for name in names), return_exceptions=True)
    work = [asyncio.create_task(made(composer, template=name)) for name in names * 5]
    await asyncio.sleep(0)
    assert (await made(composer, template="other")).content
    await asyncio.gather(*work, return_exceptions=True)


async def test_a_child_that_cannot_be_started_postpones_the_row(composer, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    for said in ("No such file", "could not be started"):  # the second time it is not even tried
        with pytest.raises(NotNowError, match=said) as error:
            await made(composer, template="hi")
        assert error.value.delay > 0
    monkeypatch.undo()
    monkeypatch.setattr(composer._children, "_start_at", 0.0)
    assert (await made(composer, template="other")).content


async def test_a_child_that_ends_at_once_postpones_the_row(composer, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NotNowError, match="cannot be started: it ended with exit code 1"):
        await made(composer, template="hi")


async def test_a_child_without_processor_time_postpones_the_row(composer, monkeypatch):
    (work, _) = await _in_the_middle_of(composer, template="endless")
    work.cancel()
    await asyncio.wait([work])
    monkeypatch.setattr(children, "STALLED", -1.9)
    with pytest.raises(NotNowError, match="no time for it"):
        await made(composer, template="endless")


async def test_stopping_ends_what_is_being_composed_as_not_tried(composer):
    (work, _) = await _in_the_middle_of(composer, template="endless")
    waiting = asyncio.create_task(made(composer, template="endless"))
    await asyncio.sleep(0)
    composer.abort()
    for one in (work, waiting):
        with pytest.raises(NotNowError) as error:
            await one
        assert (str(error.value), error.value.delay) == ("", 0.0)


async def test_a_child_starts_without_what_it_does_not_need(composer):
    await made(composer, template="hi", context='{"name": "Ada"}')
    [child] = _children_of_this_process()
    assert "/markupsafe/" in _files_of(child)
    assert "/sqlalchemy/" not in _files_of(child)


async def test_a_child_has_none_of_our_secrets_and_is_not_in_our_group(composer, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://user:knows-nobody@example.org")
    await made(composer, template="other")
    [child] = _children_of_this_process()
    assert b"knows-nobody" not in _environment_of(child)
    assert os.getpgid(child) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child, number)
    assert (await made(composer, template="other")).content
    assert _children_of_this_process() == {child}


@pytest.mark.parametrize("template", ["other", "endless"])
def test_children_end_with_a_parent_that_is_killed(folder, template):
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from tests.mail.rows import SHOP, claimed
        from outbox.mail.addressees import addressees
        from outbox.mail.composer import Composer, Limits

        async def main():
            composer = Composer(SHOP, Path({str(folder)!r}), Limits(timeout=1.0))
            row = claimed(template="other", body_text=None)
            await composer.compose(row, addressees(row), (), ())
            print(composer._children._running[0]._process.pid, flush=True)
            row = claimed(template={template!r}, body_text=None)
            await composer.compose(row, addressees(row), (), ())
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        watch = os.pidfd_open(child)
        parent.kill()
    assert select.select([watch], [], [], 30)[0], "it is still there"
    os.close(watch)
