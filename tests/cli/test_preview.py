"""`preview` shows what would be sent, and sends nothing."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest

FILES = {
    "_layout.html": "<html><head><style>p { color: red }</style></head><body>{% block body %}{% endblock %}",
    "hi.subject.txt": "Hi {{ name }}",
    "hi.de.subject.txt": "Hallo {{ name }}",
    "hi.html": "{% extends '_layout.html' %}{% block body %}<p>Hello {{ name }}</p>{% endblock %}",
    "hi.sample.json": '{"name": "Ada"}',
    "hi.de.sample.json": '{"name": "Änne"}',
    "plain.txt": "Hello {{ name }}",
    "endless.txt": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
}


@pytest.fixture(autouse=True)
def templates(tmp_path, monkeypatch):
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("OUTBOX_TEMPLATES", "templates")
    return folder


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["hi"], "Subject: Hi Ada\n\nHello Ada\n"),
        (["hi", "--locale", "de-AT"], "Subject: Hallo Änne\n\nHello Änne\n"),
        (["hi", "--context", '{"name": "Zoë"}'], "Subject: Hi Zoë\n\nHello Zoë\n"),
        (["hi", "--context", "values.json"], "Subject: Hi Bob\n\nHello Bob\n"),
        (["hi", "--text"], "Hello Ada\n"),
        (["plain", "--context", '{"name": "Ada"}'], "Subject: (the subject of the row)\n\nHello Ada\n"),
    ],
)
def test_subject_and_text_are_printed(outbox, arguments, printed):
    Path("values.json").write_text('{"name": "Bob"}')
    answer = outbox("preview", *arguments)
    assert (answer.code, answer.out, answer.err) == (0, printed, "")


def test_the_html_is_what_readers_get(outbox):
    assert outbox("preview", "hi", "--html", "hi.html").out == ""
    assert '<p style="color: red;">Hello Ada</p>' in Path("hi.html").read_text(encoding="utf-8")


def test_the_message_is_that_of_the_composer(shell):
    answer = shell("preview", "hi", "--eml", "-", OUTBOX_SENDER="Shop <shop@example.org>")
    message = message_from_bytes(answer.out.encode(), policy=policy.default)
    assert (message["From"], message["Subject"]) == ("Shop <shop@example.org>", "Hi Ada")
    assert message["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_an_eml_file_has_the_line_ends_of_a_message(outbox):
    outbox("preview", "hi", "--eml", "hi.eml")
    octets = Path("hi.eml").read_bytes()
    assert octets.count(b"\r\n") == octets.count(b"\n") > 5


def test_the_browser_is_given_the_html(outbox, monkeypatch, tmp_path):
    opened: list[str] = []

    def started(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("webbrowser.open", started)
    assert outbox("preview", "hi", "--open").code == 0
    [url] = opened
    assert "Hello Ada" in Path(url.removeprefix("file://")).read_text(encoding="utf-8")
    monkeypatch.setattr("webbrowser.open", lambda _url: False)
    answer = outbox("preview", "hi", "--open")
    assert answer.code == 1
    assert "no browser could be started; the HTML is in " in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nope"], 1, "template 'nope' not found: there is no nope.txt or nope.html in "),
        (["../x"], 1, "template '../x': not a template name"),
        (["hi", "--locale", "d e"], 1, "locale 'd e' is not a language tag"),
        (["hi", "--context", "{}"], 1, "hi.subject.txt line 1: 'name' is undefined"),
        (["plain"], 1, "plain.txt line 1: 'name' is undefined (there is neither --context nor plain.sample.json)"),
        (["plain", "--html", "x.html", "--context", '{"name": 1}'], 1, "template 'plain' has no HTML"),
        (["hi", "--context", "gone.json"], 2, "--context 'gone.json' is neither a JSON object nor a file with one"),
        (["hi", "--context", "{"], 2, "--context is not JSON"),
        (["hi", "--context", "[1]"], 2, "--context must be a JSON object, {…}, not list"),
        (["hi", "--html", "gone/hi.html"], 2, "--html 'gone/hi.html' cannot be written: No such file or directory"),
        (["hi", "--eml", "."], 2, "--eml '.' cannot be written: Is a directory"),
        (["hi", "--eml", ""], 2, "--eml '' cannot be written: No such file or directory"),
        ([""], 1, "template '': not a template name"),
        ([], 2, "Missing argument 'template'"),
    ],
)
def test_what_cannot_be_shown_is_one_line(outbox, arguments, code, said):
    answer = outbox("preview", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_a_template_that_never_ends_is_ended(shell):
    answer = shell("preview", "endless", OUTBOX_RENDER_TIMEOUT="200ms")
    assert answer.code == 1
    assert answer.err == "outbox: template 'endless': took longer than 0.2 s\n"


def test_a_broken_sample_is_named(outbox, templates):
    (templates / "hi.sample.json").write_text('{"name":\n}')
    assert "hi.sample.json line 2: not valid JSON: Expecting value" in outbox("preview", "hi").err
    (templates / "hi.sample.json").write_text(json.dumps(["Ada"]))
    assert "hi.sample.json: a JSON object is expected, not list" in outbox("preview", "hi").err


def test_without_a_folder_it_says_what_to_set(outbox, monkeypatch):
    monkeypatch.delenv("OUTBOX_TEMPLATES")
    answer = outbox("preview", "hi")
    assert (answer.code, answer.err) == (2, "outbox: no template folder is configured; set OUTBOX_TEMPLATES\n")
