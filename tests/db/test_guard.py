"""The proof that a poller lives: held by it, dropped with its process or its session, and never in doubt for others."""

import asyncio
import signal
import sys

import pytest
from sqlalchemy import text

from outbox.core.errors import DatabaseError
from outbox.db.engine import create_engine
from outbox.db.guard import FileGuard, SessionGuard, open_guard

HOLDER = """
import asyncio, sys, time
from outbox.db.guard import FileGuard
asyncio.run(FileGuard(sys.argv[1]).hold("killed"))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
async def guards(engine):
    """Two pollers' guards on one database."""
    pair = open_guard(engine), open_guard(engine)
    yield pair
    for guard in pair:
        await guard.release()


async def test_a_guard_that_is_held_is_not_gone_and_one_that_was_released_is_never_taken_for_dead(guards):
    mine, other = guards
    await mine.hold("one")
    assert await other.gone(["one"]) == set()
    await mine.release()
    assert await other.gone(["one"]) == ({"one"} if isinstance(other, SessionGuard) else set())


async def test_a_killed_process_is_gone_at_once_and_leaves_no_file_once_forgotten(tmp_path):
    guard = FileGuard(str(tmp_path / "outbox.db"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, tmp_path / "outbox.db", stdout=pipe)
    assert process.stdout
    assert await process.stdout.readline() == b"held\n"
    assert await guard.gone(["killed", "never heard of"]) == set()
    process.send_signal(signal.SIGSTOP)
    assert await guard.gone(["killed"]) == set(), "it only sleeps"
    process.kill()
    await process.wait()
    assert await guard.gone(["killed"]) == {"killed"}
    await guard.forget("killed")
    assert list(tmp_path.iterdir()) == []


async def test_where_no_file_can_be_made_there_is_no_guard_and_nobody_is_taken_for_dead(tmp_path, caplog):
    guard = FileGuard(str(tmp_path / "nowhere" / "outbox.db"))
    await guard.hold("one")
    assert await guard.gone(["one"]) == set()
    await guard.release()
    assert "wait for their lease" in caplog.text


async def test_a_session_that_the_server_ends_tells_its_poller_and_can_be_taken_up_again(postgres_database):
    engine = create_engine(postgres_database)
    mine, other = SessionGuard(engine), SessionGuard(engine)
    lost = asyncio.Event()
    mine.on_loss = lost.set
    await mine.hold("one")
    async with engine.connect() as connection:
        await connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        )
    await lost.wait()
    assert await other.gone(["one"]) == {"one"}
    await mine.hold("one")
    assert await other.gone(["one"]) == set()
    await mine.release()
    await engine.dispose()


async def test_a_guard_never_believes_to_hold_what_another_session_holds(postgres_database):
    engine = create_engine(postgres_database)
    mine, other = SessionGuard(engine), SessionGuard(engine)
    await mine.hold("one")
    with pytest.raises(DatabaseError, match="yet"):
        await other.hold("one")
    await mine.release()
    await engine.dispose()
