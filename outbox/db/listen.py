"""Hints from PostgreSQL that there may be new emails: NOTIFY at the commit of whoever inserted them.

See docs/decisions/0017-notify-is-a-hint.md. Polling is the truth.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.text import clean_text
from outbox.db.postgresql import DRIVER_FAILURES
from outbox.db.wake import CHANNEL

log = logging.getLogger("outbox.listen")

PROBE = 60.0
"""Seconds after which a quiet connection is tried: what a firewall dropped tells nobody."""

PATIENCE = 10.0
"""Seconds for an answer."""

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between tries to connect: the pause doubles."""


class Listener:
    """Calls `on_hint` for every notification, and after it has connected: nobody knows what it missed."""

    def __init__(self, engine: AsyncEngine, on_hint: Callable[[], object]) -> None:
        self._engine = engine
        self._on_hint = on_hint
        self._works = True  # a failure is told once

    async def run(self) -> None:
        """Until cancelled, whatever the database does."""
        pause = SHORTEST
        while True:
            try:
                await self._listen()
            except DRIVER_FAILURES as error:
                if self._works:
                    said = clean_text(str(error), 200) or type(error).__name__
                    log.warning("new emails are found by polling alone for now; listening failed: %s", said)
                else:
                    pause = min(pause * 2, LONGEST)
                self._works = False
            await asyncio.sleep(pause)
            pause = pause if not self._works else SHORTEST

    async def _listen(self) -> None:
        """Until the connection ends."""
        async with asyncio.timeout(PATIENCE):
            session = await self._engine.raw_connection()
        driver: Any = session.driver_connection
        ended = asyncio.Event()
        try:
            driver.add_termination_listener(lambda _connection: ended.set())
            async with asyncio.timeout(PATIENCE):
                await driver.add_listener(CHANNEL, lambda *_notification: self._on_hint())
            self._on_hint()
            if not self._works:
                log.info("new emails are heard of again")
            self._works = True
            while not ended.is_set():
                await self._quiet(ended, driver)
        finally:
            session.invalidate()  # back in the pool it would go on listening

    @staticmethod
    async def _quiet(ended: asyncio.Event, driver: Any) -> None:
        try:
            async with asyncio.timeout(PROBE):
                await ended.wait()
        except TimeoutError:
            async with asyncio.timeout(PATIENCE):
                await driver.execute("SELECT 1")
