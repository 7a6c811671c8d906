"""Proof that a poller is gone: it holds something that the kernel or the server takes away when its process ends.

Without it the rows of a killed poller would have to wait for their leases. The proof only ever brings a take-over
forward; who may write a result is decided by the claim's token alone.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.core.errors import DatabaseError
from outbox.db.engine import read_only
from outbox.db.failure import FAILURES, database_error

log = logging.getLogger("outbox.guard")

PATIENCE = 10.0
"""Seconds for one statement of a guard."""


class Guard(ABC):
    """Held by a living poller under its name, which is new at every start."""

    grace: float = 0.0
    """Seconds for which a poller must show no sign of life as well before it counts as gone."""

    def __init__(self) -> None:
        self.on_loss: Callable[[], object] = lambda: None
        """Called when it was lost while we live: others may believe that we are gone."""

    @abstractmethod
    async def hold(self, name: str) -> None:
        """Hold it, before the name is in any table. Raises DatabaseError."""

    @abstractmethod
    async def gone(self, names: Collection[str]) -> set[str]:
        """Those of `names` that nobody holds. A name of which nothing is known is not among them."""

    @abstractmethod
    async def release(self) -> None:
        """Let go, after the name has left the tables."""

    @abstractmethod
    async def forget(self, name: str) -> None:
        """Clear away what a poller that is gone has left."""


class FileGuard(Guard):
    """For SQLite, whose pollers share a machine: a locked file beside the database, `outbox.db-poller-NAME`.

    The kernel drops a flock(2) with its process. Process ids would not do: they are used again, and in containers
    that share a volume they count differently.
    """

    def __init__(self, database: str) -> None:
        super().__init__()
        self._database = database
        self._held: tuple[Path, int] | None = None

    def _path(self, name: str) -> Path:
        return Path(f"{self._database}-poller-{name}")

    async def hold(self, name: str) -> None:
        """See Guard. Where the file cannot be made there is no guard, and rows wait for their lease."""
        path = self._path(name)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("%s cannot be locked: %s. Should this poller die, its emails wait for their lease", path, error)
            return
        self._held = path, file

    async def gone(self, names: Collection[str]) -> set[str]:
        """See Guard."""
        return {name for name in names if self._is_free(self._path(name))}

    @staticmethod
    def _is_free(path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)  # and the lock with it
        return True

    async def release(self) -> None:
        """See Guard."""
        if self._held:
            path, file = self._held
            path.unlink(missing_ok=True)
            os.close(file)
            self._held = None

    async def forget(self, name: str) -> None:
        """See Guard."""
        self._path(name).unlink(missing_ok=True)


class SessionGuard(Guard):
    """For PostgreSQL: an advisory lock in a session of its own, which the server drops with the connection.

    A connection can break while its poller lives (a restart of the server, a pooler between them). So the loss is
    told to the poller, which then trusts none of its leases, and others wait for `grace` without a sign of life.
    """

    grace = 2.0

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__()
        self._engine = read_only(engine)  # autocommit: no transaction stays open
        self._connection: AsyncConnection | None = None
        self._driver: Any = None

    async def hold(self, name: str) -> None:
        """See Guard."""
        await self._let_go()
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._engine.connect()
                self._connection = connection
                taken = await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(name)})
                self._driver = (await connection.get_raw_connection()).driver_connection
        except FAILURES as error:
            await self._let_go()
            raise database_error(error, self._engine.url) from error
        if not taken:  # by our own session, which the server has not given up yet
            await self._let_go()
            raise DatabaseError("the session that shows that this poller lives cannot be taken up again yet")
        self._driver.add_termination_listener(self._lost)

    def _lost(self, _connection: Any) -> None:
        self._driver = None
        self.on_loss()

    async def gone(self, names: Collection[str]) -> set[str]:
        """See Guard."""
        held = text(
            "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
            " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        try:
            async with asyncio.timeout(PATIENCE), self._engine.connect() as connection:
                keys = set((await connection.scalars(held)).all())
        except FAILURES as error:
            raise database_error(error, self._engine.url) from error
        return {name for name in names if _key(name) not in keys}

    async def release(self) -> None:
        """See Guard."""
        await self._let_go()

    async def forget(self, name: str) -> None:
        """See Guard. Nothing is left of a session."""

    async def _let_go(self) -> None:
        if self._driver is not None:
            self._driver.remove_termination_listener(self._lost)
            self._driver = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(*FAILURES):  # it is being given up, and may be broken already
                await connection.invalidate()  # back in the pool it would keep the lock
                await connection.close()


def open_guard(engine: AsyncEngine) -> Guard:
    """The guard for the database of `engine`."""
    if engine.dialect.name == "sqlite":
        return FileGuard(str(engine.url.database))
    return SessionGuard(engine)


def _key(name: str) -> int:
    """A 64-bit lock number. Other users of advisory locks would have to meet it by chance."""
    return int.from_bytes(hashlib.blake2b(f"outbox poller {name}".encode(), digest_size=8).digest(), signed=True)
