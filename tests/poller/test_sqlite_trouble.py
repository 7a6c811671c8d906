"""SQLite that is locked, full, read-only or replaced while mail is under way, and an application that writes too."""

import asyncio
import logging
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from outbox.core.errors import DatabaseError
from outbox.daemon import Poller
from outbox.db.sqlite import SqliteStore
from tests.fixtures.hold import Hold

LATE = "x" * 200
"""Enough of a reply that many recipients need more room than a page has."""


@pytest.fixture
def database(sqlite_database):
    return sqlite_database


@pytest.fixture
def path(sqlite_database):
    return Path(sqlite_database.removeprefix("sqlite+aiosqlite:///"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("outbox.db.engine.BUSY_SECONDS", 0.02)


@pytest.fixture
def kept(caplog):
    """Wait until results were kept because they could not be written."""
    seen = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "outbox.recorder":
                seen.set()

    listener = Listener()
    logging.getLogger("outbox").addHandler(listener)
    yield seen.wait
    logging.getLogger("outbox").removeHandler(listener)
    assert seen.is_set()
    told = [record for record in caplog.records if record.name.startswith("outbox")]
    assert [record for record in told if record.exc_info or record.levelno > logging.WARNING] == []
    assert all("\n" not in record.getMessage() for record in told)


async def test_a_long_transaction_of_the_application_delays_results_and_loses_none(
    insert, settings, smtpd, row, path, kept
):
    hold = Hold(smtpd, "dot")
    id = await insert()
    async with Poller(settings, drain=True) as poller:
        await hold.reached()
        with closing(sqlite3.connect(path, isolation_level=None)) as application:
            application.execute("BEGIN IMMEDIATE")
            hold.release()
            await kept()
            application.execute("COMMIT")
        await poller.finished()
    assert (len(smtpd.messages), (await row(id)).status, (await row(id)).attempts) == (1, "sent", 1)


@pytest.mark.parametrize("trouble", ["max_page_count = 1", "query_only = 1"])
async def test_a_full_or_read_only_disk_delays_results_and_loses_none(insert, settings, smtpd, row, kept, trouble):
    hold = Hold(smtpd, "dot")
    id = await insert(to_addrs=", ".join(f"r{number}.{LATE[:50]}@example.org" for number in range(100)))
    in_trouble = False

    async with Poller(settings, drain=True) as poller:
        assert isinstance(poller._store, SqliteStore)

        @event.listens_for(poller._store._blocking, "checkout")
        def checkout(connection, _record, _proxy):
            name, _, bad = trouble.partition(" = ")
            good = {"max_page_count": 1_000_000, "query_only": 0}[name]
            connection.execute(f"PRAGMA {name} = {bad if in_trouble else good}")

        await hold.reached()
        in_trouble = True
        hold.release()
        await kept()
        in_trouble = False
        await poller.finished()
    assert (len(smtpd.messages), (await row(id)).status, (await row(id)).attempts) == (1, "sent", 1)


@pytest.fixture
def replace(path, sqlite_template):
    """Put another outbox in the place of ours, with one email in it."""

    def run(*, log_too):
        other = path.with_name("other.db")
        shutil.copy(sqlite_template, other)
        with closing(sqlite3.connect(other)) as connection, connection:
            connection.execute("INSERT INTO email_outbox (to_addrs, body_text) VALUES ('new@example.org', 'x')")
        for left in ("-wal", "-shm") if log_too else ():
            path.with_name(path.name + left).unlink()
        other.replace(path)

    return run


async def test_a_file_that_takes_the_place_of_ours_is_used_from_then_on(insert, settings, smtpd, replace):
    await insert()
    async with Poller(settings.model_copy(update={"poll_interval": 0.02})):
        await smtpd.received(1)
        replace(log_too=True)
        await smtpd.received(2)
    assert [message.recipients for message in smtpd.messages] == [["ada@example.org"], ["new@example.org"]]


async def test_a_file_put_beside_the_log_of_another_is_not_touched(store, execute, replace):
    await execute("UPDATE email_outbox SET tag = 'x'")
    await store.next_due()
    replace(log_too=False)
    with pytest.raises(DatabaseError, match="was replaced beside the log of the file before it: stop"):
        await store.next_due()


async def test_a_file_that_was_deleted_is_not_made_anew_and_used_again_when_it_is_back(insert, settings, smtpd, path):
    await insert()
    async with Poller(settings.model_copy(update={"poll_interval": 0.02})) as poller:
        await smtpd.received(1)
        away = path.with_name("away.db")
        path.rename(away)
        with pytest.raises(DatabaseError, match=r"outbox\.db is gone"):
            await poller._store.next_due()
        assert not path.exists()
        away.rename(path)
        await insert(to_addrs="later@example.org")
        await smtpd.received(2)


def _write_as_documented(path, stop, errors, immediately):
    """An application in a thread of its own: short transactions, without a pause."""
    with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None if immediately else "DEFERRED")) as connection:
        while not stop.is_set():
            try:
                if immediately:
                    connection.execute("BEGIN IMMEDIATE")
                connection.execute(
                    "INSERT INTO email_outbox (to_addrs, due_at) VALUES ('a@b.c', '2999-01-01 00:00:00')"
                )
                connection.commit()
            except sqlite3.OperationalError as error:
                errors.append(str(error))
            stop.wait(0.001)


@pytest.mark.parametrize("immediately", [True, False])
async def test_an_application_that_writes_during_a_drain_sees_no_error(drain, path, execute, monkeypatch, immediately):
    monkeypatch.setattr("outbox.db.engine.BUSY_SECONDS", 30.0)
    await execute(
        "INSERT INTO email_outbox (to_addrs, body_text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 300) SELECT 'r' || i || '@example.org', 'x' FROM n"
    )
    stop = threading.Event()
    errors: list[str] = []
    application = threading.Thread(target=_write_as_documented, args=(path, stop, errors, immediately))
    application.start()
    try:
        await asyncio.gather(drain(), drain())
        await drain()
    finally:
        stop.set()
        application.join()
    assert errors == []
    assert [r[0] for r in await execute("SELECT count(*) FROM email_outbox WHERE status = 'sent'")] == [300]
    assert [r[0] for r in await execute("PRAGMA integrity_check")] == ["ok"]
