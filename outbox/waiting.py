"""Claimed emails that wait: for a free connection of their transport, and for their final dot.

Every transport has its own share: one that is slow or paused must not take the places of the others.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from outbox.core.claim import Claimed, Result

PREFETCH = 4
"""Rows held per email under way: that one, and enough behind it to claim in batches."""


class WayOut(Protocol):
    """What is needed of a transport."""

    @property
    def capacity(self) -> int:
        """How many connections it can use, now."""
        ...

    @property
    def depth(self) -> int:
        """How many emails can be under way on each."""
        ...


Waits = tuple[Claimed, float]
"""A row, and when it was claimed."""

_Entry = tuple[int, int, int, Waits]
"""Reluctance, priority and the order of arrival, so that the first of a heap is the one to start."""


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
        self._queues: dict[str, list[_Entry]] = {name: [] for name in transports}
        self._order = count()
        self._flying: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """Rows that may be claimed now; 0 until it is worth a statement."""
        rooms, worth = 0, False
        for name in self._transports:
            room = self._room(name)
            rooms += room
            worth = worth or (room > 0 and room * 2 >= self._most_flying(name) * PREFETCH)
        return rooms if worth else 0

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
                entry = self._reluctance(row), row.priority, next(self._order), (row, since)
                heappush(self._queues[name], entry)
            else:
                surplus.append(row)
        return surplus

    def take(self) -> list[Waits]:
        """Those that can begin now: the reluctant ones last, urgent ones first. Each counts as flying until
        `landed`."""
        started = []
        for name, queue in self._queues.items():
            if queue:
                free = max(self._most_flying(name) - self._flying[name], 0)
                for _ in range(min(free, len(queue))):
                    started.append(heappop(queue)[-1])
                    self._flying[name] += 1
        return started

    def landed(self, row: Claimed) -> None:
        """It is under way no more."""
        self._flying[self._name_of(row)] -= 1

    def withdraw(self, *, everything: bool = False) -> list[Claimed]:
        """Those whose transport cannot send now, or all: whoever can may have them."""
        withdrawn = []
        for name, queue in self._queues.items():
            if queue and (everything or self._transports[name].capacity == 0):
                withdrawn += [row for *_, (row, _) in queue]
                queue.clear()
        return withdrawn

    def _most_flying(self, name: str) -> int:
        transport = self._transports[name]
        return transport.capacity * transport.depth

    def _room(self, name: str) -> int:
        return max(self._most_flying(name) * PREFETCH - len(self._queues[name]) - self._flying[name], 0)


class Window:
    """The emails that may have been accepted and whose result is not on record yet, at most `most`.

    Were this poller killed now, just these could get a second copy; so where results cannot be written, no more dots
    leave.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[tuple[int, str]] = set()
        self._waiting: deque[tuple[tuple[int, str], asyncio.Future[bool]]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._inside)

    async def enter(self, row: Claimed) -> bool:
        """Wait for a place, which `row` keeps until its result is on record. False where there will be none."""
        key = row.id, row.claim_token
        if key in self._inside:
            return True
        if len(self._inside) < self._most and not (self._waiting or self._closed):
            self._inside.add(key)
            return True
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, admitted))
        self._admit()
        try:
            return await admitted
        except asyncio.CancelledError:
            if admitted.done():
                self._inside.discard(key)
                self._admit()
            raise

    def leave(self, results: Iterable[Result]) -> None:
        """These are on record, or nothing more can be done about them."""
        self._inside.difference_update((result.id, result.claim_token) for result in results)
        self._admit()

    def close(self) -> None:
        """Nobody else gets in."""
        self._closed = True
        self._admit()

    def _admit(self) -> None:
        """Those who wait, in their order, as far as there are places."""
        while self._waiting and (self._closed or len(self._inside) < self._most):
            key, admitted = self._waiting.popleft()
            if admitted.done():
                continue
            if not self._closed:
                self._inside.add(key)
            admitted.set_result(not self._closed)
