"""Where a claim begins to look, so that it need not walk over what was taken before.

PostgreSQL keeps the index entries of rows that were claimed until no transaction can see them any more, and one session
that stays open is enough to keep all of them. So a look begins where the last one ended. What appears before that (late
commits, rows given back, transports that have room again) is found by a look at everything, and those are made so often
that they take a tenth of the time at most: every few milliseconds where nothing is in their way.
See docs/decisions/0018-low-water-marks.md. Pure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from outbox.db.lanes import LANES

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
    """Where the look at each lane begins: behind a place, and not earlier than so many seconds ago if not None."""

    places: tuple[Place, ...]
    ages: tuple[float | None, ...]


EVERYTHING = Bounds((_BOTTOM,) * len(LANES), (None,) * len(LANES))


class Marks:
    """Of one poller. They hold for claims that leave out the same transports. `clock` is monotonic; the database's may
    go slower by no more than LATE from one look at everything to the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._without: frozenset[str] = frozenset()
        self._next_full = clock()
        self._began = 0.0
        self._whole = True
        self._reset()

    def _reset(self) -> None:
        self._places = [_BOTTOM for _ in LANES]
        self._emptied: list[float | None] = [None for _ in LANES]

    def look(self, without: Sequence[str], *, thorough: bool) -> Bounds:
        """Where the look that begins now begins; `found` must follow. `thorough`: at everything, whatever it takes."""
        if self._without != frozenset(without):
            self._without = frozenset(without)
            self._reset()
        self._began = self._clock()
        self._whole = thorough or self._began >= self._next_full
        if self._whole:
            return EVERYTHING
        ages = (None if since is None else self._began - since + LATE for since in self._emptied)
        return Bounds(tuple(self._places), tuple(ages))

    def found(self, shares: Sequence[int], places: Sequence[Sequence[Place]]) -> None:
        """The look has ended: the places of the rows it took of each lane, of `shares` that it wanted."""
        if self._whole:
            took = self._clock() - self._began
            self._next_full = self._clock() + SHARE * took
        for lane, (share, taken) in enumerate(zip(shares, places, strict=True)):
            if not share:
                continue
            if len(taken) < share:
                self._emptied[lane] = self._began
            elif self._whole:
                self._places[lane], self._emptied[lane] = max(taken), None
            else:
                self._places[lane] = max(self._places[lane], *taken)
