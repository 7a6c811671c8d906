"""enqueue and Email in the application's own transactions."""

import ast
import asyncio
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine as create_sync_engine
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, selectinload, sessionmaker

from outbox.db.engine import create_engine
from outbox.db.models import Attachment, Email
from outbox.enqueue import enqueue, enqueue_sync
from tests.db.rows import Execute


def email(**values: Any) -> Email:
    return Email(**{"to": "ada@example.org", "subject": "Hi", "text": "Hello", **values})


async def subjects(execute: Execute) -> list[str]:
    return [row.subject for row in await execute("SELECT subject FROM email_outbox ORDER BY id")]


async def test_what_is_committed_is_there_and_what_is_rolled_back_never_was(engine, execute):
    async with AsyncSession(engine) as session:
        await enqueue(session, email(subject="gone"))
        await session.rollback()
        [id_] = await enqueue(session, email(subject="kept"))
        await session.commit()
    assert await subjects(execute) == ["kept"]
    assert [row.id for row in await execute("SELECT id FROM email_outbox")] == [id_]


async def test_the_first_sample_of_the_readme_does_what_it_says(engine, execute):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    sample = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert sample
    code = compile(sample[1], "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for _ in range(2):
        order: Any = email(subject="stands for an order")
        order.number, order.total = "A-1", 7
        async with AsyncSession(engine) as session:
            await eval(code, {"session": session, "order": order})
    mails = await execute("SELECT idempotency_key FROM email_outbox WHERE template = 'order_confirmation'")
    assert [row.idempotency_key for row in mails] == ["order-A-1"]


async def test_an_added_email_with_a_known_key_is_refused_by_the_database(engine):
    for again in (False, True):
        async with AsyncSession(engine) as session:
            session.add(email(idempotency_key="k"))
            if again:
                with pytest.raises(IntegrityError):
                    await session.commit()
            else:
                await session.commit()


async def test_ids_come_in_the_order_given_with_every_default_in_place(engine, execute, store):
    moment = datetime.now(UTC) + timedelta(hours=1)
    given = [
        email(subject="1"),
        email(subject="2", due_at=moment, priority=0),
        email(subject="3", idempotency_key="k"),
        email(subject="4", cc=["b@x.org", "c@x.org"], headers={"X-A": "ü"}, context={"n": 1}, sensitive=True),
    ]
    async with engine.begin() as connection:
        ids = await enqueue(connection, *given)
    async with AsyncSession(engine) as session:
        by_id = {found.id: found for found in (await session.scalars(select(Email))).all()}
    found = [by_id[id_] for id_ in ids]
    assert [one.subject for one in found] == ["1", "2", "3", "4"]
    assert [one.priority for one in found] == [1, 0, 1, 1]
    assert [one.on_doubt for one in found] == ["resend"] * 4
    assert found[1].due_at == moment
    assert all(one.due_at is not None and one.due_at <= datetime.now(UTC) + timedelta(minutes=5) for one in found[2:])
    assert (found[3].cc_addrs, found[3].headers, found[3].context) == ("b@x.org, c@x.org", {"X-A": "ü"}, {"n": 1})
    assert [one.sensitive for one in found] == [False, False, False, True]
    assert [one.context for one in found[:3]] == [None] * 3


async def test_many_emails_with_attachments_are_inserted_in_bulk(engine, store):
    emails = [email(subject=str(n), attachments=[Attachment(f"{n}.txt", b"%d" % n)]) for n in range(300)]
    async with engine.begin() as connection:
        ids = await enqueue(connection, *emails)
    assert len(set(ids)) == 300
    for n in (0, 150, 299):
        [file] = await store.attachments(ids[n])
        assert (file.filename, file.content) == (f"{n}.txt", b"%d" % n)


async def test_a_known_key_is_the_same_email_within_a_call_and_between_calls(engine, execute):
    async with engine.begin() as connection:
        one, two, other = await enqueue(
            connection,
            email(subject="first", idempotency_key="k", attachments=[Attachment("a", b"a")]),
            email(subject="second", idempotency_key="k", attachments=[Attachment("b", b"b")]),
            email(subject="no key"),
        )
        assert one == two != other
    async with engine.begin() as connection:
        assert await enqueue(connection, email(subject="third", idempotency_key="k")) == [one]
    assert sorted(await subjects(execute)) == ["first", "no key"]
    assert [row.filename for row in await execute("SELECT filename FROM email_attachment")] == ["a"]


async def test_of_two_transactions_racing_for_a_key_one_inserts_and_both_get_its_id(postgres_database):
    engine = create_engine(postgres_database)
    async with engine.connect() as first, engine.connect() as second:
        [one] = await enqueue(first, email(idempotency_key="k"))
        racing = asyncio.create_task(enqueue(second, email(idempotency_key="k")))
        async with engine.connect() as watcher:  # until the second waits for the first
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not (await watcher.exec_driver_sql(waits)).scalar_one():
                await watcher.rollback()
        await first.commit()
        assert await racing == [one]
        await second.commit()
    await engine.dispose()


async def test_an_email_in_a_session_is_not_enqueued_as_well(engine):
    async with AsyncSession(engine) as session:
        added = email()
        session.add(added)
        with pytest.raises(ValueError, match=r"emails\[0\] was added to a session"):
            await enqueue(session, added)


async def test_nothing_to_enqueue_is_fine(engine):
    async with engine.begin() as connection:
        assert await enqueue(connection) == []


async def test_scoped_async_sessions_work(engine, execute):
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    await enqueue(scoped, email(subject="scoped"))
    await scoped.commit()
    await scoped.remove()
    assert await subjects(execute) == ["scoped"]


async def test_code_without_a_loop_enqueues_by_sessions_and_connections(sqlite_database):
    engine = create_sync_engine(sqlite_database.replace("+aiosqlite", ""))
    with Session(engine) as session:
        enqueue_sync(session, email(subject="session"))
        session.commit()
    with engine.begin() as connection:
        enqueue_sync(connection, email(subject="connection"))
        await enqueue(connection, email(subject="sync in async"))
    scoped = scoped_session(sessionmaker(engine))
    enqueue_sync(scoped, email(subject="scoped"))
    scoped.commit()
    scoped.remove()
    with Session(engine) as session:
        found = session.scalars(select(Email.subject).order_by(Email.id)).all()
    engine.dispose()
    assert found == ["session", "connection", "sync in async", "scoped"]


async def test_an_added_email_has_its_defaults_and_stays_readable_after_commit(engine, store):
    async with AsyncSession(engine, expire_on_commit=False) as session:
        added = email(attachments=[Attachment("a", b"a"), Attachment("b", b"b")])
        session.add(added)
        await session.commit()
        assert (added.status, added.attempts, added.priority, added.to_addrs) == ("pending", 0, 1, "ada@example.org")
        assert added.due_at is not None
        assert added.due_at.tzinfo is UTC
        assert [file.position for file in added.attachments] == [0, 1]
        await session.refresh(added)
        wanted = select(Email).options(selectinload(Email.attachments)).where(Email.status == "pending")
        [found] = (await session.scalars(wanted.execution_options(populate_existing=True))).all()
        assert [file.filename for file in found.attachments] == ["a", "b"]
    assert [file.filename for file in await store.attachments(added.id)] == ["a", "b"]


async def test_deleting_an_email_through_a_session_takes_its_attachments(engine, execute):
    async with AsyncSession(engine) as session:
        [id_] = await enqueue(session, email(attachments=[Attachment("a", b"a")]))
        await session.commit()
        await session.delete(await session.get_one(Email, id_))
        await session.commit()
    assert await execute("SELECT 1 FROM email_attachment") == []


def test_importing_enqueue_loads_nothing_that_only_the_daemon_needs():
    heavy = {"aiosmtplib", "jinja2", "alembic", "aiosqlite", "email_validator", "pydantic"}
    code = f"import sys, outbox.enqueue; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
