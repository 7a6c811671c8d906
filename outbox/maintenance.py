"""What the daemon does beside sending: say that it lives, end expired rows."""

import asyncio
import logging
import os
import socket
from importlib.metadata import version

from outbox.core.errors import DatabaseError
from outbox.db.registry import Registry
from outbox.db.store import Store

log = logging.getLogger("outbox.maintenance")

INTERVAL = 10.0
"""Seconds between rounds. A poller counts as alive for three of them."""


class Maintenance:
    """One round of housekeeping every INTERVAL seconds."""

    def __init__(self, name: str, store: Store, registry: Registry) -> None:
        self._name = name
        self._store = store
        self._registry = registry
        self._host = socket.gethostname()
        self._version = version("email-outbox")

    async def round(self) -> None:
        """A sign of life and expiry, once. Raises DatabaseError."""
        if not await self._registry.show_life(self._name):
            await self._registry.sign_on(self._name, host=self._host, pid=os.getpid(), version=self._version)
        while await self._store.expire() > 0:
            pass

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.round()
            except DatabaseError as error:
                log.warning("maintenance failed, trying again in %.0f s: %s", INTERVAL, error)
