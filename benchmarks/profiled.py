"""`outbox …`, looked at again and again: `python -m benchmarks.profiled FILE run --drain` writes where it was found.

The clock of the looks is the processor's time of the whole process, and what is looked at is the main thread, so a look
that finds it waiting tells of another thread. Children are not looked at.
"""

import json
import signal
import sys
from collections import Counter
from types import FrameType

from outbox.cli import main

INTERVAL = 0.001
"""Seconds; the system may have a coarser clock."""


class Looks:
    """Where the main thread was found, and on behalf of which of our own modules."""

    def __init__(self) -> None:
        self.places: Counter[tuple[str, str]] = Counter()
        self.owners: Counter[str] = Counter()

    def look(self, _number: int, frame: FrameType | None) -> None:
        """Count it; a signal handler."""
        if frame is not None:
            self.places[frame.f_code.co_filename, frame.f_code.co_qualname] += 1
        while frame is not None and "/outbox/" not in frame.f_code.co_filename:
            frame = frame.f_back
        self.owners[frame.f_code.co_filename if frame else ""] += 1

    def write(self, path: str) -> None:
        """As JSON."""
        places = [[file, name, count] for (file, name), count in self.places.items()]
        with open(path, "w") as file:  # noqa: PTH123  # nothing more is imported into the program that is looked at
            json.dump({"places": places, "owners": self.owners}, file)


if __name__ == "__main__":
    target, looks = sys.argv.pop(1), Looks()
    signal.signal(signal.SIGPROF, looks.look)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        looks.write(target)
