"""What the daemon does beside sending: say that it lives, end expired rows, publish the state of its transports."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from importlib.metadata import version

from outbox.core.errors import DatabaseError
from outbox.db.registry import Registry
from outbox.db.store import Store
from outbox.smtp.transport import Transport

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
        self._changed: dict[str, Transport] = {}
        self._some_changed = asyncio.Event()

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

    def transport_changed(self, transport: Transport) -> None:
        """`transport` was paused or came back."""
        self._changed[transport.name] = transport
        self._some_changed.set()

    async def publish(self) -> None:
        """Write transports' states to `email_transport` as they change, until cancelled."""
        while True:
            await self._some_changed.wait()
            self._some_changed.clear()
            changed, self._changed = self._changed, {}
            try:
                await self._write(changed.values())
            except DatabaseError as error:
                log.warning("the state of a transport could not be published, trying again: %s", error)
                self._changed = changed | self._changed
                await asyncio.sleep(1.0)
                self._some_changed.set()

    async def _write(self, transports: Iterable[Transport]) -> None:
        for transport in transports:
            seconds = transport.paused_for or None
            await self._store.pause_transport(transport.name, seconds=seconds, reason=transport.reason)
