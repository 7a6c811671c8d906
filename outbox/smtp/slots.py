"""How many connections a server puts up with: one fewer whenever it complains, one more when it has not for a while.

Additive both ways: a server with a fixed limit refuses exactly the connections that are too many, one complaint each.
"""

from collections.abc import Callable

RECOVERY = 60.0
"""Seconds without a complaint before one more connection is tried."""


class Slots:
    """The number of connections in use at a time, between 1 and `most`. `clock` is monotonic."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.count = most
        self._most = most
        self._clock = clock
        self._since = clock()
        self._successes = 0

    def fewer(self) -> bool:
        """The server complained. Whether that leaves fewer."""
        self._begin()
        if self.count == 1:
            return False
        self.count -= 1
        return True

    def succeeded(self) -> bool:
        """A transaction went well. Whether there is one slot more now: after each slot had its success, and a while."""
        if self.count == self._most:
            return False
        self._successes += 1
        if self._successes < self.count or self._clock() - self._since < RECOVERY:
            return False
        self._begin()
        self.count += 1
        return True

    def _begin(self) -> None:
        self._since, self._successes = self._clock(), 0
