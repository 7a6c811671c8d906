"""How much is measured: sizes that last long enough to mean something, and small ones that only show that it works."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of emails, repetitions and seconds."""

    repeat: int = 3
    throughput: int = 20_000  # T1, T2: emails of each run
    far: int = 2_000  # T3
    samples: int = 80  # T4: emails of each run, one at a time
    pause: float = 0.1  # T4: seconds between them, more or less
    idle: float = 8.0  # T4: seconds of each run without any
    finished: int = 1_000_000  # T5: rows beside those that are due
    future: int = 100_000  # T5
    due: int = 1_000  # T5
    snapshot: int = 200_000  # T6: emails drained beside an old snapshot
    files: int = 100  # T7: emails with an attachment each
    file_size: int = 25 << 20  # T7
    inserts: int = 2_000  # T8: emails of each run
    slow: int = 1_500  # T9: emails for each poller
    pollers: int = 4  # T9
    starts: int = 10  # T10
    paced: int = 2_000  # T11
    bulk: int = 1_000_000  # T12
    purged: int = 100_000  # T13
    beside: int = 10_000  # T13: emails sent meanwhile


FULL = replace(Plan(), finished=10_000_000, future=1_000_000, purged=1_000_000)
"""The targets to the letter; making the rows of T5 and T13 takes most of the time."""

QUICK = Plan(
    repeat=1,
    throughput=40,
    far=80,
    samples=4,
    pause=0.02,
    idle=0.3,
    finished=200,
    future=50,
    due=20,
    snapshot=50,
    files=2,
    file_size=1 << 20,
    inserts=20,
    slow=20,
    pollers=2,
    starts=1,
    paced=30,
    bulk=300,
    purged=500,
    beside=50,
)
"""Everything once, in seconds: it shows that the benchmarks work, not how fast anything is."""
