"""The emails that wait for one transport: who begins next, and when. Pure; the time comes in.

Urgent ones go first, and yet the others move on, as in a claim: of eight that begin, two are normal and one is bulk
mail, where such mail waits. Reluctant ones, at which the transport failed before, come after all others.

A transport with a pace has a slot for each of its emails, and whoever is next takes the next slot. An email may have a
slot of its own, too, from the pace of its recipient's domain; when that has come it is the next one of its lane. A slot
that could not be used in time is lost, since several at once would break the pace: its email goes back and is given
another.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import chain, count
from typing import NamedTuple

from outbox.core.claim import URGENT, Claimed
from outbox.db.lanes import LANES, TURNS

LATE = 0.2
"""Seconds after its time until which a slot can be used. So much of a pace may come at once."""


_LOST = LATE + 0.001
"""Seconds after its time at which a slot is lost for certain."""

_FIRST = 1 << 60
"""By so much an email whose own slot has come is before the others in the order of arrival."""


class Waits(NamedTuple):
    """A row, when it was claimed, and its own slot, if it has one."""

    row: Claimed
    since: float
    slot: float | None = None


_Entry = tuple[int, int, Waits]
"""Reluctance and the order of arrival, so that the first of a heap is the one to begin."""


class Line:
    """`reluctance` tells how much later than others a row should be tried."""

    def __init__(self, reluctance: Callable[[Claimed], int] = lambda _: 0) -> None:
        self._reluctance = reluctance
        self._lanes: list[list[_Entry]] = [[] for _ in LANES]
        self._early: list[tuple[float, int, Waits]] = []
        self._slots: deque[float] | None = None
        self._timed = False  # whether any email had a slot of its own
        self._order = count()
        self._turn = 0

    def __len__(self) -> int:
        urgent, normal, bulk = self._lanes
        return len(urgent) + len(normal) + len(bulk) + len(self._early)

    @property
    def urgent(self) -> int:
        """How many urgent ones wait."""
        return len(self._lanes[URGENT])

    def add(self, entry: Waits) -> None:
        """At the end of its lane, or when its time has come."""
        if entry.slot is not None:
            self._timed = True
            heappush(self._early, (entry.slot, next(self._order), entry))
        else:
            self._line_up(entry)

    def give(self, slots: Iterable[float]) -> None:
        """Times at which one may begin, each later than those before. From the first ones on none begins without."""
        self._slots = deque() if self._slots is None else self._slots
        self._slots.extend(slots)

    def next(self, now: float, *, urgent: bool = False) -> Waits | None:
        """Take the one whose turn it is, or the first of the `urgent` ones; None where there is none that may begin."""
        self._line_up_due(now)
        lane = self._lanes[URGENT] if urgent else self._whose_turn()
        if not lane or (self._slots is not None and not (self._slots and self._slots[0] <= now)):
            return None
        if self._slots:
            self._slots.popleft()
        return heappop(lane)[-1]

    def _whose_turn(self) -> list[_Entry]:
        lanes = [lane for lane in self._lanes if lane]
        if len(lanes) < 2:
            return lanes[0] if lanes else []
        willing = min(lane[0][0] for lane in lanes)
        lanes = [lane for lane in lanes if lane[0][0] == willing]
        turn = self._lanes[TURNS[self._turn % len(TURNS)]]
        self._turn += 1
        return turn if any(turn is lane for lane in lanes) else lanes[0]

    def wait(self, now: float) -> float | None:
        """Seconds until there is something to do: the next one may begin that may not yet, or a slot is lost; None
        where nothing waits for its time."""
        if not (self._early or self._slots or self._timed):
            return None
        self._line_up_due(now)
        times = [slot + _LOST for *_, (_, _, slot) in chain(*self._lanes) if slot is not None] if self._timed else []
        if self._early:
            times.append(self._early[0][0])
        if self._slots and any(self._lanes):
            times.append(self._slots[0] if self._slots[0] > now else self._slots[0] + _LOST)
        return max(0.0, min(times) - now) if times else None

    def late(self, now: float) -> list[Claimed]:
        """Take those whose slot was not used in time."""
        if not (self._timed or self._slots):
            return []
        self._line_up_due(now)
        found: list[Claimed] = []
        for lane in self._lanes if self._timed else ():
            missed = [entry for entry in lane if entry[-1].slot is not None and entry[-1].slot < now - LATE]
            if missed:
                lane[:] = sorted(entry for entry in lane if entry not in missed)
                found += [entry[-1].row for entry in missed]
        lost = self._lose_slots(now)
        # Where there are slots to spare, of emails that went back, nobody has to go.
        gone = [self._last() for _ in range(min(lost, len(self) - len(self._slots or ())))]
        return found + [row for row in gone if row is not None]

    def clear(self) -> list[Claimed]:
        """Take all."""
        rows = [waits.row for lane in self._lanes for *_, waits in lane]
        rows += [waits.row for *_, waits in self._early]
        for lane in self._lanes:
            lane.clear()
        self._early.clear()
        self._slots = None if self._slots is None else deque()
        return rows

    def _line_up_due(self, now: float) -> None:
        while self._early and self._early[0][0] <= now:
            self._line_up(heappop(self._early)[-1])

    def _line_up(self, entry: Waits) -> None:
        order = next(self._order) - (0 if entry.slot is None else _FIRST)
        heappush(self._lanes[entry.row.priority], (self._reluctance(entry.row), order, entry))

    def _lose_slots(self, now: float) -> int:
        lost = 0
        while self._slots and self._slots[0] < now - LATE:
            self._slots.popleft()
            lost += 1
        return lost

    def _last(self) -> Claimed | None:
        """Take the one that would be the last to begin."""
        if self._early:
            return self._early.pop()[-1].row
        for lane in reversed(self._lanes):
            if lane:
                last = max(lane)
                lane.remove(last)
                lane.sort()
                return last[-1].row
        return None
