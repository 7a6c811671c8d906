"""Whether commands may leave in groups (RFC 2920): where the server offers it, and has not failed at it lately."""

from collections.abc import Callable

from outbox.smtp.connection import Features

DISTRUST = 3600.0
"""Seconds for which a server is given one command at a time after it failed at a group. It may have been a coincidence,
or another server behind the same name."""

ALONE = "offers PIPELINING and does not cope with it; commands go one by one for an hour"


class Grouping:
    """What is known of one transport. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.depth = 1
        """Messages that can be under way on one connection, going by the last one that was used."""
        self._clock = clock
        self._until = 0.0

    def allows(self, features: Features) -> bool:
        """Whether commands may be grouped on a connection with these features."""
        allowed = features.pipelining and self._clock() >= self._until
        self.depth = 2 if allowed else 1
        return allowed

    def failed(self) -> bool:
        """The server did not cope with a group. Whether that is news."""
        news = self._clock() >= self._until
        self._until = self._clock() + DISTRUST
        self.depth = 1
        return news
