"""Whatever a plain INSERT can put into any column ends that row, readably or harmlessly, and no other row notices."""

import json
import os
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from outbox.core.text import CONTROL
from outbox.daemon import Poller
from outbox.settings import Settings

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "1"))
"""How often each hostile row is inserted; `make soak` makes it ten thousand rows, with a thousand good ones behind."""

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "good.subject.txt": "Good",
    "good.txt": "Hello {{ name }}",
    "subject.subject.txt": "{{ subject }}",
    "subject.txt": "x",
    "endless.txt": ENDLESS,
    "endless2.html": ENDLESS,
    "hungry.txt": "{% set ns = namespace(a='x') %}{% for _ in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "bomb.txt": "{{ 'x' * 10 ** 10 }}",
    "long.txt": "{% for a in range(999) %}{{ 'x' * 99999 }}{% endfor %}",
    "deep.txt": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "itself.txt": "{% include 'itself.txt' %}",
    "upwards.txt": "{% include '../secret.txt' %}",
    "class.txt": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals.txt": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum.txt": "{{ lipsum.__globals__ }}",
    "format.txt": "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "attr.txt": "{{ ''|attr('__class__')|attr('__mro__') }}",
    "self.txt": "{{ self._TemplateReference__context }}",
    "undefined.txt": "{{ nobody.knows }}",
    "syntax.txt": "{% if %}",
    "bytes.txt": "\ufeff{{ 1 }}",
}
HOSTILE_TEMPLATES = [name.removesuffix(".txt").removesuffix(".html") for name in TEMPLATES if "good" not in name]

