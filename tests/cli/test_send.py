"""`send`: what is refused, what is read from elsewhere, and waiting for the outcome."""

import json

import pytest

TO = ("--to", "ada@example.org")


@pytest.fixture
def folder(outbox_db, monkeypatch, tmp_path):
    """Templates and a transport, as a poller has them."""
    for name in ("hi.txt", "hi.subject.txt", "only.de.html", "only.subject.txt", "bare.txt"):
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("OUTBOX_TEMPLATES", str(tmp_path))
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--text", "x"], ["recipient"]),
        (TO, ["content"]),
        (["--to", "not an address", "--text", "x"], ["to", "not an address"]),
        ([*TO, "--text", "x", "--from", "nobody"], ["sender", "nobody"]),
        ([*TO, "--text", "x", "--attach", "."], ["--attach", "directory"]),
        ([*TO, "--text", "x", "--attach", "missing.pdf"], ["--attach", "missing.pdf"]),
        ([*TO, "--text", "x", "--header", "no colon"], ["--header", "Name: value"]),
        ([*TO, "--text", "x", "--header", "X: 1", "--header", "X: 2"], ["--header", "twice"]),
        ([*TO, "--text", "x", "--header", "Bcc: eve@example.org"], ["Bcc"]),
        ([*TO, "--text", "x", "--header", "X: 1\nBcc: eve@example.org"], ["X"]),
        ([*TO, "--text", "x", "--subject", "a\nBcc: eve@example.org"], ["subject"]),
        ([*TO, "--text", "x", "--on-doubt", "maybe"], ["on_doubt"]),
        ([*TO, "--text", "x", "--priority", "7"], ["--priority"]),
        ([*TO, "--text", "x", "--due-at", "tomorrow"], ["--due-at", "tomorrow"]),
        ([*TO, "--text", "x", "--due-at", "2030-01-31T08:00:00"], ["--due-at", "time zone", "T08:00:00Z"]),
        ([*TO, "--text", "x", "--due-at", "2030-01-31T08:00:00Z", "--in", "5m"], ["either"]),
        ([*TO, "--text", "x", "--in", "soon"], ["--in", "soon"]),
        ([*TO, "--template", "t", "--text", "x"], ["template"]),
        ([*TO, "--template", "t", "--context", "{broken"], ["--context"]),
        ([*TO, "--template", "t", "--context", "missing.json"], ["neither", "missing.json", "No such file"]),
        ([*TO, "--template", "t", "--context", "[1]"], ["--context must be a JSON object, {…}, not list"]),
        ([*TO, "--template", "t", "--context", ""], ["--context '' is neither a JSON object nor a file"]),
        (
            [*TO, "--template", "t", "--context", "list.json"],
            ["--context 'list.json' must be a JSON object, {…}, not list"],
        ),
        ([*TO, "--text", "x", "--header", "X: 1", "--header", "x: 2"], ["--header 'x' is given twice"]),
        ([*TO, "--template", ""], ["template '': not a template name"]),
        ([*TO, "--template", "../t"], ["template '../t': not a template name"]),
        ([*TO, "--template", "t", "--locale", "d e"], ["locale 'd e' is not a language tag like de or de-AT"]),
        ([*TO, "--template", "t", "--context", '{"a": "\udcff"}'], ["context contains half a surrogate pair"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list | tuple) else None,
)
def test_what_could_never_be_sent_is_refused_in_one_line(outbox, outbox_db, sql, args, words, tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    answer = outbox("send", *args)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("outbox: ")
    assert answer.err.count("\n") == 1
    assert "Value error" not in answer.err
    for word in words:
        assert word in answer.err
    assert sql("SELECT count(*) FROM email_outbox") == [(0,)]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--template", "gone"], "template 'gone' not found: there is no gone.txt or gone.html in "),
        (["--template", "only"], "template 'only' not found"),
        (["--template", "bare"], "template 'bare' gives no subject (bare.subject.txt); give one by --subject"),
        (["--text", "x", "--transport", "bulk"], "transport 'bulk' is not configured (there is: default)"),
    ],
)
def test_what_a_poller_with_these_settings_would_not_find_is_refused(folder, outbox, sql, args, words):
    answer = outbox("send", *TO, *args)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert sql("SELECT count(*) FROM email_outbox") == [(0,)]


