"""SharedLimits in the database: shared by all pollers, and kept by its clock."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from outbox.core.rate import APART, parse_rate
from outbox.db.engine import create_engine
from outbox.db.limits import SharedLimits, forget_unused
from outbox.db.store import open_store

RATES = {"default": [parse_rate("10/s")], "@example.org": [parse_rate("3/day")], "small": [parse_rate("1/hour")]}
PACES = {"default": [parse_rate("10/s")], "@slow.example": [parse_rate("2/s")]}


@pytest.fixture
def limits(store):
    return SharedLimits(store, RATES)


async def test_emails_get_slots_one_behind_the_other_and_those_beyond_are_told_which_limit_and_how_long(limits):
    passages, waits = await limits.admit([["default"]] * 30)
    slots = [passage.slots["default"] for passage in passages if passage.limit is None]
    assert slots == pytest.approx([n / 10 for n in range(len(slots))])
    assert 20 <= len(slots) <= 21
    assert {passage.limit for passage in passages[len(slots) :]} == {"default"}
    assert 0 < waits["default"] <= 0.1


async def test_an_email_takes_of_all_its_limits_or_of_none(limits, execute):
    passages, waits = await limits.admit([["small", "@example.org"], ["small", "@example.org"], ["@example.org"]])
    assert [p.limit for p in passages] == [None, "small", None]
    assert waits["small"] > 3000
    assert waits["@example.org"] == 0
    [state] = await execute("SELECT rate_state FROM email_limit WHERE name = '@example.org'")
    assert state.rate_state.count(":2") == 1


async def test_an_email_that_takes_a_slot_at_two_limits_takes_none_that_is_lost_before_the_other_comes(store):
    passages, waits = await SharedLimits(store, PACES).admit([["@slow.example", "default"]] * 3)
    assert [passage.limit for passage in passages] == [None, "@slow.example", "@slow.example"]
    assert waits["@slow.example"] == pytest.approx(0.5 - 0.1 - APART)
    assert waits["default"] == 0


async def test_a_slot_at_the_limit_of_a_domain_is_not_before_that_of_the_transport(store):
    emails = [*[["default"]] * 10, ["@slow.example", "default"]]
    passages, _ = await SharedLimits(store, PACES).admit(emails)
    assert passages[-1].slots == pytest.approx({"default": 1.0, "@slow.example": 1.0})


async def test_when_the_next_email_may_go_is_there_to_be_read(limits, execute):
    await limits.admit([["small"]])
    [row] = await execute("SELECT name, next_send_at, paused_until FROM email_transport")
    found = row.next_send_at
    found = datetime.fromisoformat(found).replace(tzinfo=UTC) if isinstance(found, str) else found
    assert timedelta(minutes=55) < found - datetime.now(UTC) < timedelta(minutes=65)
    assert (row.name, row.paused_until) == ("small", None)


async def test_several_pollers_together_get_no_more_than_one_alone(database):
    engines = [create_engine(database) for _ in range(4)]
    stores = [open_store(engine) for engine in engines]
    found = await asyncio.gather(
        *(SharedLimits(store, RATES).admit([["@example.org", "default"]] * 2) for store in stores for _ in range(3))
    )
    assert sum(passage.limit is None for passages, _ in found for passage in passages) == 3
    for store in stores:
        await store.close()


async def test_limits_that_nobody_asks_any_more_are_forgotten(limits, store, execute):
    await limits.admit([["@example.org"]])
    assert await forget_unused(store) == 0
    await execute("UPDATE email_limit SET used_at = '2026-01-02 03:04:05'")
    assert await forget_unused(store) == 1
    assert await execute("SELECT name FROM email_limit") == []


async def test_a_limit_is_remembered_by_whoever_comes_later(limits, store):
    assert (await limits.admit([["small"]])).passages[0].limit is None
    assert (await SharedLimits(store, RATES).admit([["small"]])).passages[0].limit == "small"
