"""PostgreSQL tells pollers of new emails: whoever inserts them, and never who does not."""

import asyncio
import logging

import asyncpg
import pytest
from sqlalchemy import text

from outbox.db.engine import create_engine
from outbox.db.listen import Listener
from outbox.db.models import Email
from outbox.db.operations import Operations
from outbox.db.resolve import resend
from outbox.enqueue import enqueue

PLAIN = "INSERT INTO email_outbox (to_addrs) VALUES ('a@x.org')"


@pytest.fixture
def database(postgres_database):
    return postgres_database


class Heard:
    """Counts hints, and waits for them."""

    def __init__(self) -> None:
        self.count = 0
        self._some = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._some.set()

    async def one(self) -> None:
        async with asyncio.timeout(20):
            await self._some.wait()
        self._some.clear()


@pytest.fixture
async def heard(engine):
    heard = Heard()
    listening = asyncio.create_task(Listener(engine, heard).run())
    await heard.one()  # it has connected
    yield heard
    listening.cancel()
    await asyncio.wait([listening])


async def test_every_way_to_make_an_email_due_is_heard_of_when_it_commits(heard, engine, execute):
    async with engine.begin() as connection:
        await enqueue(connection, Email(to="a@x.org", text="x"), Email(to="b@x.org", text="x"))
        assert heard.count == 1
    await heard.one()
    await execute(PLAIN)
    await heard.one()
    await execute("UPDATE email_outbox SET status = 'failed', due_at = NULL WHERE id = 1")
    await Operations(engine).retry([1])
    await heard.one()
    await execute("UPDATE email_outbox SET status = 'in_doubt', due_at = NULL WHERE id = 1")
    await resend(engine, 1)
    await heard.one()
    assert heard.count == 5


async def test_nothing_else_is_heard_of(heard, engine, execute, store):
    async with engine.connect() as connection:
        await connection.execute(text(PLAIN))
        await connection.rollback()
    await execute("UPDATE email_outbox SET tag = 'x'")
    await execute(PLAIN)
    await heard.one()
    assert heard.count == 2


async def test_inserts_can_be_made_silent(heard, postgres_server, database, engine):
    await postgres_server.run(f"ALTER DATABASE {engine.url.database} SET outbox.notify = 'off'")
    silent = create_engine(database)
    async with silent.begin() as connection:
        await connection.execute(text(PLAIN))
        await connection.execute(text("UPDATE email_outbox SET status = 'failed', due_at = NULL"))
    await Operations(silent).retry([1])
    await silent.dispose()
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL outbox.notify = 'on'"))
        await connection.execute(text(PLAIN))
    await heard.one()
    assert heard.count == 2


async def test_of_transactions_that_overlap_one_is_enough(heard, engine, execute):
    async with engine.begin() as first:
        await first.execute(text(PLAIN))
        await execute(PLAIN)  # commits need not wait for each other
        await first.execute(text(PLAIN))
    await heard.one()
    await execute(PLAIN)
    await heard.one()
    assert heard.count == 3


async def test_a_broken_connection_is_made_again(heard, execute, caplog, monkeypatch):
    monkeypatch.setattr("outbox.db.listen.SHORTEST", 0.01)
    caplog.set_level(logging.INFO, "outbox.listen")
    await execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await heard.one()
    await execute(PLAIN)
    await heard.one()
    assert heard.count == 3
    assert caplog.messages == []  # it was back at once


async def test_what_cannot_listen_says_so_once_and_goes_on_trying(database, caplog, monkeypatch):
    monkeypatch.setattr("outbox.db.listen.SHORTEST", 0.01)
    monkeypatch.setattr("outbox.db.listen.LONGEST", 0.01)
    heard, engine = Heard(), create_engine(database)
    tried = asyncio.Event()
    tries = []

    async def refuse(*_args, **_keywords):
        tries.append(1)
        if len(tries) == 3:
            tried.set()
        raise asyncpg.CannotConnectNowError("starting up")

    caplog.set_level(logging.INFO, "outbox.listen")
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "add_listener", refuse)
        listening = asyncio.create_task(Listener(engine, heard).run())
        async with asyncio.timeout(20):
            await tried.wait()
    await heard.one()
    listening.cancel()
    await asyncio.wait([listening])
    await engine.dispose()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[0].endswith("listening failed: starting up")


async def test_a_quiet_connection_is_tried_now_and_then(database, monkeypatch):
    monkeypatch.setattr("outbox.db.listen.PROBE", 0.01)
    heard, engine = Heard(), create_engine(database)
    probed = asyncio.Event()
    execute = asyncpg.Connection.execute

    async def probe(self, query, *args, **keywords):
        answer = await execute(self, query, *args, **keywords)
        if query == "SELECT 1":
            probed.set()
        return answer

    monkeypatch.setattr(asyncpg.Connection, "execute", probe)
    listening = asyncio.create_task(Listener(engine, heard).run())
    async with asyncio.timeout(20):
        await probed.wait()
    listening.cancel()
    await asyncio.wait([listening])
    await engine.dispose()
    assert heard.count == 1
