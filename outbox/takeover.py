"""Frees the emails of pollers that are provably gone, and keeps the proof that this one is not."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from outbox.core.errors import DatabaseError
from outbox.db.guard import Guard
from outbox.db.registry import Registry
from outbox.leases import Leases

log = logging.getLogger("outbox.takeover")

INTERVAL = 1.0
"""Seconds between looks at the other pollers."""


class Takeover:
    """One look every INTERVAL seconds. `clock` is monotonic."""

    def __init__(self, name: str, registry: Registry, guard: Guard, leases: Leases, clock: Callable[[], float]) -> None:
        self._name = name
        self._registry = registry
        self._guard = guard
        self._leases = leases
        self._clock = clock
        self._silent: dict[str, tuple[datetime, float]] = {}  # nobody holds their guard: last sign of life, since when
        self._lost = asyncio.Event()
        self._told = False  # of a database that fails, once
        guard.on_loss = self._on_loss

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                if not self._leases.trusted:
                    await self._regain_trust()
                if self._guard.grace:
                    await self._registry.show_life(self._name)
                await self.look()
            except DatabaseError as error:
                if not self._told:
                    log.warning("other pollers cannot be looked after: %s", error)
                self._told = True
                self._silent.clear()  # what was seen before the database failed is no evidence
            else:
                self._told = False
            await asyncio.sleep(INTERVAL if self._leases.trusted else INTERVAL / 5)

    async def look(self) -> None:
        """Free the emails of every poller that is gone. Raises DatabaseError."""
        seen = await self._registry.others(self._name)
        gone = await self._guard.gone(seen) if seen else set()
        self._silent = {name: since for name, since in self._silent.items() if name in gone}
        for name in gone:
            last, since = self._silent.get(name, (None, 0.0))
            if last != seen[name]:
                since = self._clock()
                self._silent[name] = seen[name], since
            if self._clock() - since < self._guard.grace:
                continue
            freed = await self._registry.free(name)
            await self._guard.forget(name)
            log.warning("poller %s is gone: its %d emails are due again", name, freed)

    def _on_loss(self) -> None:
        log.warning("the session that shows that this poller lives was lost; what is not under way waits for a new one")
        self._leases.trusted = False
        self._lost.set()

    async def _regain_trust(self) -> None:
        """Whatever of it fails is tried again; what is lost meanwhile is lost."""
        if self._lost.is_set():
            await self._guard.hold(self._name)
            self._lost.clear()
        await self._leases.renew()
        self._leases.trusted = not self._lost.is_set()
