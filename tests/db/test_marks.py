"""Where a claim begins to look: it need not walk over what was taken, and yet no row is left behind."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.message import MessageIds
from outbox.db.marks import LATE, SHARE, Marks, everything
from tests.db.rows import claim, insert
from tests.fixtures.clock import Clock

START = datetime(2026, 1, 1, tzinfo=UTC)
COST = 0.01
"""Seconds that a look takes."""


class Queue:
    """One lane, and a poller's looks at it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.marks = Marks(self.clock, 3)
        self.rows: set[tuple[datetime, int]] = set()
        self.ids = 0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.now)

    def add(self, age: float) -> tuple[datetime, int]:
        """A row that is seen from now on, due `age` seconds ago."""
        self.ids += 1
        place = self.now - timedelta(seconds=age), self.ids
        self.rows.add(place)
        return place

    def look(self, share, *, thorough=False):
        """The rows taken, as the store would."""
        bounds = self.marks.look(thorough=thorough)
        (due, id_), age = bounds.places[0], bounds.ages[0]
        behind = max(due, self.now - timedelta(seconds=age)) if age is not None else due
        taken = sorted(place for place in self.rows if (behind, id_) < place <= (self.now, self.ids))[:share]
        self.rows.difference_update(taken)
        self.clock.now += COST
        self.marks.found([share, 0, 0], [taken, [], []])
        return taken


@pytest.fixture
def queue():
    made = Queue()
    assert made.look(1, thorough=True) == []
    return made


def test_a_look_begins_where_the_last_one_ended(queue):
    first, second, third = [queue.add(60) for _ in range(3)]
    assert queue.look(2, thorough=True) == [first, second]
    bounds = queue.marks.look(thorough=False)
    assert bounds.places[0] == second
    assert queue.look(1) == [third]


def test_what_appears_before_the_mark_is_found_by_the_next_look_at_everything(queue):
    queue.add(60)
    assert len(queue.look(1, thorough=True)) == 1
    late = queue.add(3600)
    assert queue.look(5) == []
    queue.clock.now += SHARE * COST
    assert queue.look(5) == [late]


def test_looks_at_everything_take_a_tenth_of_the_time(queue):
    whole = 0
    for _ in range(20 * SHARE):
        whole += queue.marks.look(thorough=False) == everything(3)
        queue.clock.now += COST
        queue.marks.found([1, 0, 0], [[], [], []])
    assert 15 <= whole <= 20


def test_a_thorough_look_is_at_everything(queue):
    queue.add(60)
    queue.look(1, thorough=True)
    late = queue.add(3600)
    assert queue.look(5) == []
    assert queue.look(5, thorough=True) == [late]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.floats(-30, 3600)),
            st.tuples(st.just("look"), st.integers(1, 3)),
            st.tuples(st.just("wait"), st.floats(0, 60)),
        ),
        max_size=60,
    )
)
def test_no_row_is_left_behind(actions):
    queue = Queue()
    fresh: set[tuple[datetime, int]] = set()  # in time: behind whatever was taken before
    highest = START, 0
    for action, amount in actions:
        if action == "add":
            place = queue.add(amount)
            if amount < LATE and place > highest:
                fresh.add(place)
        elif action == "wait":
            queue.clock.now += amount
        else:
            before = {place for place in queue.rows & fresh if place[0] <= queue.now}
            taken = queue.look(int(amount))
            highest = max(highest, *taken) if taken else highest
            assert len(taken) == amount or before <= set(taken)
    queue.clock.now += 60 + SHARE * COST
    while queue.look(3, thorough=False):
        queue.clock.now += SHARE * COST
    assert queue.rows == set()


async def test_a_late_row_is_found_while_newer_ones_are_claimed(store, execute):
    ids = MessageIds.new(datetime.now(UTC), "example.org")
    early = await insert(execute)
    assert [row.id for row in await claim(store)] == [early]
    await execute("UPDATE email_outbox SET status = 'pending', due_at = created_at")
    found: list[int] = []
    while early not in found:
        await insert(execute)
        rows = await store.claim(1, poller="p", lease=60, message_ids=ids, held=[0])
        found += [row.id for row in rows]
