"""How much may be accepted without being on record: a kill can double no more than that."""

import asyncio

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


async def test_while_results_cannot_be_written_no_more_is_sent_than_there_are_connections(
    insert, settings, smtpd, execute, monkeypatch
):
    written, broken = Store.record, asyncio.Event()
    broken.set()

    async def record(self, results, *, poller):
        if broken.is_set():
            raise DatabaseError("the database cannot be used")
        return await written(self, results, poller=poller)

    monkeypatch.setattr(Store, "record", record)
    for number in range(12):
        await insert(to_addrs=f"r{number}@example.org")
    default = settings.transports["default"].model_copy(update={"max_connections": 3})
    async with Poller(settings.model_copy(update={"transports": {"default": default}})) as poller:
        # All three places are taken, and all three connections are at their next final dot.
        await smtpd.until(lambda: len(smtpd.messages) == 3 and smtpd.commands.count("DATA") >= 6)
        assert len(poller._loop._window) == 3
        broken.clear()
        await smtpd.received(12)
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}


async def test_a_stop_in_a_hurry_does_not_wait_for_dots_that_may_not_leave(insert, settings, smtpd, monkeypatch, row):
    async def record(_self, _results, *, poller):
        raise DatabaseError("the database cannot be used")

    ids = [await insert(to_addrs=f"r{number}@example.org") for number in range(2)]
    default = settings.transports["default"].model_copy(update={"max_connections": 1})
    written = Store.record
    monkeypatch.setattr(Store, "record", record)
    async with Poller(settings.model_copy(update={"transports": {"default": default}})) as poller:
        await smtpd.until(lambda: len(smtpd.messages) == 1 and smtpd.commands.count("DATA") == 2)
        poller.hurry()
        await poller._loop.finish(60.0, poller.hurry)
        monkeypatch.setattr(Store, "record", written)
    assert sorted([(await row(id)).status for id in ids]) == ["pending", "sent"]


async def test_a_row_that_is_given_back_untried_keeps_its_place_in_the_queue(store, execute):
    await insert_row(execute)
    await execute("UPDATE email_outbox SET due_at = '2026-01-02 03:04:05'")
    [row] = await claim(store)
    await store.record([given_back(row)], poller="poller")
    [found] = await execute("SELECT status, attempts, due_at FROM email_outbox")
    assert (found.status, found.attempts) == ("pending", 0)
    assert str(found.due_at).startswith("2026-01-02 03:0")
