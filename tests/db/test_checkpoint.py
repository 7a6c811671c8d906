"""The write-ahead log of SQLite: who checkpoints it, when, and that it does not grow for ever."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from outbox.db import checkpoint
from outbox.db.checkpoint import FRAMES, Checkpoints, has_wal_reset_bug, sqlite_facts
from outbox.db.engine import create_engine

PAGE = 4096


@pytest.mark.parametrize("version", [(3, 7, 0), (3, 35, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2)])
def test_versions_with_the_wal_reset_bug(version):
    assert has_wal_reset_bug(version)


@pytest.mark.parametrize("version", [(3, 6, 23), (3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 52, 0), (3, 53, 1), (4, 0, 0)])
def test_versions_without_it(version):
    assert not has_wal_reset_bug(version)


@pytest.fixture(params=[(3, 40, 1), (3, 51, 3)], ids=["affected", "fixed"])
def version(request, monkeypatch):
    """Whatever SQLite this Python has, we take it for one with the bug, and for one without."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", request.param)
    monkeypatch.setattr(sqlite3, "sqlite_version", ".".join(map(str, request.param)))
    return request.param


@pytest.fixture
def path(sqlite_database):
    return Path(sqlite_database.removeprefix("sqlite+aiosqlite:///"))


@pytest.fixture
async def engine(version, sqlite_database):
    engine = create_engine(sqlite_database)
    yield engine
    await engine.dispose()


async def write(engine, times, size=2000):
    for _ in range(times):
        async with engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO email_outbox (to_addrs, body_text) VALUES ('a@b.c', :text)"), {"text": "x" * size}
            )


def log_size(path):
    return path.with_name(path.name + "-wal").stat().st_size


async def test_an_affected_sqlite_never_checkpoints_by_itself(engine, version):
    async with engine.connect() as connection:
        limit = (await connection.execute(text("PRAGMA wal_autocheckpoint"))).scalar_one()
    assert limit == (0 if has_wal_reset_bug(version) else 1000)


async def test_the_log_stays_small_whoever_checkpoints(engine, path):
    await write(engine, 1000)
    assert path.stat().st_size > 700 * 2000, "what was written has reached the file"
    assert log_size(path) < 4 * FRAMES * PAGE


async def test_the_log_stays_small_when_single_transactions_are_large(engine, path):
    await write(engine, 30, size=400_000)
    assert path.stat().st_size > 7_000_000
    assert log_size(path) < 8 * FRAMES * PAGE


async def test_a_reader_that_stays_holds_the_log_back_only_until_it_leaves(engine, path):
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM email_outbox").fetchall()
        await write(engine, 200)
        grown = log_size(path)
    await write(engine, 200)
    assert log_size(path) < grown + 4 * FRAMES * PAGE


@pytest.mark.parametrize("version", [(3, 40, 1)], indirect=True)
async def test_while_we_checkpoint_nobody_can_commit(engine, path, monkeypatch):
    tried = []

    def passively(file):
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
            with pytest.raises(sqlite3.OperationalError, match="database is locked"):
                other.execute("BEGIN IMMEDIATE")
            tried.append(file)
        return original(file)

    original = checkpoint._checkpoint_passively
    monkeypatch.setattr(checkpoint, "_checkpoint_passively", passively)
    await write(engine, 20)
    assert tried == [str(path)] * len(tried)
    assert tried


@pytest.mark.parametrize("version", [(3, 40, 1)], indirect=True)
async def test_a_checkpoint_that_fails_spoils_no_transaction(engine, path, monkeypatch, caplog):
    def fail(_path):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpoint, "_checkpoint_passively", fail)
    await write(engine, 20)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM email_outbox").fetchone() == (20,)
    assert "was not checkpointed: disk I/O error" in caplog.text


@pytest.mark.parametrize("version", [(3, 40, 1)], indirect=True)
async def test_a_quiet_outbox_checkpoints_now_and_then(engine, path, monkeypatch):
    made = []

    def passively(file):
        made.append(file)
        return 0

    monkeypatch.setattr(checkpoint, "_checkpoint_passively", passively)
    now = 0.0
    checkpoints = Checkpoints(str(path), lambda: now)
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: checkpoints.prepare(sync.connection.dbapi_connection))
        await connection.run_sync(checkpoints.before_writing)
        assert made == []
        now = checkpoint.INTERVAL
        await connection.run_sync(checkpoints.before_writing)
        assert made == [str(path)]


def test_an_affected_version_is_told_with_what_to_do(version):
    facts = sqlite_facts()
    assert facts.version in {"3.40.1", "3.51.3"}
    if has_wal_reset_bug(version):
        assert facts.warning
        assert facts.warning.startswith("3.40.1 has the WAL-reset bug")
        assert "PRAGMA wal_autocheckpoint=0" in facts.warning
    else:
        assert facts.warning is None
