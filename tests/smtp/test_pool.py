"""The pool: never more connections than allowed, reused while good, and no place lost whatever happens."""

import asyncio

import pytest

from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection, open_connection
from outbox.smtp.pool import NoConnectionError, Pool


@pytest.fixture
async def make(smtpd, clock):
    """Makes pools of the test's server, and closes them."""
    pools: list[Pool] = []

    def make(**settings) -> Pool:
        configured = TransportSettings(url=smtpd.url, **settings)

        async def open_one() -> Connection:
            return await open_connection(configured, context=None, tokens=None, clock=clock)

        pools.append(Pool(open_one, configured, clock))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


def used(connection: Connection) -> Connection:
    connection.messages += 1
    return connection


async def test_a_connection_is_used_again(make, smtpd):
    pool = make()
    first = await pool.acquire()
    assert repr(pool) == "<Pool 1 busy, 0 idle, 0 opening, 0 closing, 0 waiting, limit 10>"
    pool.release(used(first))
    assert repr(pool) == "<Pool 0 busy, 1 idle, 0 opening, 0 closing, 0 waiting, limit 10>"
    assert await pool.acquire() is first
    pool.release(first)
    assert smtpd.connections == 1


async def test_there_are_never_more_than_allowed_and_who_came_first_is_first(make, smtpd):
    pool = make(max_connections=2)
    one, two = await pool.acquire(), await pool.acquire()
    order: list[str] = []

    async def wait(name: str) -> None:
        connection = await pool.acquire()
        order.append(name)
        pool.release(connection)

    waiting = [asyncio.create_task(wait(name)) for name in "abc"]
    await asyncio.sleep(0)
    assert repr(pool) == "<Pool 2 busy, 0 idle, 0 opening, 0 closing, 3 waiting, limit 2>"
    pool.release(one)
    await asyncio.gather(*waiting)
    pool.release(two)
    assert order == ["a", "b", "c"]
    assert smtpd.connections == 2


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"messages_per_connection": 1}, 0),
        ({"connection_age": 60}, 61),
        ({"idle_timeout": 5, "connection_age": 60}, 61),
    ],
    ids=["messages", "age", "idle"],
)
async def test_a_connection_that_has_served_its_time_is_closed_with_quit(make, smtpd, clock, settings, seconds):
    pool = make(max_connections=1, **settings)
    first = used(await pool.acquire())
    clock.now += seconds
    pool.release(first)
    second = await pool.acquire()
    assert second is not first
    assert smtpd.commands.count("QUIT") == 1
    pool.release(second)


async def test_what_is_idle_for_too_long_is_swept(make, smtpd, clock):
    pool = make(idle_timeout=5)
    pool.release(await pool.acquire())
    pool.sweep()
    assert "1 idle" in repr(pool)
    clock.now += 6
    pool.sweep()
    assert "0 idle" in repr(pool)
    await smtpd.until(lambda: "QUIT" in smtpd.commands)


async def test_the_sweeper_runs_by_itself(make, smtpd, clock):
    pool = make(idle_timeout=0.01)
    connection = await pool.acquire()
    pool.release(connection)
    clock.now += 1
    await smtpd.until(lambda: "QUIT" in smtpd.commands)
    assert "0 idle" in repr(pool)


async def test_a_broken_connection_is_not_given_out(make, smtpd):
    pool = make(max_connections=1)
    first = await pool.acquire()
    pool.release(first)
    for session in tuple(smtpd.sessions):
        session.drop()
    await first.wire.closed()
    second = await pool.acquire()
    assert second is not first
    pool.release(second)


async def test_a_new_connection_is_one_that_has_carried_nothing(make, smtpd):
    pool = make(max_connections=1)
    first = used(await pool.acquire())
    pool.release(first)
    second = await pool.acquire(new=True)
    assert second is not first
    assert smtpd.connections == 2
    pool.release(second)


@pytest.mark.smtpd(ehlo=["421 4.7.0 busy", None])
async def test_a_failed_opening_frees_its_place(make):
    pool = make(max_connections=1)
    with pytest.raises(Exception, match=r"421 4\.7\.0 busy"):
        await pool.acquire()
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 opening, 0 closing, 0 waiting, limit 1>"
    pool.release(await pool.acquire())


