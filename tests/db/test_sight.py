"""What monitoring asks: right, bounded, and answered without reading what is finished."""

import pytest

from outbox.core.status import Status
from outbox.db import sight
from outbox.db.engine import read_only


@pytest.fixture
async def connection(engine):
    async with read_only(engine).connect() as connection:
        yield connection


@pytest.fixture
def add(execute, engine):
    """INSERT `count` alike."""

    async def run(count=1, **columns):
        columns = {"to_addrs": "'a@x.org'", "body_text": "'x'", **columns}
        names, values = ", ".join(columns), ", ".join(map(str, columns.values()))
        for _ in range(count):
            await execute(f"INSERT INTO email_outbox ({names}) VALUES ({values})")

    return run


LATER, HELD, LONG_AGO = "'2999-01-01 00:00:00'", "'9999-12-30 00:00:00'", "'2020-01-01 00:00:00'"


async def test_what_waits_is_told_by_lane_wherever_it_waits(connection, add):
    await add(2)
    await add(priority=0, route="'@example.org'")
    await add(3, transport="'bulk'", priority=2, due_at=LATER)
    await add(due_at=HELD, held="true")
    urgent, normal, bulk = await sight.lanes(connection)
    assert (urgent.due, urgent.later, urgent.held, urgent.more) == (1, 0, 0, False)
    assert (normal.due, normal.later, normal.held) == (2, 0, 1)
    assert (bulk.due, bulk.later, bulk.held, bulk.oldest_due_seconds) == (0, 3, 0, None)
    assert urgent.oldest_due_seconds is not None


async def test_counting_ends_at_its_bound_and_says_so(connection, add):
    await add(4)
    await add(3, transport="'bulk'")
    _, normal, _ = await sight.lanes(connection, most=3)
    assert (normal.due, normal.more) == (6, True)
    _, normal, _ = await sight.lanes(connection, most=4)
    assert (normal.due, normal.more) == (7, False)


async def test_the_oldest_due_email_is_found_at_any_gate(connection, add):
    assert await sight.oldest_due(connection) is None
    await add(due_at=LATER)
    assert await sight.oldest_due(connection) is None
    await add()
    await add(transport="'zzz'", priority=2, due_at=LONG_AGO)
    assert (await sight.oldest_due(connection) or 0) > 1e8


async def test_an_empty_queue_has_three_empty_lanes(connection):
    assert await sight.lanes(connection) == [
        sight.Lane(lane, 0, 0, 0, more=False, oldest_due_seconds=None) for lane in range(3)
    ]


async def test_what_ended_is_counted_within_its_window_up_to_a_bound(connection, add):
    for status in ("failed", "sent"):
        await add(3, status=f"'{status}'", due_at="NULL", finished_at="CURRENT_TIMESTAMP")
    await add(status="'failed'", due_at="NULL", finished_at=LONG_AGO)
    assert await sight.ended(connection, Status.FAILED, 3600, 100) == 3
    assert await sight.ended(connection, Status.FAILED, 3600, 2) == 2
    assert await sight.ended(connection, Status.FAILED, 1e9, 100) == 4


async def test_the_flow_is_outcomes_per_second_by_transport(connection, execute, add):
    await add()
    line = "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code, transport, attempted_at)"
    for outcome, code, transport, at in (
        ("accepted", 250, "a", "CURRENT_TIMESTAMP"),
        ("accepted", 250, "a", "CURRENT_TIMESTAMP"),
        ("refused", 550, "b", "CURRENT_TIMESTAMP"),
        ("deferred", 450, "b", LONG_AGO),
    ):
        await execute(f"{line} VALUES (1, 1, 'x@x.org', '{outcome}', {code}, '{transport}', {at})")
    flow = {(one.transport, one.outcome): one.per_second for one in await sight.flow(connection)}
    assert flow == {("a", "accepted"): 0.2, ("b", "refused"): 0.1}
    assert [(one.outcome, one.code) for one in await sight.failures(connection, 8)] == [
        ("deferred", 450),
        ("refused", 550),
    ]
    assert len(await sight.failures(connection, 1)) == 1


async def test_where_the_span_has_more_than_is_looked_at_the_rate_is_that_of_what_was_seen(
    connection, execute, add, monkeypatch
):
    monkeypatch.setattr(sight, "RECENT", 4)
    await add()
    columns = "(outbox_id, attempt, recipient, outcome, transport)"
    for _ in range(9):
        await execute(f"INSERT INTO email_attempt {columns} VALUES (1, 1, 'x', 'accepted', 'a')")
    [one] = await sight.flow(connection)
    assert one.per_second > 4 / sight.SPAN
