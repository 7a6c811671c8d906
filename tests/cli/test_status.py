"""`status` for people, programs and monitoring."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from outbox.cli.status import Standing
from outbox.db.operations import PollerFacts, TransportFacts

NOW = datetime(2030, 1, 31, tzinfo=UTC)
ALIVE = PollerFacts("p", "host", 1, "1.0", NOW, NOW, alive=True)
DEAD = PollerFacts("q", "host", 1, "1.0", NOW, NOW, alive=False)
PAUSED = TransportFacts("default", NOW, "connection refused", paused=True)


def standing(oldest: float | None, *pollers: PollerFacts, transports: Sequence[TransportFacts] = ()) -> Standing:
    return Standing({}, oldest, list(pollers), list(transports))


@pytest.mark.parametrize("standing", [standing(None), standing(60.0, ALIVE), standing(None, DEAD)])
def test_mail_moves_when_nothing_is_due_for_long(standing):
    assert standing.why_not_moving(60.0) is None


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (standing(61.0, ALIVE), "mail has been due for 1m 1s"),
        (standing(1.0, DEAD), "no poller is alive"),
        (standing(1.0), "no poller is alive"),
        (standing(None, ALIVE, transports=[PAUSED]), "transport default is paused"),
    ],
)
def test_mail_that_does_not_move_has_a_reason(standing, why):
    assert why in standing.why_not_moving(60.0)


def test_status_in_json_has_the_promised_keys(outbox, database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    shown = json.loads(outbox("status", "--json").out)
    assert set(shown) == {"counts", "oldest_due_seconds", "pollers", "transports", "sqlite"}
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
