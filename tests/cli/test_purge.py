"""`purge`, on both databases: what it deletes, what it says, and what it leaves alone."""

import json

import pytest


@pytest.fixture
def fill(outbox, database, monkeypatch, engine_sql):
    """Emails that ended long ago, by status: `fill(sent=3)`; and one that waits."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)

    def fill(**counts: int) -> None:
        long_ago = "'2020-01-01 00:00:00'"
        columns = "to_addrs, subject, body_text, status, due_at, finished_at"
        for status, count in counts.items():
            row = f"('a@x.org', 'Hi', 'body', '{status}', NULL, {long_ago})"
            engine_sql(f"INSERT INTO email_outbox ({columns}) VALUES {', '.join([row] * count)}")
        engine_sql(
            "INSERT INTO email_outbox (to_addrs, body_text, due_at) VALUES ('a@x.org', 'x', '2020-01-01 00:00:00')"
        )

    return fill


@pytest.fixture
def counts(outbox):
    return lambda: {
        name: count for name, count in json.loads(outbox("status", "--json").out)["counts"].items() if count
    }


def test_what_has_ended_is_deleted_and_counted_by_status(outbox, fill, counts):
    fill(sent=3, failed=1, in_doubt=2)
    assert outbox("purge", "--older-than", "30d", "--dry-run").out == "4 emails would be deleted (3 sent, 1 failed)\n"
    answer = outbox("purge", "--older-than", "30d")
    assert (answer.code, answer.out, answer.err) == (0, "4 emails deleted (3 sent, 1 failed)\n", "")
    assert counts() == {"in_doubt": 2, "pending": 1}, "a row in doubt waits for a person"
    assert outbox("purge", "--older-than", "30d").out == "0 emails deleted\n"
    assert outbox("purge", "--older-than", "1y", "--status", "in_doubt").out == "2 emails deleted (2 in_doubt)\n"
    assert counts() == {"pending": 1}


def test_what_is_not_so_old_stays(outbox, fill, counts):
    fill(sent=1)
    assert outbox("purge", "--older-than", "10y").out == "0 emails deleted\n"
    assert counts() == {"pending": 1, "sent": 1}


def test_content_alone_is_erased_and_shown_as_erased(outbox, fill):
    fill(failed=1)
    assert outbox("purge", "--older-than", "30d", "--content", "--dry-run").out == (
        "1 email would have its content erased (1 failed)\n"
    )
    answer = outbox("purge", "--older-than", "30d", "--content", "--status", "failed")
    assert answer.out == "1 email without content now (1 failed)\n"
    shown = json.loads(outbox("show", "1", "--json").out)
    assert (shown["erased"], shown["body_text"], shown["subject"]) == (True, None, "Hi")
    assert "content     erased" in outbox("show", "1").out
    retried = outbox("retry", "1")
    assert (retried.code, retried.err) == (1, "outbox: 1: is already failed, and its content was erased\n")
    all_ = outbox("retry", "--status", "failed")
    assert (all_.code, all_.out) == (0, "there is nothing to do\n")
    assert all_.err == "outbox: 1 failed email stays as it is: its content was erased\n"


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ([], "Missing option '--older-than'"),
        (["--older-than", "soon"], "'soon' is not a duration"),
        (["--older-than", "1d", "--status", "pending"], "pending emails have not ended; one of: cancelled, expired"),
    ],
)
def test_wrong_use_is_one_line(outbox, args, fault):
    answer = outbox("purge", *args)
    assert answer.code == 2
    assert fault in answer.err
    assert answer.err.count("\n") == 1
