"""Who waits for which transport, and how many are held: decided without a database or a server."""

from collections import Counter
from dataclasses import dataclass

import pytest

from outbox.line import LATE, Waits
from outbox.waiting import LATELY, PREFETCH, Waiting
from tests.mail.rows import claimed


@dataclass
class Way:
    capacity: int
    depth: int = 1
    reserved: int = 0


@pytest.fixture
def ways():
    return {"slow": Way(2), "fast": Way(1)}


@pytest.fixture
def waiting(ways):
    return Waiting(ways)


def rows(way, *priorities):
    return [Waits(claimed(id=number, way=way, priority=p), 0.0) for number, p in enumerate(priorities)]


def test_every_transport_has_room_of_its_own(waiting):
    assert (waiting.room("slow"), waiting.room("fast")) == (2 * PREFETCH, PREFETCH)
    surplus = waiting.add(rows("slow", *[1] * 3 * PREFETCH))
    assert len(surplus) == PREFETCH, "what is beyond its room goes back, and the places of the other stay free"
    assert (waiting.room("slow"), waiting.room("fast")) == (0, PREFETCH)
    assert waiting.add(rows("fast", 1)) == []


def test_urgent_rows_are_started_first_and_only_as_many_as_there_are_connections(waiting):
    waiting.add(rows("slow", 2, 1, 0, 1))
    assert [row.priority for row, *_ in waiting.take(0.0)] == [0, 1]
    assert waiting.take(0.0) == []


def test_where_emails_can_begin_behind_each_other_more_are_started(waiting, ways):
    ways["slow"].depth = 2
    waiting.add(rows("slow", 1, 1, 1, 1, 1))
    assert len(waiting.take(0.0)) == 4


def test_a_landed_row_makes_room_for_the_next(waiting):
    waiting.add(rows("fast", 1, 1))
    [(first, *_)] = waiting.take(0.0)
    waiting.landed(first)
    assert len(waiting.take(0.0)) == 1


def test_a_claim_is_not_worth_a_statement_before_half_of_a_transport_is_free(waiting):
    waiting.add(rows("fast", 1, 1, 1))
    assert waiting.room("fast") == 0


def test_there_is_always_room_for_urgent_rows_to_go_next(waiting):
    waiting.add(rows("slow", *[2] * 2 * PREFETCH))
    assert (waiting.room("slow"), waiting.urgent_room("slow")) == (0, 2)
    assert len(waiting.add(rows("slow", 0, 0, 0))) == 1
    assert [row.priority for row, *_ in waiting.take(0.0)] == [0, 0]


def test_bulk_mail_moves_while_urgent_mail_keeps_coming(waiting):
    waiting.add(rows("fast", 2, 1, 0))
    begun: Counter[int] = Counter()
    for _ in range(16):
        [(row, *_)] = waiting.take(0.0)
        begun[row.priority] += 1
        waiting.landed(row)
        waiting.add(rows("fast", row.priority))
    assert (begun[0], begun[1], begun[2]) == (10, 4, 2)


def test_reserved_connections_are_for_urgent_rows_alone(waiting, ways):
    ways["slow"].reserved = 1
    waiting.add(rows("slow", 1, 2, 1))
    [(first, *_)] = waiting.take(0.0)
    waiting.add(rows("slow", 0))
    assert [row.priority for row, *_ in waiting.take(0.0)] == [0]
    waiting.landed(first)
    assert len(waiting.take(0.0)) == 1


def test_where_urgent_emails_come_half_of_the_connections_carry_one_at_a_time(ways):
    ways["slow"] = Way(capacity=4, depth=2)
    waiting = Waiting(ways)
    waiting.add(rows("slow", *[2] * 12, 0))
    assert len(waiting.take(1.0)) == 7, "six beside the urgent one"
    waiting.add(rows("slow", *[2] * 12))
    [*_, last] = rows("slow", 0)
    waiting.landed(last.row)
    assert waiting.take(LATELY) == []
    assert len(waiting.take(LATELY + 1.0)) == 2


def test_a_probe_may_use_a_reserved_connection(waiting, ways):
    ways["slow"] = Way(capacity=1, reserved=1)
    waiting._transports = ways
    waiting.add(rows("slow", 1))
    assert len(waiting.take(0.0)) == 1


