"""Gates: where an email waits, so that those that cannot go are in nobody's way."""

from collections import Counter
from datetime import UTC, datetime

from outbox.core.claim import Result
from outbox.core.message import MessageIds
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.lanes import MOST
from outbox.db.sqlite import SqliteStore
from tests.db.rows import claim, insert, later

IDS = MessageIds.new(datetime(2026, 1, 1, tzinfo=UTC), "example.org")


async def test_only_rows_at_the_gates_that_are_asked_for_are_claimed_and_waited_for(store, execute):
    default, empty, other, moved = (
        await insert(execute),
        await insert(execute, transport=""),
        await insert(execute, transport="other"),
        await insert(execute, transport="default", route="@example.org"),
    )
    assert await claim(store, gates=["default"]) == []
    assert await store.next_due(["default"]) is None
    assert await store.next_due([]) is None
    assert [row.id for row in await claim(store, gates=["other", "default"])] == [other]
    assert sorted(row.id for row in await claim(store, gates=["", "@example.org"])) == [default, empty, moved]
    assert await claim(store, gates=["", "other", "@example.org"]) == []


async def test_several_gates_share_a_claim_evenly_and_urgent_rows_can_be_asked_for_alone(store, execute):
    for transport in ("a", "b"):
        for priority in (0, 1):
            for _ in range(10):
                await insert(execute, transport=transport, priority=priority)
    urgent = await claim(store, 4, gates=["a", "b"])
    assert Counter((row.gate, row.priority) for row in urgent)[("a", 0)] >= 1
    assert {row.gate for row in urgent} == {"a", "b"}
    alone = await store.claim(
        100, poller="p", lease=60, message_ids=IDS, held=[0], gates=["a"], urgent=True, thorough=True
    )
    assert {(row.gate, row.priority) for row in alone} == {("a", 0)}


async def test_rows_at_gates_that_nobody_knows_are_found_and_wait_to_be_routed(store, execute, database):
    known = [await insert(execute, transport=name) for name in ("a", "")]
    stray, parked = await insert(execute, transport="gone"), await insert(execute, route="@gone.example")
    future = await insert(execute, transport="gone", due_at=later(database, 60))
    assert await store.adopt_strays(["", "a"]) == {stray, parked}
    assert await store.adopt_strays(["", "a"]) == set()
    assert sorted(row.id for row in await claim(store, gates=["", "a"])) == sorted([*known, stray, parked])
    [row] = await execute("SELECT gate, transport FROM email_outbox WHERE id = :id", {"id": future})
    assert (row.gate, row.transport) == ("gone", "gone")


async def test_a_result_can_move_a_row_to_another_gate_and_hold_it(store, execute):
    ids = [await insert(execute) for _ in range(3)]
    rows = {row.id: row for row in await claim(store)}
    moved = Verdict(Status.PENDING, delay=0, counted=False, route="bulk")
    held = Verdict(Status.PENDING, delay=3600, counted=False, reason="held", held=True)
    verdicts = dict(zip(ids, (moved, held, Verdict(Status.PENDING, delay=0)), strict=True))
    await store.record([Result(id, rows[id].claim_token, 1, verdict) for id, verdict in verdicts.items()], poller="p")
    assert [row.id for row in await claim(store, gates=["bulk"])] == [ids[0]]
    assert [(row.id, row.held) for row in await claim(store)] == [(ids[2], None)]
    [row] = await execute("SELECT held, gate, last_error FROM email_outbox WHERE id = :id", {"id": ids[1]})
    assert (bool(row.held), row.gate, row.last_error) == (True, "", "held")


async def test_of_any_number_of_gates_those_are_told_where_rows_are_due(store, execute, database):
    gates = [f"@d{number}.example" for number in range(1000)]
    for number, priority in ((3, 0), (500, 1), (999, 2)):
        await insert(execute, route=gates[number], priority=priority)
    await insert(execute, route=gates[4], due_at=later(database, 60))
    await insert(execute, transport="default")
    assert await store.filled(gates, thorough=True) == {gates[3], gates[500], gates[999]}
    await claim(store, gates=[gates[3]])
    assert await store.filled(gates, thorough=True) == {gates[500], gates[999]}
    assert 59 < await store.next_due(gates, within=90) < 60
    assert await store.next_due(gates) <= 0


async def test_what_is_remembered_of_gates_does_not_grow_with_every_choice_of_them(store):
    for number in range(2 * MOST):
        await claim(store, gates=[f"@d{number}.example"])
    assert len(store._lanes if isinstance(store, SqliteStore) else store._memories) <= MOST
