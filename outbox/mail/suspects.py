"""What has run over its bounds lately, and is expected to do so again."""

from collections.abc import Callable

PATIENCE = 1.0
"""Seconds that what a row waits for may have taken already."""

STEP = 0.05
"""Seconds between the rows that are postponed for the same reason: if they are good ones, they are sent soon, and if
each of them takes long, the few that come back at a time disturb nobody."""

SUSPICION = 60.0
"""Seconds for which what has run over is treated as if it did so again."""

LONGEST_DELAY = 3600.0


class Suspects:
    """Users of the children that have run over; see `children`."""

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        self._timeout = timeout
        self._clock = clock
        self._until: dict[str, float] = {}
        self._failing: set[str] = set()
        self._queues: dict[str, float] = {}

    def __contains__(self, user: str) -> bool:
        return bool(self._until) and self._until.get(user, 0.0) > self._clock()

    def failing(self, user: str) -> bool:
        """Whether it ran over and has not succeeded since."""
        return user in self._failing

    def limit(self, user: str) -> float:
        """The seconds of processor time it is given."""
        return self._timeout / 10 if user in self else self._timeout

    def ran_over(self, user: str) -> None:
        """It did so now."""
        now = self._clock()
        self._until = {name: until for name, until in self._until.items() if until > now}
        self._until[user] = now + SUSPICION
        self._failing = {user, *self._failing & self._until.keys()}

    def succeeded(self, user: str) -> None:
        """It did not run over."""
        self._failing.discard(user)

    def delay(self, user: str) -> float:
        """After which a row of it should come back: one after the other, when it is about their turn."""
        now = self._clock()
        for name in [name for name, at in self._queues.items() if at < now]:
            del self._queues[name]
        at = max(self._queues.get(user, 0.0), now + PATIENCE) + STEP
        self._queues[user] = at = min(at, now + LONGEST_DELAY)
        return at - now
