"""However asyncpg says that the database failed, a poller is told so, and tries again; it never dies of it."""

import asyncio
import socket
import struct

import asyncpg
import pytest

from outbox.core.claim import Result
from outbox.core.errors import DatabaseError
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.engine import create_engine
from outbox.db.postgresql import PostgresqlStore
from tests.db.rows import claim, insert

CLAIM = "UPDATE email_outbox SET attempts = 1"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing breaks the connection


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("answer", [reset, close])
async def test_a_server_that_breaks_off_while_we_connect(answer):
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = PostgresqlStore(create_engine(f"postgresql+asyncpg://u:p@127.0.0.1:{port}/x"))
        with pytest.raises(DatabaseError):
            await claim(store)
        await store.close()


FAILURES = [
    asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_connection_that_fails_is_not_used_again(store, execute, monkeypatch, failure):
    async def fetch(*_, **__):
        raise failure

    await insert(execute)
    [row] = await claim(store)
    result = Result(row.id, row.claim_token, row.attempts, Verdict(Status.SENT))
    kept = store._kept[0][0].driver_connection
    with monkeypatch.context() as broken:
        broken.setattr(asyncpg.Connection, "fetch", fetch)
        with pytest.raises(DatabaseError):
            await store.record([result], poller="poller")
    assert await store.record([result], poller="poller") == {row.id}
    assert kept.is_closed()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_row_that_the_database_refuses_is_not_quoted(store, execute):
    await insert(execute, body_text="hush")
    await execute("ALTER TABLE email_outbox ADD CONSTRAINT mine CHECK (attempts < 1)")
    for refused in (claim(store), store.write(lambda connection: connection.exec_driver_sql(CLAIM))):
        with pytest.raises(DatabaseError, match="mine") as caught:
            await refused
        assert "hush" not in str(caught.value)
