"""How much may be accepted without being on record: a kill can double no more than that."""

import asyncio

import pytest

from outbox.claiming import given_back
from outbox.core.claim import Result
from outbox.core.errors import DatabaseError
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.daemon import Poller
from outbox.db.store import Store
from outbox.window import Window
from tests.db.rows import claim
from tests.db.rows import insert as insert_row
from tests.mail.rows import claimed


def result_of(row):
    return Result(row.id, row.claim_token, row.attempts, Verdict(Status.SENT))


async def test_a_place_is_free_again_when_the_result_is_on_record():
    window = Window(1)
    first, second = claimed(id=1), claimed(id=2)
    assert await window.enter(first)
    assert await window.enter(first), "one place, however many transactions it takes"
    waiting = asyncio.create_task(window.enter(second))
    await asyncio.sleep(0)
    assert not waiting.done()
    window.leave([result_of(first)])
    assert await waiting


async def test_places_are_given_in_the_order_of_asking_and_none_is_lost_to_who_went_away():
    window = Window(1)
    await window.enter(claimed(id=0))
    gone, first, second = (asyncio.create_task(window.enter(claimed(id=number))) for number in (1, 2, 3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    window.leave([result_of(claimed(id=0))])
    assert await first
    assert not second.done()
    window.leave([result_of(claimed(id=2))])
    second.cancel()  # in the moment in which it was given its place
    await asyncio.wait([second])
    assert await window.enter(claimed(id=4))


async def test_whoever_waits_when_it_closes_is_turned_away():
    window = Window(0)
    waiting = asyncio.create_task(window.enter(claimed()))
    await asyncio.sleep(0)
    window.close()
    assert not await waiting


@pytest.fixture
def poller(settings):
    """Makes pollers with these settings of their transport."""

    def make(**changes):
        default = settings.transports["default"].model_copy(update=changes)
        return Poller(settings.model_copy(update={"transports": {"default": default}}))

    return make


@pytest.fixture
def broken(monkeypatch):
    """While it is set, no result can be written. It is."""
    written, broken = Store.record, asyncio.Event()
    broken.set()

    async def record(self, results, *, poller):
        if broken.is_set():
            raise DatabaseError("the database cannot be used")
        return await written(self, results, poller=poller)

    monkeypatch.setattr(Store, "record", record)
    return broken


async def test_while_results_cannot_be_written_no_more_is_sent_than_there_are_connections(
    insert, poller, smtpd, execute, broken
):
    for number in range(12):
        await insert(to_addrs=f"r{number}@example.org")
    async with poller(max_connections=3) as running:
        # All three places are taken, and all three connections are at their next final dot.
        await smtpd.until(lambda: len(smtpd.messages) == 3 and smtpd.commands.count("DATA") >= 6)
        assert len(running._loop._window) == 3
        broken.clear()
        await smtpd.received(12)
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}


@pytest.mark.smtpd(offer=("PIPELINING",))
async def test_who_goes_on_in_another_transaction_and_who_waits_for_a_place_do_not_wait_for_each_other(
    insert, poller, smtpd, execute
):
    for number in range(6):
        await insert(to_addrs=f"a{number}@example.org, b{number}@example.org")
    async with poller(max_connections=1, max_recipients=1):
        await smtpd.received(12)
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}


@pytest.mark.smtpd(offer=("PIPELINING",))
async def test_what_lost_its_connections_while_nothing_could_be_written_is_sent_over_others(
    insert, poller, smtpd, execute, broken
):
    for number in range(12):
        await insert(to_addrs=f"r{number}@example.org")
    async with poller(max_connections=2) as running:
        await smtpd.until(lambda: len(smtpd.messages) == 2 and smtpd.commands.count("DATA") >= 4)
        for session in tuple(smtpd.sessions):
            session.drop()
        await asyncio.gather(*(one.wire.closed() for one in running._transports["default"]._pool._busy))
        broken.clear()
        await smtpd.received(12)
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}


async def test_a_stop_in_a_hurry_does_not_wait_for_dots_that_may_not_leave(insert, poller, smtpd, broken, row):
    ids = [await insert(to_addrs=f"r{number}@example.org") for number in range(2)]
    async with poller(max_connections=1) as running:
        await smtpd.until(lambda: len(smtpd.messages) == 1 and smtpd.commands.count("DATA") == 2)
        running.hurry()
        await running._loop.finish(60.0, running.hurry)
        broken.clear()
    assert sorted([(await row(id)).status for id in ids]) == ["pending", "sent"]


async def test_a_row_that_is_given_back_untried_keeps_its_place_in_the_queue(store, execute):
    await insert_row(execute)
    await execute("UPDATE email_outbox SET due_at = '2026-01-02 03:04:05'")
    [row] = await claim(store)
    await store.record([given_back(row)], poller="poller")
    [found] = await execute("SELECT status, attempts, due_at FROM email_outbox")
    assert (found.status, found.attempts) == ("pending", 0)
    assert str(found.due_at).startswith("2026-01-02 03:0")
