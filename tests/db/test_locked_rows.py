"""A row that an application's transaction has locked on PostgreSQL: it waits alone, whatever it is grouped with."""

import pytest
from sqlalchemy import text

from outbox.core.claim import Result
from outbox.core.errors import DatabaseError
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.leases import Leases
from tests.db.rows import claim, insert


@pytest.fixture
def database(postgres_database):
    return postgres_database


@pytest.fixture
async def rows(store, execute):
    """Two claimed rows; the first one stays locked."""
    for _ in range(2):
        await insert(execute)
    return await claim(store)


@pytest.fixture
async def lock(rows, engine):
    """An application's transaction that stays open."""
    async with engine.connect() as application:
        await application.execute(text("UPDATE email_outbox SET tag = 'x' WHERE id = :id"), {"id": rows[0].id})
        yield application
        await application.rollback()


def sent(row):
    return Result(row.id, row.claim_token, row.attempts, Verdict(Status.SENT))


async def test_a_locked_row_keeps_no_other_lease_from_being_renewed(store, rows, lock):
    claims = {(row.id, row.claim_token) for row in rows}
    assert await store.renew(claims, 600) == {rows[1].id}
    assert await store.owned(claims) == {row.id for row in rows}
    await lock.rollback()
    assert await store.renew(claims, 600) == {row.id for row in rows}


async def test_a_row_is_owned_by_its_last_claim_only_and_until_its_result_is_written(store, rows):
    first, second = rows
    assert await store.owned({(first.id, "another"), (second.id, second.claim_token)}) == {second.id}
    await store.record([sent(second)], poller="poller")
    assert await store.owned({(second.id, second.claim_token)}) == set()


async def test_the_lease_of_a_locked_row_is_not_lost_and_ends_when_the_database_says_so(store, rows, lock, clock):
    leases = Leases(store, 60.0, clock)
    leases.add(rows, clock())
    clock.now += 40
    await leases.renew()
    assert (leases.lost, len(leases)) == (0, 2)
    clock.now += 30
    assert [leases.owns(row) for row in rows] == [False, True]
    await lock.rollback()
    await leases.renew()
    assert [leases.owns(row) for row in rows] == [True, True]


async def test_a_locked_row_that_others_may_have_freed_is_not_ours_before_it_is_renewed(store, rows, lock, clock):
    leases = Leases(store, 60.0, clock)
    leases.add(rows, clock())
    leases.trusted = False
    await leases.renew()
    leases.trusted = True
    assert [leases.owns(row) for row in rows] == [False, True]
    await lock.rollback()
    await leases.renew()
    assert [leases.owns(row) for row in rows] == [True, True]


async def test_results_do_not_wait_for_a_locked_row_longer_than_for_a_moment(store, rows, lock, monkeypatch):
    monkeypatch.setattr("outbox.db.postgresql.PATIENCE", 20.0)
    results = [sent(row) for row in rows]
    with pytest.raises(DatabaseError, match="lock timeout"):
        await store.record(results, poller="poller")
    assert await store.record(results[1:], poller="poller") == {rows[1].id}
    await lock.rollback()
    assert await store.record(results[:1], poller="poller") == {rows[0].id}


async def test_a_note_waits_for_no_row_that_is_locked(store, rows, lock, execute, monkeypatch):
    monkeypatch.setattr("outbox.db.postgresql.PATIENCE", 20.0)
    claims = [(row.id, row.claim_token) for row in rows]
    assert await store.reroute(claims, "other") == {rows[1].id}
    await lock.rollback()
    assert await store.reroute([(rows[0].id, "another"), claims[0]], "third") == {rows[0].id}
    assert [r.route for r in await execute("SELECT route FROM email_outbox ORDER BY id")] == ["third", "other"]
