"""Writing results, by group commit: whatever is finished is written together, at once when idle.

A failed write is tried again for as long as it takes; the send that it records never is.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice

from outbox.core.claim import Result
from outbox.core.errors import DatabaseError
from outbox.db.store import Store

log = logging.getLogger("outbox.recorder")

LARGEST = 500
"""Results in one transaction, at most."""

SHORTEST, LONGEST = 0.1, 1.0
"""Seconds between tries to write while the database fails: the pause doubles. What is not written may be doubled by a
kill, so it is never long."""


class Recorder:
    """Takes results from deliveries and writes them in the background, in the order they came.

    `on_written` is told which results need nothing more: those written, and those whose lease was lost.
    """

    def __init__(
        self, store: Store, poller: str, on_written: Callable[[Collection[Result], Collection[Result]], None]
    ) -> None:
        self._store = store
        self._poller = poller
        self._on_written = on_written
        self._waiting: deque[Result] = deque()
        self._tried: set[tuple[int, str]] = set()  # of those: which may be written already
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        """Results not written yet."""
        return len(self._waiting)

    def put(self, *results: Result) -> None:
        """Write these soon."""
        self._waiting.extend(results)
        if self._waiting:
            self._none.clear()
            self._some.set()

    async def written(self) -> None:
        """Until nothing waits."""
        await self._none.wait()

    async def run(self) -> None:
        """Write until cancelled. After a failure smaller groups are tried, so that one result that the database will
        not take cannot hold up the others."""
        largest, pause = LARGEST, SHORTEST
        while True:
            await self._some.wait()
            group = self._next(largest)
            try:
                written = await self._store.record(group, poller=self._poller)
            except DatabaseError as error:
                log.warning("%d results are kept and written again in %.1f s: %s", len(self), pause, error)
                if len(group) == 1:
                    self._waiting.rotate(-1)
                self._tried.update(map(_claim_of, group))
                largest = max(1, len(group) // 2)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST)
                continue
            largest, pause = LARGEST, SHORTEST
            self._finish(group, written)

    def _next(self, largest: int) -> list[Result]:
        """The first results that wait, up to the second one of the same row: a row that was lost, given back by its
        next owner and claimed again can have two, and what the store wrote is told by rows."""
        group: dict[int, Result] = {}
        for result in islice(self._waiting, largest):
            if result.id in group:
                break
            group[result.id] = result
        return list(group.values())

    def _finish(self, group: list[Result], written: set[int]) -> None:
        for _ in group:
            self._waiting.popleft()
        if not self._waiting:
            self._some.clear()
            self._none.set()
        # A write whose answer was lost may have been done: then the row has no owner any more, and all is well.
        done = [r for r in group if r.id in written or _claim_of(r) in self._tried]
        self._tried.difference_update(map(_claim_of, group))
        self._on_written(done, [r for r in group if r not in done])


def _claim_of(result: Result) -> tuple[int, str]:
    return result.id, result.claim_token