BREAK = "\r\nX-Injected: yes\r\nBcc: eve@example.org\r\n\r\nbody"
NASTY = [
    BREAK,
    "\nX-Injected: yes",
    "\rX-Injected: yes",
    "a@example.org\r\nX-Injected: yes",
    "Ada <a@example.org>\u2028X-Injected: yes",
    "\x85\x00X-Injected: yes",
    "=?utf-8?q?a=0D=0AX-Injected:_yes?= <a@example.org>",
    "a@example.org>\r\nRCPT TO:<eve@example.org",
    '"' * 1000,
    "(" * 1000 + "\\",
    "é" * 10_000,
    "x" * 100_000,
    ",".join(f"r{n}@example.org" for n in range(6000)),
    "a@" + "b." * 5000 + "example",
    " ",
]
TEXTS = (
    *("sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "body_text", "body_html", "template"),
    *("locale", "transport", "idempotency_key", "tag", "message_id", "claim_token", "claimed_by", "last_error"),
)
DOCUMENTS = [
    "[1]",
    '"x"',
    "null",
    "{",
    "NaN",
    "[" * 100_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    '{"X-A": "\\r\\nX-Injected: yes"}',
    '{"X-A\\r\\nX-Injected": "yes"}',
    '{"X-Injected: yes\\r\\nX-A": "yes"}',
    '{"X-A": ["a", "b\\u2028X-Injected: yes"]}',
    '{"X-A": {"b": 1}}',
    '{"X-A": "\\ud800"}',
    '{"X-A": "\\u0000"}',
    '{"Bcc": "eve@example.org", "name": "x"}',
    '{"Content-Type": "text/html"}',
    json.dumps({f"X-{n}": "y" for n in range(100_000)}),
    '{"X-A": ' + "9" * 5000 + "}",
]
SQLITE = [
    "CAST(x'ff00fe' AS TEXT)",
    "x'00ff'",
    "CAST(x'eda080' AS TEXT)",
    "17",
    "-1.5e300",
    "char(0)",
    "zeroblob(1000)",
]
FINAL = {"sent", "partial", "failed", "expired", "cancelled", "in_doubt"}


@dataclass(frozen=True)
class Sql:
    """An expression instead of a value."""

    text: str


def hostile_rows() -> list[dict[str, Any]]:
    """Columns of rows, each with something wrong."""
    rows: list[dict[str, Any]] = [{column: value} for column in TEXTS for value in NASTY]
    rows += [{column: Sql(sql)} for column in (*TEXTS, "context", "headers") for sql in SQLITE]
    rows += [{"headers": value} for value in DOCUMENTS]
    rows += [{"context": value, "template": "good"} for value in DOCUMENTS]
    rows += [{"template": name, "context": "{}"} for name in HOSTILE_TEMPLATES]
    rows += [{"template": "subject", "subject": None, "context": json.dumps({"subject": value})} for value in NASTY]
    rows += [
        {"template": name} for name in ("../secret", "/etc/passwd", "good/../../secret", "good.txt\0", "..", "C:\\x")
    ]
    rows += [{"body_text": "\r\n.\r\nMAIL FROM:<eve@example.org>\r\n"}, {"body_text": "x" * 3_000_000}]
    rows += [{"body_text": None, "body_html": value} for value in ("<td colspan=99999999>x", "<table><tr><td>" * 9999)]
    rows += [
        {"attempts": 10_000_000},
        {"max_attempts": 1, "attempts": 1},
        {"priority": 2, "due_at": Sql("'0001-01-02'")},
    ]
    rows += [{"expires_at": Sql("'9999-12-30'")}, {"created_at": Sql("'0001-01-02 00:00:00'")}, {"status": "sent"}]
    return rows


@pytest.fixture
def templates(tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, source in TEMPLATES.items():
        (folder / name).write_text(source, encoding="utf-8")
    (folder / "latin1.txt").write_bytes(b"\xff\xfe\xe9")
    (tmp_path / "secret.txt").write_text("the secret of the house")
    return folder


@pytest.fixture
def try_to_insert(engine):
    """INSERT by plain SQL; the id, or None where the database refuses it, which is as good."""

    async def run(columns):
        columns = {"to_addrs": "ada@example.org", "subject": "Hostile", "body_text": "Hello", **columns}
        values = {name: value for name, value in columns.items() if not isinstance(value, Sql)}
        marks = [f":{name}" if name in values else value.text for name, value in columns.items()]
        for name in ("context", "headers"):
            if name in values and engine.dialect.name == "postgresql":
                marks = [f"CAST(:{name} AS json)" if mark == f":{name}" else mark for mark in marks]
        statement = f"INSERT INTO email_outbox ({', '.join(columns)}) VALUES ({', '.join(marks)}) RETURNING id"
        try:
            async with engine.begin() as connection:
                return (await connection.execute(text(statement), values)).scalar_one()
        except (DBAPIError, UnicodeError):
            return None

    return run


@pytest.fixture
def attach(execute):
    async def run(id, **columns):
        columns = {"outbox_id": id, "filename": "a.txt", "content": b"x", **columns}
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        await execute(f"INSERT INTO email_attachment ({names}) VALUES ({marks})", columns)

    return run


@pytest.fixture
def finish(execute, drain):
    """Drain until everything is final; whatever waits is made due."""

    async def run(**settings):
        for _ in range(20):
            await drain(**settings)
            if not await execute("SELECT 1 FROM email_outbox WHERE status = 'pending' LIMIT 1"):
                return
            await execute("UPDATE email_outbox SET due_at = created_at WHERE status = 'pending'")

    return run


LIMITS = {"render_timeout": 0.5, "render_memory": "64MiB", "max_message_size": "2MiB"}


def good_rows() -> list[dict[str, Any]]:
    """One for each way of composing."""
    return [
        {"body_text": "Good"},
        {"template": "good", "context": '{"name": "Zoë"}', "subject": None, "body_text": None},
        {"body_html": "<p>Good", "body_text": None},
        {"body_text": "é" * 300_000},
    ]


async def test_every_hostile_row_ends_final_and_all_good_rows_are_sent(
    try_to_insert, attach, finish, templates, execute, smtpd
):
    hostile = [id for columns in hostile_rows() * ROUNDS if (id := await try_to_insert(columns))]
    for file in (
        {"filename": f"a{BREAK}"},
        {"content_type": f"text/plain{BREAK}"},
        {"cid": f"a{BREAK}"},
        {"filename": "../" * 1000},
        {"content": b"x" * 3_000_000},
        {"content": b"\r\n.\r\n\0\xff", "content_type": "message/rfc822"},
    ):
        hostile.append(id := await try_to_insert({}))
        await attach(id, **file)
    good = [await try_to_insert(columns) for columns in good_rows() * (3 if ROUNDS == 1 else 250)]
    await finish(templates=templates, retry_schedule="1s", max_attempts=2, **LIMITS)

    rows = {row.id: row for row in await execute("SELECT id, status, last_error FROM email_outbox")}
    assert [rows[id].status for id in good] == ["sent"] * len(good)
    assert {rows[id].status for id in hostile} <= FINAL
    for id in hostile:
        if rows[id].status == "failed":
            assert rows[id].last_error
            assert not CONTROL.search(rows[id].last_error), rows[id].last_error
            assert len(rows[id].last_error) <= 1000
            assert "internal error" not in rows[id].last_error
            assert "the secret" not in rows[id].last_error
    for received in smtpd.messages:
        assert "X-Injected" not in received.message
        assert "Bcc" not in received.message
        assert "eve@example.org" not in received.recipients
        assert b"the secret" not in received.content
        assert b"uid=" not in received.content
    assert len(smtpd.messages) <= len([row for row in rows.values() if row.status in {"sent", "partial"}])


async def test_endless_templates_do_not_delay_good_rows_behind_them(try_to_insert, settings, templates, execute, smtpd):
    for number in range(400):
        await try_to_insert({"template": ("endless", "endless2")[number % 2], "context": "{}"})
    good = [await try_to_insert(good_rows()[number % 2]) for number in range(100)]
    async with Poller(Settings(**settings.model_dump(exclude={"transports"}) | {"templates": templates} | LIMITS)):
        await smtpd.received(len(good))
    rows = {row.id: row for row in await execute("SELECT id, status, attempts, last_error FROM email_outbox")}
    assert {rows[id].status for id in good} == {"sent"}
    waiting = [row for row in rows.values() if row.status == "pending"]
    assert len(waiting) > 300, "the good ones did not wait for all of the endless ones"
    assert {row.attempts for row in waiting} == {0}, "to be postponed costs no attempt"
    ended = {row.last_error for row in rows.values() if row.status == "failed"}
    assert ended <= {
        f"template '{name}': took longer than {s} s" for name in ("endless", "endless2") for s in (0.5, 0.05)
    }


async def test_a_process_that_cannot_be_started_postpones_rows_and_fails_none(
    try_to_insert, drain, templates, row, monkeypatch, smtpd
):
    templated = await try_to_insert(good_rows()[1])
    literal = await try_to_insert(good_rows()[0])
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nonexistent/python")
        await drain(templates=templates)
    assert (await row(literal)).status == "sent"
    waiting = await row(templated)
    assert (waiting.status, waiting.attempts) == ("pending", 0)
    assert "cannot be started" in waiting.last_error


async def test_emails_wait_while_the_whole_folder_of_their_templates_is_gone(
    try_to_insert, settings, templates, row, smtpd
):
    away = templates.with_name("away")
    await try_to_insert(good_rows()[1])
    with_templates = Settings(**settings.model_dump(exclude={"transports"}) | {"templates": templates} | LIMITS)
    async with Poller(with_templates) as poller:
        await smtpd.received(1)
        templates.rename(away)
        id = await try_to_insert(good_rows()[1])
        while (await row(id)).last_error is None:
            await poller._loop.recorder.written()
    waiting = await row(id)
    assert (waiting.status, waiting.attempts) == ("pending", 0)
    assert "cannot be read" in waiting.last_error
    away.rename(templates)
