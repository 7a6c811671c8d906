"""A poller leaves SQLite's lock to others for as long as it holds it."""

import pytest

from outbox.db.engine import create_engine
from outbox.db.sqlite import BURST, LONGEST_REST, SqliteStore


@pytest.fixture
async def store(sqlite_database, clock):
    store = SqliteStore(create_engine(sqlite_database), clock)
    yield store
    await store.close()


async def write(store, clock, seconds, *, fail=False):
    def work(_connection):
        clock.now += seconds
        if fail:
            raise ValueError("oops")

    await store.write(work)


async def test_a_short_burst_is_written_without_a_pause(store, clock):
    await write(store, clock, BURST / 2)
    await write(store, clock, BURST / 2)
    assert store.rest() == pytest.approx(0)


async def test_whoever_wrote_longer_rests_as_long_as_it_wrote(store, clock):
    await write(store, clock, 0.1)
    assert store.rest() == pytest.approx(0.1 - BURST)
    clock.now += 0.1
    assert store.rest() == 0


async def test_no_pause_is_long_and_a_write_that_fails_counts_too(store, clock):
    with pytest.raises(ValueError, match="oops"):
        await write(store, clock, 10.0, fail=True)
    assert store.rest() == pytest.approx(LONGEST_REST)


async def test_time_without_writes_is_not_saved_up(store, clock):
    await write(store, clock, 0.01)
    clock.now += 60.0
    await write(store, clock, 0.1)
    assert store.rest() == pytest.approx(0.1 - BURST)