@pytest.mark.parametrize(
    "args",
    [
        ["--template", "hi"],
        ["--template", "only", "--locale", "de-AT"],
        ["--template", "bare", "--subject", "x"],
        ["--text", "x", "--transport", "default"],
    ],
)
def test_what_it_would_find_is_taken(folder, outbox, args):
    assert outbox("send", *TO, *args).code == 0


def test_the_text_comes_from_stdin(shell, outbox_db, sql):
    answer = shell("send", *TO, "--text", "-", stdin="Grüße\nAda\n")
    assert (answer.code, answer.err) == (0, "")
    assert sql("SELECT body_text FROM email_outbox WHERE id = ?", int(answer.out)) == [("Grüße\nAda\n",)]


def test_stdin_that_is_not_text_is_refused(shell, outbox_db):
    answer = shell("send", *TO, "--text", "-", stdin=b"\xff\xfe", PYTHONUTF8="1")
    assert answer.code == 2
    assert answer.err.count("\n") == 1


def test_the_context_comes_from_a_file_or_stands_there(outbox, outbox_db, sql, tmp_path):
    (tmp_path / "context.json").write_text('{"name": "Ada"}')
    for context in ("context.json", '{"name": "Ada"}'):
        assert outbox("send", *TO, "--template", "welcome", "--context", context).code == 0
    assert [json.loads(text) for (text,) in sql("SELECT context FROM email_outbox")] == [{"name": "Ada"}] * 2


def test_the_same_idempotency_key_is_the_same_email(outbox, outbox_db, sql):
    first, second = (outbox("send", *TO, "--text", "x", "--idempotency-key", "k").out for _ in range(2))
    assert first == second
    assert sql("SELECT count(*) FROM email_outbox") == [(1,)]


def test_waiting_without_a_poller_says_so_and_ends_with_the_reason(outbox, outbox_db):
    answer = outbox("send", *TO, "--text", "x", "--wait", "--timeout", "1ms")
    assert answer.code == 1
    assert int(answer.out) > 0
    first, last = answer.err.splitlines()
    assert "no poller is alive" in first
    assert "is not sent after 1ms" in last


def test_a_database_that_goes_away_while_it_waits_leaves_no_doubt_that_the_email_is_enqueued(outbox, outbox_db, sql):
    sql("DROP TABLE email_poller")
    answer = outbox("send", *TO, "--text", "x", "--wait")
    [(id_,)] = sql("SELECT id FROM email_outbox")
    assert (answer.code, answer.out) == (2, f"{id_}\n")
    assert answer.err.startswith(f"outbox: email {id_} is enqueued, but what comes of it cannot be seen: the database ")
    assert answer.err.count("\n") == 1


def test_waiting_tells_the_outcome_of_each_recipient(outbox, outbox_db, sql):
    id_ = int(outbox("send", *TO, "--text", "x", "--idempotency-key", "k").out)
    for recipient, outcome, code, reply in (
        ("ada@example.org", "deferred", 450, "4.7.1 later"),
        ("ada@example.org", "accepted", 250, "2.0.0 OK"),
        ("bob@example.org", "refused", 550, "5.1.1 no such user"),
    ):
        sql(
            "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code, reply) VALUES (?, 1, ?, ?, ?, ?)",
            *(id_, recipient, outcome, code, reply),
        )
    sql("UPDATE email_outbox SET status = 'partial', due_at = NULL, last_error = 'bob@example.org: 550 5.1.1'")
    answer = outbox("send", *TO, "--text", "x", "--idempotency-key", "k", "--wait")
    assert answer.code == 1
    assert answer.out.splitlines() == [
        str(id_),
        "ada@example.org: accepted 250 2.0.0 OK",
        "bob@example.org: refused 550 5.1.1 no such user",
    ]
    assert f"{id_} is partial: bob@example.org: 550 5.1.1" in answer.err
