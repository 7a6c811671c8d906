"""Where a claim begins to look, so that it need not walk over what was taken before.

PostgreSQL keeps the index entries of rows that were claimed until no transaction can see them any more, and one session
that stays open is enough to keep all of them. So a look begins where the last one ended. What appears before that (late
commits, rows given back) is found by a look at everything, and those are made so often
that they take a tenth of the time at most: every few milliseconds where nothing is in their way.
See docs/decisions/0018-low-water-marks.md. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LOWEST = datetime(1, 1, 1, tzinfo=UTC)
"""No row is due so early."""

LATE = 1.0
"""Seconds between the INSERT and the commit of an ordinary transaction; what it inserts is due when it began."""

SHARE = 10
"""A look at everything is followed by this many times as long without one."""

Place = tuple[datetime, int]
"""In the queue: `due_at` and id."""

_BOTTOM: Place = (LOWEST, 0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the look at each cell begins: behind a place, and not earlier than so many seconds ago if not None."""

    places: tuple[Place, ...]
    ages: tuple[float | None, ...]


def everything(cells: int) -> Bounds:
    """The bounds of a look that begins at the bottom."""
    return Bounds((_BOTTOM,) * cells, (None,) * cells)


class Marks:
    """Of one poller, for claims from the same gates, which have so many `cells`. `clock` is monotonic; the database's
    may go slower by no more than LATE from one look at everything to the next."""

    def __init__(self, clock: Callable[[], float], cells: int) -> None:
        self._clock = clock
        self._everything = everything(cells)
        self._next_full = clock()
        self._began = 0.0
        self._whole = True
        self._places = list(self._everything.places)
        self._emptied = list(self._everything.ages)

    def look(self, *, thorough: bool) -> Bounds:
        """Where the look that begins now begins; `found` must follow. `thorough`: at everything, whatever it takes."""
        self._began = self._clock()
        self._whole = thorough or self._began >= self._next_full
        if self._whole:
            return self._everything
        ages = (None if since is None else self._began - since + LATE for since in self._emptied)
        return Bounds(tuple(self._places), tuple(ages))

    def found(self, shares: Sequence[int], places: Sequence[Sequence[Place]]) -> None:
        """The look has ended: the places of the rows it took of each cell, of `shares` that it wanted."""
        if self._whole:
            took = self._clock() - self._began
            self._next_full = self._clock() + SHARE * took
        for cell, (share, taken) in enumerate(zip(shares, places, strict=True)):
            if not share:
                continue
            if len(taken) < share:
                self._emptied[cell] = self._began
            elif self._whole:
                self._places[cell], self._emptied[cell] = max(taken), None
            else:
                self._places[cell] = max(self._places[cell], *taken)
