"""`status` for people, programs and monitoring."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from outbox.cli.thresholds import Limits, Measured, breaches
from outbox.db.operations import PollerFacts, TransportFacts

NOW = datetime(2030, 1, 31, tzinfo=UTC)
ALIVE = PollerFacts("p", "host", 1, "1.0", NOW, NOW, alive=True)
DEAD = PollerFacts("q", "host", 1, "1.0", NOW, NOW, alive=False)
PAUSED = TransportFacts("default", NOW, "connection refused", paused=True)


def measured(oldest: float | None, *pollers: PollerFacts, **rest: Any) -> Measured:
    return Measured(oldest, list(pollers), rest.pop("transports", []), **rest)


@pytest.mark.parametrize(
    "measured",
    [
        measured(None),
        measured(60.0, ALIVE),
        measured(None, DEAD),
        measured(9.0, ALIVE, urgent_seconds=5.0, failed=3, in_doubt=0, held=7),
    ],
)
def test_mail_moves_when_no_limit_is_exceeded(measured):
    limits = Limits(60.0, max_wait_urgent=5.0, max_failed=3, max_in_doubt=0, max_held=7, min_pollers=0)
    assert breaches(measured, limits) == []


@pytest.mark.parametrize(
    ("measured", "code", "why"),
    [
        (measured(61.0, ALIVE), "max_wait", "mail has been due for 1m 1s"),
        (
            measured(61.0, ALIVE, limits={"default": NOW}),
            "max_wait",
            "mail has been due for 1m 1s; default is at its limit until 2030-01-31 00:00:00 UTC",
        ),
        (measured(1.0, DEAD), "no_poller", "no poller is alive"),
        (measured(1.0), "no_poller", "no poller is alive"),
        (measured(None, ALIVE, transports=[PAUSED]), "transport_paused", "transport default is paused"),
        (measured(9.0, ALIVE, urgent_seconds=6.0), "max_wait_urgent", "urgent mail has been due for 6s"),
        (measured(None, ALIVE, failed=4), "max_failed", "more than 3 emails failed in the last 1h"),
        (measured(None, ALIVE, in_doubt=1), "max_in_doubt", "more than 0 emails are in doubt"),
        (measured(None, ALIVE, held=8), "max_held", "more than 7 emails are held"),
    ],
)
def test_each_limit_has_a_line_of_its_own(measured, code, why):
    limits = Limits(60.0, max_wait_urgent=5.0, max_failed=3, max_in_doubt=0, max_held=7)
    [breach] = breaches(measured, limits)
    assert breach.code == code
    assert why in breach.text


def test_too_few_pollers_are_a_breach_also_when_nothing_waits():
    [breach] = breaches(measured(None, ALIVE, DEAD), Limits(60.0, min_pollers=2))
    assert (breach.code, breach.text) == ("min_pollers", "pollers alive: 1, fewer than 2")


def test_status_in_json_has_the_promised_keys(outbox, database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    shown = json.loads(outbox("status", "--json").out)
    elsewhere = {"redirect_to": None, "allow_recipients": None, "held": 0}
    assert set(shown) == {"counts", "oldest_due_seconds", "pollers", "transports", "sqlite", *elsewhere}
    assert {key: shown[key] for key in elsewhere} == elsewhere
    assert (shown["sqlite"] is None) == database.startswith("postgresql")
    assert shown["counts"]["pending"] == 0
    assert (shown["oldest_due_seconds"], shown["pollers"]) == (None, [])
    assert shown["transports"] == [
        {"name": "default", "paused_until": None, "reason": None, "paused": False, "by_hand": False}
    ]


def test_status_shows_counts_pollers_and_transports(outbox, outbox_db, sql):
    sql("INSERT INTO email_outbox (to_addrs, body_text, due_at) VALUES ('a@example.org', 'x', '2020-01-01 00:00:00')")
    sql("INSERT INTO email_poller (name, host, pid, version) VALUES ('poller-1', 'here', 1, '1.0')")
    sql(
        "INSERT INTO email_transport (name, paused_until, reason) VALUES ('default', '2999-01-01 00:00:00', ?)",
        "connection refused",
    )
    shown = outbox("status").out
    for word in ("pending", "poller-1", "connection refused", "2999-01-01"):
        assert word in shown


def test_check_exits_1_and_says_why(outbox, outbox_db, sql):
    assert outbox("status", "--check").code == 0
    sql("INSERT INTO email_outbox (to_addrs, body_text) VALUES ('a@example.org', 'x')")
    answer = outbox("status", "--check")
    assert answer.code == 1
    assert "no poller is alive" in answer.out
    assert answer.out.count("\n") == 1
    answer = outbox("status", "--check", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["counts"]["pending"] == 1


@pytest.mark.parametrize(("version", "affected"), [((3, 40, 1), True), ((3, 51, 3), False)])
def test_a_sqlite_with_the_wal_reset_bug_is_told_and_no_reason_to_fail(
    outbox, outbox_db, monkeypatch, version, affected
):
    name = ".".join(map(str, version))
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    monkeypatch.setattr("sqlite3.sqlite_version", name)
    answer = outbox("status")
    assert answer.code == 0
    assert answer.out.splitlines()[-1].startswith(f"sqlite      {name}")
    assert ("has the WAL-reset bug" in answer.out) == affected
    told = json.loads(outbox("status", "--json").out)["sqlite"]
    assert (told["version"], told["warning"] is not None) == (name, affected)
    assert outbox("status", "--check").code == 0


EVERY_LIMIT = (
    "--max-wait", "1h", "--max-wait-urgent", "1h", "--max-failed", "0", "--max-in-doubt", "0", "--max-held", "0",
    "--min-pollers", "1",
)  # fmt: skip


def test_every_breach_is_a_line_and_an_entry_in_json(outbox, database, monkeypatch, engine_sql):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    assert outbox("status", "--check", *EVERY_LIMIT[:-1], "0").code == 0
    insert = "INSERT INTO email_outbox (to_addrs, body_text, priority, status, due_at, finished_at, held) VALUES"
    for values in (
        "0, 'pending', '2020-01-01 00:00:00', NULL, NULL",
        "1, 'pending', '9999-12-30 00:00:00', NULL, true",
        "1, 'failed', NULL, CURRENT_TIMESTAMP, NULL",
        "1, 'in_doubt', NULL, '2020-01-01 00:00:00', NULL",
    ):
        engine_sql(f"{insert} ('a@x.org', 'x', {values})")
    engine_sql("INSERT INTO email_transport (name, paused_until, reason) VALUES ('t', '9999-12-30 00:00:00', 'x')")
    answer = outbox("status", "--check", *EVERY_LIMIT)
    codes = [
        "transport_paused",
        "min_pollers",
        "no_poller",
        "max_wait_urgent",
        "max_failed",
        "max_in_doubt",
        "max_held",
    ]
    assert (answer.code, answer.out.count("\n")) == (1, len(codes))
    told = json.loads(outbox("status", "--check", "--json", *EVERY_LIMIT).out)
    assert [breach["code"] for breach in told["breaches"]] == codes
    assert answer.out.splitlines() == [breach["text"] for breach in told["breaches"]]
    assert told["counts"] == {"pending": 2, "sending": 0}
    everything = json.loads(outbox("status", "--json").out)["counts"]
    assert {status: count for status, count in everything.items() if count} == {
        "pending": 2, "failed": 1, "in_doubt": 1,
    }  # fmt: skip


def test_what_failed_before_the_window_is_no_breach(outbox, outbox_db, sql):
    insert = "INSERT INTO email_outbox (to_addrs, body_text, status, due_at, finished_at) VALUES"
    sql(f"{insert} ('a@x.org', 'x', 'failed', NULL, datetime('now', '-2 hours'))")
    assert outbox("status", "--check", "--max-failed", "0").code == 0
    assert outbox("status", "--check", "--max-failed", "0", "--window", "3h").code == 1


def test_a_limit_without_check_is_wrong_use(outbox, outbox_db):
    answer = outbox("status", "--max-failed", "3")
    assert answer.code == 2
    assert "with --check only" in answer.err


def test_what_keeps_email_from_its_recipients_comes_first(outbox, outbox_db, sql, monkeypatch):
    sql(
        "INSERT INTO email_outbox (to_addrs, body_text, held, due_at) VALUES ('a@b.example', 'x', 1, ?)",
        "9926-01-01 00:00:00",
    )
    monkeypatch.setenv("OUTBOX_ALLOW_RECIPIENTS", "*@Example.org, ada@other.org")
    first, second, *_ = outbox("status").out.splitlines()
    assert first == "! allow_recipients: emails to others than *@example.org, ada@other.org are held"
    assert second == "! held: 1 wait for a person; `outbox show ID` says why, `outbox release` sends them"
    monkeypatch.setenv("OUTBOX_REDIRECT_TO", "Team <team@example.org>")
    assert outbox("status").out.startswith(
        "! redirect_to: every email goes to team@example.org, none to its recipients\n"
    )
    shown = json.loads(outbox("status", "--json").out)
    assert shown["redirect_to"] == "Team <team@example.org>"
    assert (shown["allow_recipients"], shown["held"]) == (["*@example.org", "ada@other.org"], 1)
    assert "! redirect_to: every email goes to team@example.org" in outbox("check").out


def test_in_production_status_begins_with_the_counts(outbox, outbox_db):
    assert outbox("status").out.split()[:2] == ["status", "emails"]
