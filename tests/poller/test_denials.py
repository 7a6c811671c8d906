"""A relay that denies everything, seen from the rows: none fails for it, and one bad row does not stop the others."""

import pytest

from outbox.core.outcome import Scope
from outbox.daemon import Poller
from outbox.db.operations import Operations
from outbox.smtp.health import _BACKOFF

RELAY = "554 5.7.1 Relay access denied"
SENDER = "553 5.7.1 Sender address rejected: not owned by user"


@pytest.fixture
def slow(monkeypatch):
    """A configuration that is at fault is tried again when somebody resumes, not sooner."""
    monkeypatch.setitem(_BACKOFF, Scope.CONFIG, (3600.0, 3600.0))


@pytest.mark.smtpd(rcpt=RELAY)
@pytest.mark.usefixtures("slow")
async def test_a_lost_permission_to_relay_fails_no_row_and_all_are_sent_when_it_is_mended(
    insert, drain, smtpd, row, execute, engine, make_due
):
    ids = [await insert(to_addrs=f"r{number}@example.org") for number in range(30)]
    assert await drain(), "due rows were left behind"
    for _ in range(3):
        for id in ids:
            await make_due(id)
        await drain()
    rows = [await row(id) for id in ids]
    assert {r.status for r in rows} == {"pending"}
    assert sorted({r.attempts for r in rows}) == [0, 1]
    assert sum(r.attempts for r in rows) == 2, "the third one in a row was enough to know"
    [transport] = await Operations(engine).transports()
    assert (transport.paused, transport.reason) == (
        True,
        f"configuration: 127.0.0.1:{smtpd.port}: every email is denied: {RELAY}",
    )
    smtpd.faults = {}
    await Operations(engine).resume(["default"])
    for id in ids:
        await make_due(id)
    assert not await drain()
    assert {(await row(id)).status for id in ids} == {"sent"}


@pytest.mark.smtpd(mail={"bad@example.org": SENDER})
async def test_a_sender_that_is_denied_fails_its_row_at_the_third_attempt(insert, drain, row, make_due, attempts):
    id = await insert(sender="bad@example.org")
    for attempt in (1, 2):
        await drain()
        assert ((await row(id)).status, (await row(id)).attempts) == ("pending", attempt)
        await make_due(id)
    await drain()
    failed = await row(id)
    assert (failed.status, failed.attempts, failed.last_error) == ("failed", 3, f"ada@example.org: {SENDER}")
    assert [(outcome, code) for _, _, outcome, code in await attempts(id)] == [
        ("deferred", 553),
        ("deferred", 553),
        ("refused", 553),
    ]


@pytest.mark.smtpd(mail={"bad@example.org": SENDER})
async def test_rows_that_are_denied_do_not_keep_the_others_from_being_tried(insert, settings, smtpd, row, monkeypatch):
    monkeypatch.setitem(_BACKOFF, Scope.CONFIG, (0.02, 0.05))
    bad = [await insert(sender="bad@example.org") for _ in range(6)]
    good = await insert()
    async with Poller(settings.model_copy(update={"poll_interval": 0.05, "retry_schedule": (3600.0,)})):
        await smtpd.received(1)
    assert (await row(good)).status == "sent"
    assert {(await row(id)).status for id in bad} == {"pending"}
