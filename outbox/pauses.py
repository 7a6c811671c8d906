"""Pauses that all pollers share: what one finds out about a transport, all of them know within a second.

The database is the shared truth, but a fault pauses at once here and is told there; where the database does not
answer, each poller goes by what it knows itself.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from outbox.core.errors import DatabaseError
from outbox.core.outcome import Fault, Scope
from outbox.db.transports import Transports
from outbox.smtp.transport import Transport

log = logging.getLogger("outbox.pauses")

INTERVAL = 1.0
"""Seconds between looks at what the others know."""


class Pauses:
    """Between the transports of this process and the table. `wake` is called when one of them may go on."""

    def __init__(self, table: Transports, transports: Mapping[str, Transport], wake: Callable[[], object]) -> None:
        self._table = table
        self._transports = transports
        self._wake = wake
        self._untold: dict[str, None] = {}  # transports that changed here, in that order
        self._won: set[str] = set()
        """Transports whose probe is ours."""
        self._kept: dict[str, float] = {}
        self._one_at_a_time = asyncio.Lock()
        self._look = asyncio.Event()
        self._answers = True
        self._closed = False

    def changed(self, transport: Transport) -> None:
        """`transport` found out that it is paused, or works again: tell the others soon."""
        self._untold[transport.name] = None
        self._look.set()

    def hint(self) -> None:
        """Something was committed. Where a transport is unwell, that may be its recovery."""
        if any(transport.fault for transport in self._transports.values()):
            self._look.set()

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self.round()
            except DatabaseError as error:
                if self._answers:
                    log.warning("the pauses of other pollers are not known for now: %s", error)
                self._answers = False
                await asyncio.sleep(INTERVAL)
            else:
                self._answers = True

    async def round(self) -> None:
        """Tell what changed here, adopt what changed elsewhere. Raises DatabaseError."""
        async with self._one_at_a_time:
            if not self._closed:
                await self._tell()
                await self._adopt()

    async def close(self) -> None:
        """Tell what is left to tell. Afterwards the database is left alone, so that `run` can be cancelled at any
        moment. Raises DatabaseError."""
        async with self._one_at_a_time:
            self._closed = True
            await self._tell()

    async def may_probe(self, transport: Transport) -> bool:
        """Whether a message may go out over `transport` to try it: one at a time, over all pollers."""
        try:
            async with self._one_at_a_time:
                await self._tell()
                if await self._table.win_probe(transport.name):
                    self._won.add(transport.name)
                    return True
                await self._adopt()
        except DatabaseError as error:
            log.warning("%s is tried without asking the other pollers: %s", transport.name, error)
            return True
        return False

    async def _tell(self) -> None:
        while self._untold:
            name = next(iter(self._untold))
            del self._untold[name]  # before it is told: what changes meanwhile is told as well
            try:
                await self._tell_of(name, self._transports[name].fault)
            except BaseException:
                self._untold[name] = None
                raise

    async def _tell_of(self, name: str, fault: Fault | None) -> None:
        if fault is None:
            await self._table.clear(name)
        elif fault.scope is not Scope.BY_HAND:
            # Who probes knows best, so this may be a shorter pause than the one on record.
            await self._table.pause(name, fault, shorten=name in self._won)
        self._won.discard(name)

    async def _adopt(self) -> None:
        for name in tuple(self._won):
            if self._transports[name].probing:
                await self._keep_probe(name)
            elif name not in self._untold:
                self._won.discard(name)
        found = await self._table.read()
        for name, transport in self._transports.items():
            if name not in self._untold and not self._is_our_probe(name, found.get(name)):
                self._adopt_one(transport, found.get(name))

    async def _keep_probe(self, name: str) -> None:
        """At intervals only: on SQLite what is written here is a hint to look again."""
        now = asyncio.get_running_loop().time()
        if now - self._kept.get(name, -INTERVAL) >= INTERVAL:
            self._kept[name] = now
            await self._table.keep_probe(name)

    def _is_our_probe(self, name: str, fault: Fault | None) -> bool:
        return name in self._won and fault is not None and fault.scope is not Scope.BY_HAND

    def _adopt_one(self, transport: Transport, fault: Fault | None) -> None:
        paused = transport.paused_for > 0
        transport.adopt(fault)
        if paused and transport.paused_for == 0:
            self._wake()
