"""What the daemon does beside sending: say that it lives, end expired rows, delete what is old."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

from outbox.core.errors import DatabaseError
from outbox.core.observer import Observer
from outbox.core.retention import Rule
from outbox.db.limits import forget_unused
from outbox.db.purge import purge, release_blobs, until
from outbox.db.registry import Registry
from outbox.db.store import Store

log = logging.getLogger("outbox.maintenance")

INTERVAL = 10.0
"""Seconds between rounds. A poller counts as alive for three of them."""

RETENTION_INTERVAL = 60.0
"""Seconds between looks for what is old."""

BLOBS_EVERY = 60
"""Looks after which blobs that nobody uses are looked for as well."""


class Maintenance:
    """One round of housekeeping every INTERVAL seconds."""

    def __init__(self, name: str, store: Store, registry: Registry, observer: Observer) -> None:
        self._name = name
        self._store = store
        self._registry = registry
        self._observer = observer
        self._host = socket.gethostname()
        self._version = version("email-outbox")

    async def round(self) -> None:
        """A sign of life and expiry, once. Raises DatabaseError."""
        if not await self._registry.show_life(self._name):
            await self._registry.sign_on(self._name, host=self._host, pid=os.getpid(), version=self._version)
        while expired := await self._store.expire():
            self._observer.expired(expired)

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.round()
            except DatabaseError as error:
                log.warning("maintenance failed, trying again in %.0f s: %s", INTERVAL, error)


class Retention:
    """Deletes, or empties, what has been kept for as long as it should be. All pollers do: none is in another's way."""

    def __init__(self, store: Store, rules: Sequence[Rule]) -> None:
        self._store = store
        self._rules = rules
        self._rounds = 0

    async def round(self) -> None:
        """Everything that is old enough now. Raises DatabaseError."""
        for rule in self._rules:
            done = await _sum(purge(self._store, rule, await until(self._store, rule.age)))
            if done:
                what = "lost their content" if rule.content_only else "were deleted"
                log.info("retention: %d %s emails %s", done, rule.status, what)
        while await forget_unused(self._store):
            pass
        if self._rounds % BLOBS_EVERY == 0:
            unused = await _sum(release_blobs(self._store))
            if unused:
                log.info("retention: %d files that no email has any more were deleted", unused)
        self._rounds += 1

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            try:
                await self.round()
            except DatabaseError as error:
                log.warning("retention failed, trying again in %.0f s: %s", RETENTION_INTERVAL, error)
            await asyncio.sleep(RETENTION_INTERVAL)


async def _sum(numbers: AsyncIterator[int]) -> int:
    found = 0
    async for number in numbers:
        found += number
    return found
