"""What was done during a run: which emails exist, and what was broken when. The judge reads it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Wish:
    """An email as the application meant it."""

    tag: str
    recipients: tuple[str, ...]
    hold: bool
    committed: bool | None = None  # None: the connection broke in the commit, so the database knows


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something was broken; monotonic seconds."""

    what: str
    begin: float
    end: float


@dataclass(slots=True)
class Kill:
    """A daemon killed by SIGKILL."""

    label: str
    name: str
    point: str
    t: float
    freed: float | None = None  # seconds until nothing of its rows was leased any more
    recovery: float | None = None  # seconds until nothing was claimed in its name
    rows: int = 0  # that it held when it died
    clean: bool = True  # nothing else was broken until then


@dataclass(slots=True)
class Diary:
    """Of one database."""

    wishes: dict[str, Wish] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    stops: dict[str, list[Span]] = field(default_factory=dict)
    """SIGSTOP to SIGCONT, by daemon."""
    outages: list[Span] = field(default_factory=list)
    """The database was away, cut off or locked."""
    faults: Counter[str] = field(default_factory=Counter)
    returns: list[float] = field(default_factory=list)
    """Seconds from the database's return to the next result on record."""
    slow_writes: list[Span] = field(default_factory=list)
    """Transactions of the application that took longer than a second while the database was well."""
    slowest_write: float = 0.0
    """Seconds of the slowest one."""
    errors: list[str] = field(default_factory=list)
    """Promises seen broken on the way."""

    def broken_between(self, begin: float, end: float) -> bool:
        """Whether the database or a daemon was held up in this time."""
        spans = [*self.outages, *(span for spans in self.stops.values() for span in spans)]
        return any(span.begin < end and begin < span.end for span in spans)
