"""What becomes of the emails of a poller that was killed or overtaken."""

import uuid
from datetime import UTC, datetime

import pytest

from outbox.core.claim import Result
from outbox.core.message import MessageIds
from outbox.core.outcome import Kind, Outcome
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.daemon import Poller


@pytest.fixture
def die(store, execute):
    """Claim what is due and vanish, as a killed poller does; with `marked`, just before the final dot left."""

    async def run(*, marked=False):
        ids = MessageIds.new(datetime.now(UTC), "example.org")
        name = f"killed-{uuid.uuid4().hex}"
        rows = await store.claim(100, poller=name, lease=60.0, message_ids=ids)
        for row in rows if marked else ():
            doubt = {row.to_addrs: Outcome(Kind.IN_DOUBT)}
            result = Result(row.id, row.claim_token, row.attempts, Verdict(Status.IN_DOUBT), doubt, "default")
            assert await store.mark(result, poller=name)
        return rows

    return run


@pytest.fixture
def end_leases(execute):
    """As after a minute."""

    async def run():
        await execute("UPDATE email_outbox SET due_at = created_at WHERE status = 'sending'")

    return run


async def test_rows_of_a_dead_poller_are_sent_when_their_lease_ends(
    insert, drain, die, end_leases, row, attempts, smtpd
):
    id = await insert()
    [claimed] = await die()
    assert not await drain()
    assert smtpd.messages == [], "the lease still runs"
    await end_leases()
    await drain()
    sent = await row(id)
    assert (sent.status, sent.attempts, sent.message_id) == ("sent", 2, claimed.message_id)
    assert [outcome[:3] for outcome in await attempts(id)] == [
        (1, "ada@example.org", "in_doubt"),
        (2, "ada@example.org", "accepted"),
    ]


async def test_a_held_row_whose_poller_died_at_the_final_dot_is_never_sent_again(
    insert, drain, die, end_leases, row, smtpd
):
    id = await insert(on_doubt="hold")
    await die(marked=True)
    await end_leases()
    await drain()
    held = await row(id)
    assert (held.status, held.due_at, held.attempts) == ("in_doubt", None, 1)
    assert "final dot" in held.last_error
    assert smtpd.messages == []


async def test_a_held_row_whose_poller_died_before_the_final_dot_is_sent(
    insert, drain, die, end_leases, row, attempts, smtpd
):
    id = await insert(on_doubt="hold")
    await die()
    await end_leases()
    await drain()
    assert ((await row(id)).status, len(smtpd.messages)) == ("sent", 1)
    assert [outcome[2] for outcome in await attempts(id)] == ["deferred", "accepted"]


async def test_a_row_that_kills_its_process_ends_failed_instead_of_looping(insert, drain, die, end_leases, row, smtpd):
    id = await insert(max_attempts=5)
    for _ in range(5):
        await die()
        await end_leases()
    good = await insert()
    await drain()
    failed = await row(id)
    assert (failed.status, failed.attempts) == ("failed", 5)
    assert "gave up after 5 attempts" in failed.last_error
    assert ((await row(good)).status, len(smtpd.messages)) == ("sent", 1)


async def test_a_held_row_is_marked_only_while_its_final_dot_is_under_way(insert, settings, smtpd, row, attempts):
    seen = []

    async def look(_sender):
        seen.extend(await attempts(id))

    smtpd.faults = {"dot": look}
    id = await insert(on_doubt="hold")
    async with Poller(settings, drain=True) as poller:
        await poller.finished()
    assert [outcome[:3] for outcome in seen] == [(1, "ada@example.org", "in_doubt")]
    assert [outcome[:4] for outcome in await attempts(id)] == [(1, "ada@example.org", "accepted", 250)]
    assert (await row(id)).status == "sent"