async def test_who_stops_waiting_leaves_the_place_to_the_next(make):
    pool = make(max_connections=1)
    first = await pool.acquire()
    gone, next_one = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.release(first)  # granted to `gone`, which is cancelled before it can notice
    gone.cancel()
    assert await next_one is first
    assert gone.cancelled()
    pool.release(first)


async def test_a_cancelled_opening_frees_its_place(make, smtpd):
    answer = asyncio.Event()

    async def hold(_: str) -> None:
        await answer.wait()

    smtpd.faults["ehlo"] = hold
    pool = make(max_connections=1)
    opening = asyncio.create_task(pool.acquire())
    await smtpd.until(lambda: bool(smtpd.commands))
    opening.cancel()
    await asyncio.wait([opening])
    answer.set()
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 opening, 0 closing, 0 waiting, limit 1>"
    pool.release(await pool.acquire())


async def test_on_probation_one_connection_is_given_out_at_a_time(make):
    pool = make(max_connections=3)
    pool.limit = 1
    probe = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    assert repr(pool) == "<Pool 1 busy, 0 idle, 0 opening, 0 closing, 1 waiting, limit 1>"
    pool.resize(3)
    pool.release(await waiting)
    pool.release(probe)


async def test_who_waits_can_be_dismissed(make):
    pool = make(max_connections=1)
    connection = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.dismiss()
    with pytest.raises(NoConnectionError):
        await waiting
    pool.release(connection)
    pool.release(await pool.acquire())


async def test_a_closed_pool_gives_nothing_out_and_says_quit(make, smtpd):
    pool = make()
    pool.release(await pool.acquire())
    await pool.close()
    assert smtpd.commands[-1] == "QUIT"
    with pytest.raises(NoConnectionError):
        await pool.acquire()
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 opening, 0 closing, 0 waiting, closed>"


async def test_aborting_ends_an_opening_too(make, smtpd):
    smtpd.faults["ehlo"] = lambda _: asyncio.Event().wait()
    pool = make()
    opening = asyncio.create_task(pool.acquire())
    await smtpd.until(lambda: bool(smtpd.commands))
    pool.abort()
    with pytest.raises(NoConnectionError):
        await opening


async def granted(pool: Pool) -> "asyncio.Task[Connection]":
    """Somebody who was given the right to open a connection, and has not taken it up yet."""
    first = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    first.abort()
    pool.release(first)
    assert repr(pool) == "<Pool 0 busy, 0 idle, 1 opening, 0 closing, 0 waiting, limit 1>"
    return waiting


async def test_a_right_to_open_ends_with_the_pool(make, smtpd):
    pool = make(max_connections=1)
    waiting = await granted(pool)
    pool.abort()
    with pytest.raises(NoConnectionError):
        await waiting
    assert smtpd.connections == 1
    assert repr(pool) == "<Pool 0 busy, 0 idle, 0 opening, 0 closing, 0 waiting, closed>"


async def test_a_right_to_open_that_nobody_takes_up_is_given_to_the_next(make):
    pool = make(max_connections=1)
    waiting = await granted(pool)
    waiting.cancel()
    await asyncio.wait([waiting])
    pool.release(await pool.acquire())


async def test_what_is_opened_while_the_pool_closes_is_not_given_out(make, smtpd):
    answer = asyncio.Event()

    async def hold(_: str) -> None:
        await answer.wait()

    smtpd.faults["ehlo"] = hold
    pool = make()
    opening = asyncio.create_task(pool.acquire())
    await smtpd.until(lambda: bool(smtpd.commands))
    await pool.close()
    answer.set()
    with pytest.raises(NoConnectionError):
        await opening
    await smtpd.until(lambda: not smtpd.sessions)


async def test_an_urgent_one_is_served_first_and_waits_for_a_connection_of_its_own(make, smtpd):
    pool = make(max_connections=2)
    one, two = await pool.acquire(), await pool.acquire()
    ordinary, urgent = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire(urgent=True))
    await asyncio.sleep(0)
    pool.lend(one)
    await asyncio.sleep(0)
    assert not any(waiting.done() for waiting in (ordinary, urgent))
    pool.release(used(two))
    assert await urgent is two
    pool.lend(one)
    assert await ordinary is one
    for connection in (one, one, two):
        pool.release(connection)
