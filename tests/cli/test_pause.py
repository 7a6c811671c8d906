"""`pause` and `resume`, and what the other commands say of pauses, on both databases."""

import json
import re

import pytest

from outbox.cli.pausing import pause_text, state_words
from outbox.db.operations import TransportFacts
from tests.cli.test_status import NOW


@pytest.fixture
def said(outbox, database, monkeypatch):
    """What a command says on stdout, spaces and line breaks evened out; it must answer with the expected code."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")

    def said(*args: str, code: int = 0) -> str:
        answer = outbox(*args)
        assert answer.code == code, answer
        return " ".join(answer.out.split())

    return said


def test_a_pause_by_hand_is_spoken_of_everywhere_and_resume_ends_it(said):
    assert said("pause", "default") == "default is paused; `outbox resume default` ends it"
    assert said("pause") == "default was paused by hand already; `outbox resume default` ends it"
    id_ = said("send", "--to", "ada@example.org", "--text", "x")
    since = r"by hand since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; `outbox resume default` ends it"
    waits = r"mail has been due for \w+ and no poller is alive: start `outbox run`"
    assert re.fullmatch(rf"transport default is paused {since} {waits}", said("status", "--check", code=1))
    assert re.search(rf"transport default is paused {since}", said("list"))
    shown = said("status")
    assert re.search(r"default paused by hand after `outbox resume default` paused by hand since \d{4}", shown)
    [transport] = json.loads(said("status", "--json"))["transports"]
    assert (transport["paused"], transport["by_hand"]) == (True, True)
    assert said("resume") == "default is resumed"
    assert said("resume", "default") == "default was not paused"
    assert said("status", "--check", code=1).startswith("mail has been due for"), id_
    assert "paused" not in said("list")


def test_a_paused_email_says_why_it_is_not_sent(said, engine_sql):
    engine_sql("INSERT INTO email_poller (name, host, pid, version) VALUES ('poller-1', 'here', 1, '1.0')")
    id_ = said("send", "--to", "ada@example.org", "--text", "x")
    said("pause")
    why = json.loads(said("show", id_, "--json"))["why_not_sent"]
    assert re.search(r": transport default is paused by hand since .*; `outbox resume default` ends it$", why)


def test_the_command_that_ends_a_pause_can_be_copied_into_a_shell(said, tmp_path):
    (tmp_path / "outbox.toml").write_text('[transports."my relay"]\nurl = "smtp://127.0.0.1:2"')
    told = said("pause", "my relay")
    assert told == "my relay is paused; `outbox resume 'my relay'` ends it"
    assert "`outbox resume 'my relay'`" in said("status", "--check", code=1)


def test_all_means_the_configured_ones_and_those_on_record(said, engine_sql):
    engine_sql("INSERT INTO email_transport (name) VALUES ('bulk')")
    assert said("pause").startswith("bulk is paused; `outbox resume bulk` ends it default is paused")
    assert said("resume") == "bulk is resumed default is resumed"


def test_an_unknown_transport_is_named_in_one_line(outbox, said):
    for command in ("pause", "resume"):
        answer = outbox(command, "pigeon")
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.count("\n") == 1
        assert "there is no transport 'pigeon' (there is: default)" in answer.err


def test_without_any_transport_there_is_nothing_to_pause(outbox, said, monkeypatch):
    monkeypatch.delenv("OUTBOX_SMTP_URL")
    answer = outbox("pause")
    assert answer.code == 2
    assert "none is configured or on record; set OUTBOX_SMTP_URL" in answer.err


def test_a_drain_leaves_the_rows_of_a_paused_transport_and_exits_1(shell, sql, outbox_db, outbox, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    assert outbox("pause").code == 0
    sql("INSERT INTO email_outbox (to_addrs, subject, body_text) VALUES ('ada@example.org', 'Hi', 'Hello')")
    assert shell("run", "--drain").code == 1
    assert sql("SELECT status, attempts, last_error FROM email_outbox") == [("pending", 0, None)]


WORDS = [
    (TransportFacts("t", None, None, paused=False), ("not paused", ""), None),
    (
        TransportFacts("t", NOW, "mx:25: connect: timed out", paused=False),
        ("on probation", "with the next email"),
        None,
    ),
    (
        TransportFacts("t", NOW, "mx:25: connect: timed out", paused=True),
        ("paused", "2030-01-31 00:00:00 UTC"),
        " until 2030-01-31 00:00:00 UTC: mx:25: connect: timed out",
    ),
    (
        TransportFacts("t", NOW, "configuration: mx:25: AUTH: 535 no", paused=True),
        ("paused: configuration", "2030-01-31 00:00:00 UTC"),
        " until 2030-01-31 00:00:00 UTC: configuration: mx:25: AUTH: 535 no; mend it (`outbox check`), "  # noqa: ISC004
        "then `outbox resume t`",
    ),
    (
        TransportFacts("t", NOW, "paused by hand since noon", paused=True, by_hand=True),
        ("paused by hand", "after `outbox resume t`"),
        " by hand since noon; `outbox resume t` ends it",
    ),
]


@pytest.mark.parametrize(("facts", "words", "text"), WORDS, ids=[words[0] for _, words, _ in WORDS])
def test_every_state_has_its_words(facts, words, text):
    assert (state_words(facts), pause_text(facts)) == (words, text)
