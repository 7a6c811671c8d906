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
from outbox.core.observer import UNOBSERVED, Observer
from outbox.db.store import Store

log = logging.getLogger("outbox.recorder")

LARGEST = 500
"""Results in one transaction, at most."""

GATHERING = 0.01
"""Seconds that a write waits for more results, at most."""

AS_IT_COMES = 16
"""Writes that do not wait after one that waited in vain."""

SHORTEST, LONGEST = 0.1, 1.0
"""Seconds between tries to write while the database fails: the pause doubles. What is not written may be doubled by a
kill, so it is never long."""


class Recorder:
    """Takes results from deliveries and writes them in the background, in the order they came.

    `on_written` is told which results need nothing more: those written, and those whose lease was lost. `expected`
    tells how many results there will be, with those that wait here, of what may have been accepted already.
    """

    def __init__(
        self,
        store: Store,
        poller: str,
        on_written: Callable[[Collection[Result], Collection[Result]], None],
        expected: Callable[[], int] = lambda: 0,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._store = store
        self._poller = poller
        self._on_written = on_written
        self._observer = observer
        self._expected = expected
        self._took = 0.0  # seconds of the last write
        self._as_it_comes = 0  # writes that will not wait
        self._complete = asyncio.Event()
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
        if len(self._waiting) >= self._expected():
            self._complete.set()

    async def written(self) -> None:
        """Until nothing waits."""
        await self._none.wait()

    async def run(self) -> None:
        """Write until cancelled. After a failure smaller groups are tried, so that one result that the database will
        not take cannot hold up the others."""
        largest, pause = LARGEST, SHORTEST
        while True:
            await self._some.wait()
            await self._gather()
            group = self._next(largest)
            began = asyncio.get_running_loop().time()
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
            self._took = asyncio.get_running_loop().time() - began
            self._observer.written(len(written), self._took)
            self._finish(group, written)

    async def _gather(self) -> None:
        """Wait for results that are about to come: for as long as a write takes, where servers are faster than that.

        A commit costs the same for one and for ten, and nobody can send on before it.
        """
        if self._as_it_comes:
            self._as_it_comes -= 1
            return
        if len(self._waiting) >= self._expected():
            return
        self._complete.clear()
        try:
            async with asyncio.timeout(min(self._took, GATHERING)):
                await self._complete.wait()
        except TimeoutError:
            self._as_it_comes = AS_IT_COMES

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
        done: list[Result] = []
        lost: list[Result] = []
        for result in group:
            (done if result.id in written or _claim_of(result) in self._tried else lost).append(result)
        self._tried.difference_update(map(_claim_of, group))
        self._on_written(done, lost)


def _claim_of(result: Result) -> tuple[int, str]:
    return result.id, result.claim_token
