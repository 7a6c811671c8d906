"""The emails that wait for one transport: who begins next. Pure.

Urgent ones go first, and yet the others move on, as in a claim: of eight that begin, two are normal and one is bulk
mail, where such mail waits. Reluctant ones, at which the transport failed before, come after all others.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from outbox.core.claim import URGENT, Claimed
from outbox.db.lanes import LANES, TURNS

Waits = tuple[Claimed, float]
"""A row, and when it was claimed."""

_Entry = tuple[int, int, Waits]
"""Reluctance and the order of arrival, so that the first of a heap is the one to begin."""


class Line:
    """`reluctance` tells how much later than others a row should be tried."""

    def __init__(self, reluctance: Callable[[Claimed], int] = lambda _: 0) -> None:
        self._reluctance = reluctance
        self._lanes: list[list[_Entry]] = [[] for _ in LANES]
        self._order = count()
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def urgent(self) -> int:
        """How many urgent ones wait."""
        return len(self._lanes[URGENT])

    def add(self, entry: Waits) -> None:
        """At the end of its lane."""
        row = entry[0]
        heappush(self._lanes[row.priority], (self._reluctance(row), next(self._order), entry))

    def next(self, *, urgent: bool = False) -> Waits | None:
        """Take the one whose turn it is, or the first of the `urgent` ones; None where there is none."""
        lanes = [lane for lane in self._lanes[:1] if lane] if urgent else [lane for lane in self._lanes if lane]
        if not lanes:
            return None
        willing = min(lane[0][0] for lane in lanes)
        lanes = [lane for lane in lanes if lane[0][0] == willing]
        turn = self._lanes[TURNS[self._turn % len(TURNS)]]
        self._turn += 1
        return heappop(turn if any(turn is lane for lane in lanes) else lanes[0])[-1]

    def clear(self) -> list[Claimed]:
        """Take all."""
        rows = [entry[-1][0] for lane in self._lanes for entry in lane]
        for lane in self._lanes:
            lane.clear()
        return rows
