"""What is told of the work under way to whoever looks on: the log of attempts, the metrics. Nobody by default. Pure."""

from typing import NamedTuple

from outbox.core.claim import Claimed, Result


class Attempted(NamedTuple):
    """An attempt that has ended, or was refused by the flood guard; its result is not on record yet. Seconds are of a
    monotonic clock."""

    row: Claimed
    result: Result
    poller: str
    seconds: float
    """From its beginning to its end: composing, waiting for a connection, SMTP."""
    since_due: float
    """From the moment at which the row fell due to the end. Of a first attempt: from its commit, or from
    the `due_at` that was asked for."""


class Observer:
    """Told of what happens on the way of every email. A method returns at once and never raises. This one is nobody."""

    def claimed(self, rows: int, seconds: float) -> None:
        """A claim took so many rows, and so long."""

    def attempted(self, attempted: Attempted) -> None:
        """An attempt has ended."""

    def written(self, results: int, seconds: float) -> None:
        """So many results were written together, which took so long."""

    def expired(self, emails: int) -> None:
        """So many emails ended `expired` while they waited: no attempt was begun."""


UNOBSERVED = Observer()


class Observers(Observer):
    """Several, told one after the other."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def claimed(self, rows: int, seconds: float) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.claimed(rows, seconds)

    def attempted(self, attempted: Attempted) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.attempted(attempted)

    def written(self, results: int, seconds: float) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.written(results, seconds)

    def expired(self, emails: int) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.expired(emails)
