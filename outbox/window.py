"""How many emails may have been accepted without being on record: as many as a kill could double."""

import asyncio
from collections import deque
from collections.abc import Iterable

from outbox.core.claim import URGENT, Claimed, Result

OTHERS_TURN = 8
"""Of so many who are let in one is not urgent, where such wait."""

_Waits = tuple[tuple[int, str], asyncio.Future[bool]]


class Window:
    """The emails that may have been accepted and whose result is not on record yet, at most `most`.

    Were this poller killed now, just these could get a second copy; so where results cannot be written, no more dots
    leave. The urgent are let in first, but not always.

    Whoever waits here has a connection, so nobody may keep a place while waiting for a connection.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[tuple[int, str]] = set()
        self._waiting: tuple[deque[_Waits], deque[_Waits]] = (deque(), deque())  # the urgent, the others
        self._turn = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._inside)

    async def enter(self, row: Claimed) -> bool:
        """Wait for a place, which `row` keeps until its result is on record. False where there will be none."""
        key = row.id, row.claim_token
        if key in self._inside:
            return True
        if len(self._inside) < self._most and not (any(self._waiting) or self._closed):
            self._inside.add(key)
            return True
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[row.priority != URGENT].append((key, admitted))
        self._admit()
        try:
            return await admitted
        except asyncio.CancelledError:
            if admitted.done():
                self._inside.discard(key)
                self._admit()
            raise

    def leave(self, those: Iterable[Claimed | Result]) -> None:
        """What came of these is on record, or nothing more can be done about them."""
        self._inside.difference_update((one.id, one.claim_token) for one in those)
        self._admit()

    def close(self) -> None:
        """Nobody else gets in."""
        self._closed = True
        self._admit()

    def _admit(self) -> None:
        """Those who wait, as far as there are places."""
        while any(self._waiting) and (self._closed or len(self._inside) < self._most):
            key, admitted = self._next()
            if admitted.done():
                continue
            if not self._closed:
                self._inside.add(key)
            admitted.set_result(not self._closed)

    def _next(self) -> _Waits:
        self._turn += 1
        urgent, others = self._waiting
        return (urgent if urgent and (self._turn % OTHERS_TURN or not others) else others).popleft()
