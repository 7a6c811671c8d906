"""Claimed emails that wait for a free connection of their transport.

Every transport has its own share: one that is slow or paused must not take the places of the others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from outbox.core.claim import URGENT, Claimed
from outbox.line import Line, Waits

LATELY = 60.0
"""Seconds after an urgent email for which some connections are kept from being used for two others at once."""

PREFETCH = 4
"""Rows held per email under way: that one, and enough behind it to claim in batches."""


class WayOut(Protocol):
    """What is needed of a transport."""

    @property
    def capacity(self) -> int:
        """How many connections it can use, now."""
        ...

    @property
    def reserved(self) -> int:
        """How many of them are for urgent emails alone."""
        ...

    @property
    def depth(self) -> int:
        """How many emails can be under way on each."""
        ...


class Waiting:
    """`reluctance` tells how much later than others a row should be tried. Each goes the `way` found for it."""

    def __init__(self, transports: Mapping[str, WayOut], reluctance: Callable[[Claimed], int] = lambda _: 0) -> None:
        self._transports = transports
        self._lines = {name: Line(reluctance) for name in transports}
        self._flying: Counter[str] = Counter()
        self._ordinary: Counter[str] = Counter()  # of those flying: not urgent
        self._last_urgent: dict[str, float] = {}  # when it was claimed

    def room(self, name: str) -> int:
        """Rows of transport `name` that may be claimed now; 0 until it is worth a statement."""
        room = self.space(name)
        return room if room * 2 >= self._most_flying(name) * PREFETCH else 0

    def urgent_room(self, name: str) -> int:
        """Urgent rows that may be claimed however many others wait: as many as can be under way."""
        return max(self._most_flying(name) - self._lines[name].urgent, 0)

    def space(self, name: str) -> int:
        """Places that are left."""
        return max(self._most_flying(name) * PREFETCH - len(self._lines[name]) - self._flying[name], 0)

    def add(self, rows: Iterable[Waits]) -> list[Claimed]:
        """Have claimed rows wait. Those beyond the room of their transport come back."""
        surplus = []
        for entry in rows:
            row = entry.row
            if self.has_place(row):
                self._lines[row.way].add(entry)
                if row.priority == URGENT:
                    self._last_urgent[row.way] = entry.since
            else:
                surplus.append(row)
        return surplus

    def has_place(self, row: Claimed, *, besides: int = 0) -> bool:
        """Whether there is one for it, besides so many others of its transport."""
        return self.space(row.way) > besides or (row.priority == URGENT and self.urgent_room(row.way) > besides)

    def is_busy(self, name: str) -> bool:
        """Whether as many are under way over transport `name` as can be."""
        return self._flying[name] >= self._most_flying(name)

    def waiting(self, name: str) -> int:
        """How many wait for transport `name`."""
        return len(self._lines[name])

    def give(self, name: str, slots: Sequence[float]) -> None:
        """Times at which an email of transport `name`, which has a pace, may begin: one for each that is added."""
        self._lines[name].give(slots)

    def take(self, now: float) -> list[Waits]:
        """Those that can begin now. Each counts as flying until `landed`."""
        started = []
        for name, line in self._lines.items():
            while line and (begun := self._next(name, line, now)):
                row = begun.row
                self._flying[name] += 1
                self._ordinary[name] += row.priority != URGENT
                started.append(begun)
        return started

    def landed(self, row: Claimed) -> None:
        """It is under way no more."""
        self._flying[row.way] -= 1
        self._ordinary[row.way] -= row.priority != URGENT

    def wait(self, now: float) -> float | None:
        """Seconds until the next one may begin that has to wait for its time; None where there is none."""
        return min((wait for line in self._lines.values() if (wait := line.wait(now)) is not None), default=None)

    def withdraw(self, now: float, *, everything: bool = False) -> list[Claimed]:
        """Those whose transport cannot send now, or all: whoever can may have them. And those that are too late."""
        withdrawn: list[Claimed] = []
        for name, line in self._lines.items():
            if line and (everything or self._transports[name].capacity == 0):
                withdrawn += line.clear()
            elif line:
                withdrawn += line.late(now)
        return withdrawn

    def _next(self, name: str, line: Line, now: float) -> Waits | None:
        if self.is_busy(name):
            return None
        if name not in self._last_urgent and not self._transports[name].reserved:  # the everyday case
            return line.next(now)
        return line.next(now, urgent=self._ordinary[name] >= self._most_ordinary(name, now))

    def _most_ordinary(self, name: str, now: float) -> int:
        """How many may be under way that are not urgent: those of connections that are not reserved. Where urgent
        emails have been coming, half of these connections carry one at a time, so that one is soon free."""
        transport = self._transports[name]
        # With no more connections than are reserved (a probe, say) everybody may use them.
        connections = max(transport.capacity - transport.reserved, 0) or transport.capacity
        last = self._last_urgent.get(name)
        doubled = connections if last is None or now - last > LATELY else connections // 2
        return connections + doubled * (transport.depth - 1)

    def _most_flying(self, name: str) -> int:
        transport = self._transports[name]
        return transport.capacity * transport.depth
