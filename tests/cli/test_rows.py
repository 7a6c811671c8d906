"""Looking at rows and acting on them, on both databases."""

import json
import re

import pytest


@pytest.fixture
def send(outbox, database, monkeypatch):
    """Enqueue one email by the command; its id."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)

    def send(*args: str) -> int:
        answer = outbox("send", *args)
        assert (answer.code, answer.err) == (0, "")
        return int(answer.out)

    return send


def test_what_was_sent_is_listed_the_newest_first(outbox, send):
    ids = [send("--to", f"{name}@example.org", "--subject", name, "--text", "x") for name in ("ada", "bob")]
    listed = json.loads(outbox("list", "--json").out)
    assert [row["id"] for row in listed] == ids[::-1]
    assert listed[0]["to_addrs"] == "bob@example.org"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", listed[0]["due_at"])
    assert "bob@example.org" in outbox("list").out


def test_lists_are_filtered_and_limited(outbox, send):
    first = send("--to", "ada@example.org", "--text", "x", "--tag", "welcome")
    second = send("--to", "Bob@Example.org", "--text", "x")

    def ids(*args: str) -> list[int]:
        return [row["id"] for row in json.loads(outbox("list", "--json", *args).out)]

    assert ids("--tag", "welcome") == [first]
    assert ids("--to", "bob@") == [second]
    assert ids("--limit", "1") == [second]
    assert ids("--status", "sent") == []


def test_show_tells_everything_and_why_it_is_not_sent(outbox, send):
    id_ = send(
        *(
            "--to",
            "Ada <ada@example.org>",
            "--cc",
            "c@example.org",
            "--bcc",
            "b@example.org",
            "--from",
            "s@example.org",
        ),
        *("--subject", "Hi", "--text", "Hello", "--html", "<p>Hello", "--header", "X-Campaign: spring: 1"),
        *("--priority", "0", "--tag", "t", "--idempotency-key", "k", "--on-doubt", "hold", "--in", "10m"),
    )
    shown = json.loads(outbox("show", str(id_), "--json").out)
    assert shown["to_addrs"] == "Ada <ada@example.org>"
    assert (shown["cc_addrs"], shown["bcc_addrs"], shown["sender"]) == (
        "c@example.org",
        "b@example.org",
        "s@example.org",
    )
    assert (shown["body_text"], shown["body_html"]) == ("Hello", "<p>Hello")
    assert shown["headers"] == {"X-Campaign": "spring: 1"}
    assert (shown["priority"], shown["tag"], shown["on_doubt"]) == (0, "t", "hold")
    assert shown["attempts"] == []
    assert shown["why_not_sent"].startswith("scheduled for ")
    assert "scheduled for" in outbox("show", str(id_)).out


def test_attempts_are_shown_with_their_replies(outbox, send, engine_sql):
    id_ = send("--to", "ada@example.org", "--text", "x")
    engine_sql(
        "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code, enhanced, reply, transport, poller) "
        f"VALUES ({id_}, 1, 'ada@example.org', 'deferred', 450, '4.7.1', '4.7.1 later', 'default', 'p')"
    )
    [attempt] = json.loads(outbox("show", str(id_), "--json").out)["attempts"]
    assert attempt.pop("attempted_at").endswith("Z")
    assert attempt == {
        "attempt": 1, "recipient": "ada@example.org", "outcome": "deferred", "code": 450, "enhanced": "4.7.1",
        "reply": "4.7.1 later", "transport": "default", "poller": "p",
    }  # fmt: skip
    assert "450 4.7.1 later" in outbox("show", str(id_)).out


def test_the_content_of_a_sensitive_email_is_never_shown(outbox, send, tmp_path):
    (tmp_path / "hush.txt").write_text("hush")
    id_ = send(
        *("--to", "ada@example.org", "--subject", "s", "--text", "hush", "--html", "hush"),
        *("--attach", "hush.txt", "--sensitive"),
    )
    templated = send("--to", "a@example.org", "--template", "t", "--context", '{"a": "hush"}', "--sensitive")
    for shown in (id_, templated):
        assert "hush" not in outbox("show", str(shown)).out
        assert "hush" not in outbox("show", str(shown), "--json").out
    assert "hush" not in outbox("list", "--json").out


def test_attachments_are_told_by_name_and_size(outbox, send, tmp_path):
    (tmp_path / "bill.pdf").write_bytes(b"12345")
    id_ = send("--to", "ada@example.org", "--text", "x", "--attach", "bill.pdf")
    [file] = json.loads(outbox("show", str(id_), "--json").out)["attachments"]
    assert (file["filename"], file["size"]) == ("bill.pdf", 5)
    assert "bill.pdf (5 bytes)" in outbox("show", str(id_)).out


def test_cancel_and_retry_tell_what_changed_and_what_not_and_why(outbox, send):
    first, second = (send("--to", "ada@example.org", "--text", "x") for _ in range(2))
    answer = outbox("cancel", str(first), "999999")
    assert answer.code == 1
    assert answer.out == f"1 email cancelled: {first}\n"
    assert answer.err == "outbox: 999999: no such email\n"
    answer = outbox("retry", str(first), str(second))
    assert answer.code == 1
    assert answer.out == f"1 email pending again: {first}\n"
    assert answer.err == f"outbox: {second}: is already pending\n"


def test_all_emails_of_a_status_are_retried(outbox, send):
    ids = [send("--to", "ada@example.org", "--text", "x") for _ in range(3)]
    assert outbox("cancel", *map(str, ids)).code == 0
    assert outbox("retry", "--status", "cancelled").out == "3 emails pending again\n"
    answer = outbox("retry", "--status", "cancelled")
    assert (answer.code, answer.out) == (0, "there is nothing to do\n")


def test_a_terminal_obeys_nothing_that_stands_in_a_row(outbox, send, engine_sql):
    id_ = send("--to", "ada@example.org", "--subject", "[bold]x[/bold]", "--text", "x")
    engine_sql(f"UPDATE email_outbox SET last_error = 'evil \x1b[2J\x07', tag = '\x1b]0;t\x07' WHERE id = {id_}")
    for answer in (outbox("list"), outbox("show", str(id_))):
        assert "\x1b" not in answer.out
        assert "\x07" not in answer.out
        assert "[bold]x[/bold]" in answer.out


def test_rows_with_nonsense_in_their_columns_can_still_be_looked_at(outbox, outbox_db, sql):
    sql(
        "INSERT INTO email_outbox (to_addrs, subject, body_text, context, headers, last_error) "
        "VALUES (x'ff61', x'fe', x'fd', '{broken', CAST(x'80' AS TEXT), x'0aff')"
    )
    for answer in (outbox("list"), outbox("show", "1")):
        assert (answer.code, answer.err) == (0, "")
    [listed] = json.loads(outbox("list", "--json").out)
    shown = json.loads(outbox("show", "1", "--json").out)
    assert listed["to_addrs"] == shown["to_addrs"] == "\\xffa"
    assert shown["context"] == "{broken"
