"""Connecting: which URLs are taken, what SQLite is told, and that no password shows."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.core.errors import SettingsError
from outbox.db.engine import PLAN_AGE, create_engine, read_only


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:///a.db", "sqlite+aiosqlite"),
        ("postgres://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg"),
    ],
)
def test_a_url_gets_its_asynchronous_driver(url, driver):
    assert create_engine(url).url.drivername == driver


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "mysql://u:sekret@h/d", "postgresql+psycopg://u:sekret@h/d", "postgresql://u:sekret@h:x/d"),
        *("sqlite://", "sqlite:///:memory:"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_its_password(url):
    with pytest.raises(SettingsError, match="database_url") as caught:
        create_engine(url)
    assert "sekret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setattr("outbox.db.engine.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"email-outbox\[postgres\]"):
        create_engine("postgresql://h/d")


async def test_sqlite_is_durable_and_enforces_foreign_keys(sqlite_database):
    engine = create_engine(sqlite_database)
    async with engine.connect() as connection:
        told = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "mmap_size")
        ]
    await engine.dispose()
    assert told == ["wal", 2, 1, 30000, 0]


async def in_transaction(connection: AsyncConnection) -> bool:
    """Whether SQLite itself sees a transaction."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    return bool(driver.in_transaction)


async def test_a_transaction_on_sqlite_locks_at_its_begin_and_a_read_does_not(sqlite_database):
    engine = create_engine(sqlite_database)
    async with engine.connect() as writer, read_only(engine).connect() as reader:
        await writer.execute(text("SELECT 1"))
        assert await in_transaction(writer)
        other = sqlite3.connect(str(engine.url.database), timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
        await reader.execute(text("SELECT 1"))
        assert not await in_transaction(reader)
    await engine.dispose()


async def test_a_file_in_use_is_written_without_wal_and_changes_to_it_when_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr("outbox.db.engine.BUSY_SECONDS", 0.01)
    path = tmp_path / "used.db"
    application = sqlite3.connect(path, isolation_level=None)
    application.execute("CREATE TABLE mine (x)")
    application.execute("BEGIN IMMEDIATE")
    engine = create_engine(f"sqlite:///{path}")
    async with read_only(engine).connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "delete"
        application.execute("COMMIT")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO mine VALUES (1)"))
    await engine.dispose()
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
    await engine.dispose()
    application.close()


async def test_plans_on_postgresql_do_not_grow_old(postgres_database):
    engine = create_engine(postgres_database)
    told = {}
    event.listen(engine.sync_engine, "do_connect", lambda _dialect, _record, _args, keywords: told.update(keywords))
    async with engine.connect():
        pass
    await engine.dispose()
    assert told["max_cached_statement_lifetime"] == PLAN_AGE
