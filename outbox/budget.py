"""How much large content is in memory at a time. Small emails are not counted and never wait."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

MOST = 160 << 20
"""Bytes of large content in memory: one email of 25 MB being loaded and composed, and one or two on their way."""

SMALL = 1 << 20
"""Bytes of content that are not worth counting."""

COMPOSING = 4
"""Bytes in memory for each byte of content that is being composed: as it was loaded, encoded on arrival, as message."""


class Budget:
    """Bytes that are shared by all who ask, in the order they asked; who needs more than there is goes alone."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def room(self) -> "Room":
        """To be entered, and left, with `with`."""
        return Room(self)

    async def take(self, size: int) -> None:
        """Wait until `size` bytes are free."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove((size, turn))
                self.give(0)
            else:
                self.give(size)
            raise

    def give(self, size: int) -> None:
        """`size` bytes are free again."""
        self._used -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            wanted, turn = self._waiting.popleft()
            if turn.cancelled():
                self._waiting.appendleft((wanted, turn))  # it takes itself out, and calls again
                return
            self._used += wanted
            turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._most


class Room:
    """What one email takes of the budget, until it is left."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0

    async def compose(self, size: int) -> None:
        """Wait until content of `size` bytes may be loaded and composed."""
        if size > SMALL:
            await self._budget.take(size * COMPOSING)
            self._taken = size * COMPOSING

    def composed(self, size: int) -> None:
        """Nothing is left in memory but a message of `size` bytes."""
        if self._taken > size:
            self._budget.give(self._taken - size)
            self._taken = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._taken:
            self._budget.give(self._taken)
