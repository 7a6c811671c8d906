"""Claimed emails that wait: for a free connection of their transport, and for their final dot.

Every transport has its own share: one that is slow or paused must not take the places of the others.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from outbox.core.claim import Claimed, Result

PREFETCH = 4
"""Rows held per connection: the one being sent, and enough behind it to claim in batches."""


class WayOut(Protocol):
    """What is needed of a transport."""

    @property
    def capacity(self) -> int:
        """How many emails it can send at a time, now."""
        ...


Waits = tuple[Claimed, float]
"""A row, and when it was claimed."""


class Waiting:
    """`name_of` tells the transport of a row, `reluctance` how much later than others it should be tried."""

    def __init__(
        self,
        transports: Mapping[str, WayOut],
        name_of: Callable[[Claimed], str],
        reluctance: Callable[[Claimed], int] = lambda _: 0,
    ) -> None:
        self._transports = transports
        self._name_of = name_of
        self._reluctance = reluctance
        self._queues: dict[str, deque[Waits]] = {name: deque() for name in transports}
        self._flying: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """Rows that may be claimed now; 0 until it is worth a statement."""
        rooms = {name: self._room(name) for name in self._transports}
        worth = any(room > 0 and room * 2 >= self._target(name) for name, room in rooms.items())
        return sum(rooms.values()) if worth else 0

    @property
    def full(self) -> list[str]:
        """The transports for which nothing should be claimed now."""
        return [name for name in self._transports if self._room(name) == 0]

    def add(self, rows: Iterable[Waits]) -> list[Claimed]:
        """Have claimed rows wait. Those that a claim brought beyond the room of their transport come back."""
        surplus = []
        for row, since in rows:
            name = self._name_of(row)
            if self._room(name):
                self._queues[name].append((row, since))
            else:
                surplus.append(row)
        return surplus

    def take(self) -> list[Waits]:
        """Those for which there is a connection now: the reluctant ones last, urgent ones first. Each counts as flying
        until `landed`."""
        started = []
        for name, queue in self._queues.items():
            free = max(self._transports[name].capacity - self._flying[name], 0)
            if free < len(queue):
                self._queues[name] = deque(sorted(queue, key=self._order))
            for _ in range(min(free, len(queue))):
                started.append(self._queues[name].popleft())
                self._flying[name] += 1
        return started

    def _order(self, waits: Waits) -> tuple[int, int]:
        return self._reluctance(waits[0]), waits[0].priority

    def landed(self, row: Claimed) -> None:
        """Its connection is free again."""
        self._flying[self._name_of(row)] -= 1

    def withdraw(self, *, everything: bool = False) -> list[Claimed]:
        """Those whose transport cannot send now, or all: whoever can may have them."""
        withdrawn = []
        for name, queue in self._queues.items():
            if everything or self._transports[name].capacity == 0:
                withdrawn += [row for row, _ in queue]
                queue.clear()
        return withdrawn

    def _target(self, name: str) -> int:
        return self._transports[name].capacity * PREFETCH

    def _room(self, name: str) -> int:
        return max(self._target(name) - len(self._queues[name]) - self._flying[name], 0)


class Window:
    """The emails that may have been accepted and whose result is not on record yet, at most `most`.

    Were this poller killed now, just these could get a second copy; so where results cannot be written, no more dots
    leave.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[tuple[int, str]] = set()
        self._closed = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._inside)

    async def enter(self, row: Claimed) -> bool:
        """Wait for a place, which `row` keeps until its result is on record. False where there will be none."""
        key = row.id, row.claim_token
        while key not in self._inside and not self._closed:
            if len(self._inside) < self._most:
                self._inside.add(key)
            else:
                self._changed.clear()
                await self._changed.wait()
        return key in self._inside

    def leave(self, results: Iterable[Result]) -> None:
        """These are on record, or nothing more can be done about them."""
        self._inside.difference_update((result.id, result.claim_token) for result in results)
        self._changed.set()

    def close(self) -> None:
        """Nobody else gets in."""
        self._closed = True
        self._changed.set()