def test_what_waits_for_a_transport_that_paused_is_withdrawn_and_nothing_else(waiting, ways):
    waiting.add([*rows("slow", 1), *rows("fast", 1)])
    ways["slow"].capacity = 0
    assert [row.way for row in waiting.withdraw(0.0)] == ["slow"]
    assert len(waiting.withdraw(0.0, everything=True)) == 1


def test_a_reluctant_row_is_no_probe_while_there_is_another(ways):
    waiting = Waiting(ways, lambda row: int(row.id == 0))
    waiting.add(rows("fast", 0, 2))
    assert [row.id for row, *_ in waiting.take(0.0)] == [1]


@pytest.fixture
def paced(waiting):
    waiting.add(rows("slow", 1, 1, 1))
    waiting.give("slow", [1.0, 1.1, 1.2])
    return waiting


def test_where_there_is_a_pace_each_begins_at_a_slot_and_the_most_urgent_takes_the_next(paced):
    assert paced.take(0.9) == []
    assert paced.wait(0.9) == pytest.approx(0.1)
    paced.add(rows("slow", 0))
    paced.give("slow", [1.3])
    assert [row.priority for row, *_ in paced.take(1.0)] == [0]
    assert len(paced.take(1.1)) == 1
    assert paced.take(1.2) == [], "all connections are busy"


def test_a_slot_that_was_not_used_in_time_is_lost_and_its_row_goes_back(paced):
    assert paced.withdraw(1.0 + LATE) == []
    assert [row.id for row in paced.withdraw(1.05 + LATE)] == [2], "the last one: slots are left for the others"
    assert len(paced.take(1.1 + LATE)) == 2


def test_a_row_with_a_slot_of_its_own_waits_for_it_alone(waiting):
    later, now = rows("slow", 0, 1)
    waiting.add([later._replace(slot=5.0), now])
    assert [row.id for row, *_ in waiting.take(1.0)] == [1]
    assert waiting.wait(1.0) == 4.0
    assert [row.id for row, *_ in waiting.take(5.0)] == [0]
    assert waiting.wait(5.0) is None


def test_a_row_that_missed_its_own_slot_goes_back(waiting, ways):
    ways["slow"].capacity = 1
    first, second = rows("slow", 1, 1)
    waiting.add([first, second._replace(slot=1.0)])
    assert len(waiting.take(0.9)) == 1
    assert waiting.withdraw(1.0) == []
    assert [row.id for row in waiting.withdraw(1.1 + LATE)] == [1]
    assert waiting.waiting("slow") == 0


def test_a_row_whose_slot_has_come_is_the_next_of_its_lane(waiting, ways):
    ways["slow"].capacity = 1
    first, second, timed = rows("slow", 1, 1, 1)
    waiting.add([first, second, timed._replace(slot=1.0)])
    assert [row.id for row, *_ in waiting.take(0.9)] == [0]
    waiting.landed(first.row)
    assert [row.id for row, *_ in waiting.take(1.0)] == [2]


def test_nobody_is_woken_for_a_time_that_has_come_while_all_connections_are_busy(waiting, ways):
    ways["slow"].capacity = 1
    waiting.add([rows("slow", 1)[0], rows("slow", 1)[0]._replace(slot=1.0)])
    assert len(waiting.take(0.5)) == 1
    assert waiting.take(1.0) == []
    assert waiting.wait(1.0) > LATE, "until the slot is lost"
    assert len(waiting.withdraw(1.0 + waiting.wait(1.0))) == 1


def test_nobody_is_woken_for_a_slot_of_the_transport_that_no_row_can_use_yet(waiting):
    waiting.add([rows("slow", 1)[0]._replace(slot=1.1)])
    waiting.give("slow", [1.0])
    assert waiting.take(1.0) == []
    assert waiting.wait(1.0) == pytest.approx(0.1)
    assert len(waiting.take(1.1)) == 1


def test_no_row_goes_back_for_a_slot_that_was_there_to_spare(waiting):
    gone, stays = rows("slow", 1, 1)
    waiting.add([gone._replace(slot=1.0)])
    waiting.give("slow", [1.15])
    assert [row.id for row in waiting.withdraw(1.21)] == [0]
    waiting.add([stays])
    waiting.give("slow", [1.4])
    assert waiting.withdraw(1.36) == []
    assert [row.id for row, *_ in waiting.take(1.4)] == [1]
