"""A database that fails while mail is under way: results are kept, nothing is sent twice, the poller goes on."""

import asyncio

import pytest

from outbox.daemon import Poller
from tests.fixtures.hold import Hold


@pytest.fixture
def cut(postgres_server, postgres_database):
    """Break every connection to the test's database, as a restart or a failover does."""
    name = postgres_database.partition("@/")[2].partition("?")[0]

    async def run():
        await postgres_server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    return run


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_connections_cut_at_the_final_dot_lose_no_result_and_send_nothing_twice(
    insert, settings, smtpd, row, cut, engine
):
    hold = Hold(smtpd, "dot")
    ids = [await insert(to_addrs=f"r{number}@example.org") for number in range(3)]
    async with Poller(settings):
        await hold.reached()
        await engine.dispose()
        await cut()
        hold.release()
        await smtpd.received(3)
        later = await insert(to_addrs="later@example.org")
        await smtpd.received(4)
    assert [(await row(id)).status for id in (*ids, later)] == ["sent"] * 4
    assert [(await row(id)).attempts for id in (*ids, later)] == [1] * 4
    assert len(smtpd.messages) == 4


async def test_results_that_cannot_be_written_are_kept_until_they_can(insert, settings, smtpd, row, monkeypatch):
    from outbox.core.errors import DatabaseError
    from outbox.db.store import Store

    written, refusals = Store.record, iter([True, True, True])
    failed = asyncio.Event()

    async def flaky(self, results, *, poller):
        if next(refusals, False):
            failed.set()
            raise DatabaseError("the database cannot be used: it is full")
        return await written(self, results, poller=poller)

    monkeypatch.setattr(Store, "record", flaky)
    id = await insert()
    async with Poller(settings, drain=True) as poller:
        await failed.wait()
        await poller.finished()
    assert ((await row(id)).status, len(smtpd.messages)) == ("sent", 1)
