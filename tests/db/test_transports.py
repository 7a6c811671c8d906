"""What pollers and people know of the transports, as the database holds it."""

import asyncio
import math

import pytest

from outbox.core.outcome import Fault, Scope
from outbox.db.transports import PROBE_WINDOW, Transports
from tests.db.rows import later

REFUSED = Fault(Scope.PAUSE, "mx:25: connect: connection refused", 60.0)
WRONG = Fault(Scope.CONFIG, "mx:587: AUTH: 535 5.7.8 bad credentials", 300.0)


@pytest.fixture
def table(store):
    return Transports(store)


@pytest.fixture
def let_it_pass(execute, database):
    """Let the pause end by itself."""

    async def run() -> None:
        await execute("UPDATE email_transport SET paused_until = :past", {"past": later(database, -1)})

    return run


@pytest.mark.parametrize("fault", [REFUSED, WRONG], ids=["pause", "configuration"])
async def test_a_pause_is_read_as_it_was_told_and_can_be_lifted(table, operations, fault):
    assert await table.read() == {}
    await table.pause("default", fault, shorten=False)
    found = (await table.read())["default"]
    assert (found.scope, found.reason) == (fault.scope, fault.reason)
    assert fault.wait - 5 < found.wait <= fault.wait
    [shown] = await operations.transports()
    assert (shown.name, shown.paused, shown.by_hand) == ("default", True, False)
    await table.clear("default")
    assert await table.read() == {}
    [shown] = await operations.transports()
    assert (shown.paused_until, shown.reason, shown.paused) == (None, None, False)


async def test_a_longer_pause_stays_unless_it_is_shortened_by_who_knows_better(table):
    await table.pause("default", WRONG, shorten=False)
    await table.pause("default", REFUSED, shorten=False)
    assert (await table.read())["default"].reason == WRONG.reason
    await table.pause("default", REFUSED, shorten=True)
    assert (await table.read())["default"].reason == REFUSED.reason


async def test_after_the_pause_one_of_all_pollers_wins_the_probe(table, let_it_pass):
    assert not await table.win_probe("default"), "nothing is wrong with it"
    await table.pause("default", REFUSED, shorten=False)
    assert not await table.win_probe("default"), "it is still paused"
    await let_it_pass()
    found = (await table.read())["default"]
    assert (found.wait, found.reason) == (0.0, REFUSED.reason)
    won = await asyncio.gather(*(table.win_probe("default") for _ in range(5)))
    assert sorted(won) == [False] * 4 + [True]
    found = (await table.read())["default"]
    assert PROBE_WINDOW - 3 < found.wait <= PROBE_WINDOW
    assert found.reason == REFUSED.reason


async def test_a_probe_that_takes_long_is_kept(table, let_it_pass):
    await table.pause("default", REFUSED, shorten=False)
    await let_it_pass()
    await table.keep_probe("default")
    assert not await table.win_probe("default")


async def test_a_pause_by_hand_has_no_end_and_no_poller_changes_it(table, operations):
    assert await operations.pause(["default", "bulk"]) == {"default", "bulk"}
    await table.pause("default", WRONG, shorten=True)
    await table.clear("default")
    await table.keep_probe("default")
    assert not await table.win_probe("default")
    found = (await table.read())["default"]
    assert (found.scope, found.wait) == (Scope.BY_HAND, math.inf)
    assert found.reason.startswith("paused by hand since 20")
    assert [(one.name, one.paused, one.by_hand) for one in await operations.transports()] == [
        ("bulk", True, True),
        ("default", True, True),
    ]


async def test_pausing_again_keeps_the_moment_since_when(table, operations, execute):
    await operations.pause(["default"])
    await execute("UPDATE email_transport SET reason = 'paused by hand since yesterday'")
    assert await operations.pause(["default"]) == set()
    assert (await table.read())["default"].reason == "paused by hand since yesterday"


async def test_a_pause_by_hand_takes_the_place_of_any_other(table, operations):
    await table.pause("default", WRONG, shorten=False)
    assert await operations.pause(["default"]) == {"default"}
    assert (await table.read())["default"].scope is Scope.BY_HAND


async def test_resuming_ends_any_pause_and_any_probation(table, operations, let_it_pass):
    await operations.pause(["a"])
    await table.pause("b", WRONG, shorten=False)
    await table.pause("well", REFUSED, shorten=False)
    await table.clear("well")
    assert await operations.resume(["a", "b", "well", "unknown"]) == {"a", "b"}
    await table.pause("a", REFUSED, shorten=False)
    await let_it_pass()
    assert await operations.resume(["a"]) == {"a"}
    assert await table.read() == {}


async def test_a_pause_by_plain_sql_is_heard(table, execute, database):
    await execute(
        "INSERT INTO email_transport (name, paused_until) VALUES ('default', :until)", {"until": later(database, 60)}
    )
    found = (await table.read())["default"]
    assert (found.scope, found.reason) == (Scope.PAUSE, "no reason given")
