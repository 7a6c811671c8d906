"""Owns how we connect: driver, pragmas and transactions of SQLite, the pool of PostgreSQL."""

import logging
import sqlite3
from importlib.util import find_spec
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy import create_engine as create_blocking_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from outbox.core.errors import DatabaseError, SettingsError
from outbox.db.checkpoint import Checkpoints, has_wal_reset_bug
from outbox.db.file import WatchedFile
from outbox.db.url import parse_url

log = logging.getLogger("outbox.database")

BUSY_SECONDS = 30.0
"""How long a statement waits for another writer of the same SQLite file."""

PLAN_AGE = 30.0
"""Seconds after which PostgreSQL plans a statement anew: a plan made while the table was empty reads all of it."""

_READ = "outbox_read"
_PATIENCE = "outbox_patience"


def create_engine(url: str, *, pool_size: int = 5, patience: float = BUSY_SECONDS) -> AsyncEngine:
    """An engine for the outbox's own transactions; nothing is connected yet. `patience`: seconds for SQLite's lock.

    Transactions on SQLite begin IMMEDIATE, because one that reads first and writes later fails at once, without
    waiting, when another commit came between. Raises SettingsError, which never repeats the URL's password.
    """
    parsed, arguments = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, pool_size, patience)
    if find_spec("asyncpg") is None:
        raise SettingsError("database_url: PostgreSQL needs asyncpg: install email-outbox[postgres]")
    # Recycled, so that a firewall's idle limit is not met inside a transaction.
    arguments = {"timeout": 10.0, "max_cached_statement_lifetime": PLAN_AGE, **arguments}
    return create_async_engine(parsed, pool_size=pool_size, pool_recycle=600, connect_args=arguments)


def read_only(engine: AsyncEngine) -> AsyncEngine:
    """The same engine for single reads: no transaction is begun, and on SQLite no write lock is taken."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_READ: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _sqlite_engine(url: URL, pool_size: int, patience: float) -> AsyncEngine:
    if sqlite3.sqlite_version_info < (3, 35):
        raise DatabaseError(f"SQLite 3.35 or newer is needed (RETURNING); this Python has {sqlite3.sqlite_version}")
    arguments = {"isolation_level": None, "timeout": patience}
    engine = create_async_engine(
        url, pool_size=pool_size, connect_args=arguments, execution_options={_PATIENCE: patience}
    )
    _use_as_agreed(engine.sync_engine)
    return engine


def blocking(engine: AsyncEngine) -> Engine:
    """An engine for the same SQLite file, with one connection, for a thread that may wait: what it does is not handed
    to aiosqlite's thread call by call."""
    arguments = {"isolation_level": None, "timeout": engine.get_execution_options()[_PATIENCE]}
    url = engine.url.set(drivername="sqlite")
    # The thread that closes it may be another than the one that used it.
    made = create_blocking_engine(
        url, pool_size=1, max_overflow=0, connect_args={**arguments, "check_same_thread": False}
    )
    _use_as_agreed(made)
    return made


def _use_as_agreed(engine: Engine) -> None:
    """What everyone of us keeps to on a SQLite file."""
    event.listen(engine, "connect", _prepare)
    WatchedFile(str(engine.url.database)).watch(engine)
    event.listen(engine, "begin", _begin)
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        _checkpoint_ourselves(engine)


def _checkpoint_ourselves(engine: Engine) -> None:
    checkpoints = Checkpoints(str(engine.url.database))

    def prepare(connection: Any, _record: Any) -> None:
        checkpoints.prepare(connection)

    def begun(connection: Connection) -> None:
        if not connection.get_execution_options().get(_READ):
            checkpoints.before_writing(connection)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begun)


def _prepare(connection: Any, record: Any) -> None:
    # One undecodable value must not spoil the claim of all other rows.
    record.driver_connection.text_factory = _decode
    cursor = connection.cursor()
    _use_wal(cursor)
    # Under NORMAL a power loss can take back the last commits: a lost "sent" is a second copy.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Only a file that nobody uses can change to WAL mode; else the next connection tries again."""
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        [mode] = cursor.fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        mode = "busy"
    if mode != "wal":
        log.info("the database is not in WAL mode yet (%s): whoever reads it holds up our writes", mode)


def _decode(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(_READ):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
