"""Pollers report that they live; the emails of one that is gone are freed, and nobody else's."""

import pytest

from outbox.db.registry import Registry
from tests.db.rows import claim, insert, later


@pytest.fixture
def registry(store):
    return Registry(store)


async def test_a_poller_reports_itself_until_it_signs_off_or_is_forgotten(registry, execute, operations, database):
    await execute(
        "INSERT INTO email_poller (name, host, pid, version, seen_at) VALUES ('dead', 'h', 1, '1', :seen)",
        {"seen": later(database, -90000)},
    )
    assert not await registry.show_life("p1"), "it is not on record yet"
    await registry.sign_on("p1", host="here", pid=7, version="0.1")
    assert await registry.show_life("p1")
    [poller] = await operations.pollers()
    assert (poller.name, poller.host, poller.pid, poller.version, poller.alive) == ("p1", "here", 7, "0.1", True)
    await execute("UPDATE email_poller SET seen_at = :seen", {"seen": later(database, -31)})
    assert [poller.alive for poller in await operations.pollers()] == [False]
    await registry.sign_off("p1")
    assert await operations.pollers() == []


async def test_freeing_a_poller_makes_its_emails_due_and_touches_no_other(registry, store, execute):
    for name in ("gone", "living"):
        await registry.sign_on(name, host="here", pid=7, version="0.1")
        await insert(execute)
        await claim(store, poller=name)
    await insert(execute, due_at=None, status="sent")
    assert set(await registry.others("living")) == {"gone"}
    assert await registry.free("gone") == 1
    assert await registry.others("living") == {}
    [row] = await claim(store, poller="living")
    assert (row.id, row.attempts, row.taken_over) == (1, 2, True), "the lost attempt stays counted"
