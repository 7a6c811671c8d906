"""Commits of others to a SQLite file are noticed, whether Linux tells of writes or not."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from outbox.db import watch
from outbox.db.engine import create_engine
from outbox.db.watch import FileWatch

INSERT = "INSERT INTO email_outbox (to_addrs) VALUES ('a@x.org')"


@pytest.fixture
def path(sqlite_database):
    return sqlite_database.removeprefix("sqlite+aiosqlite:///")


@pytest.fixture
async def application(sqlite_database, path):
    """A connection of another program, while ours keep the log in place."""
    engine = create_engine(sqlite_database)
    async with engine.connect():
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            yield connection
    await engine.dispose()


@pytest.mark.parametrize("alert", [0.0, watch.ALERT])
async def test_every_commit_is_noticed(alert, application, path, monkeypatch):
    monkeypatch.setattr(watch, "SELDOM", 3600.0)
    monkeypatch.setattr(watch, "ALERT", alert)
    seen = asyncio.Event()
    watching = FileWatch(path, seen.set)
    for _ in range(20):
        application.execute(INSERT)
        async with asyncio.timeout(20):
            await seen.wait()
        seen.clear()
    watching.close()


async def test_where_nobody_tells_of_writes_it_asks_often(application, path, monkeypatch):
    monkeypatch.setattr(watch, "_watch", lambda _path: None)
    monkeypatch.setattr(watch, "SELDOM", 3600.0)
    seen = asyncio.Event()
    watching = FileWatch(path, seen.set)
    for _ in range(3):
        application.execute(INSERT)
        async with asyncio.timeout(20):
            await seen.wait()
        seen.clear()
    watching.close()


async def test_it_stops_relying_on_what_does_not_tell(application, path, monkeypatch):
    monkeypatch.setattr(watch, "_IN_MODIFY", 0x200)  # IN_DELETE, of a file that stays
    monkeypatch.setattr(watch, "SELDOM", 0.01)
    monkeypatch.setattr(watch, "ALERT", 0.0)
    seen = asyncio.Event()
    watching = FileWatch(path, seen.set)
    async with asyncio.timeout(20):
        while watching._inotify is not None:
            application.execute(INSERT)
            await seen.wait()
            seen.clear()
    monkeypatch.setattr(watch, "SELDOM", 3600.0)
    application.execute(INSERT)
    async with asyncio.timeout(20):
        await seen.wait()
    watching.close()
