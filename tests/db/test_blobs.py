"""Attachments that many emails share are stored once, and nobody waits for anybody because of it."""

import asyncio

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from outbox import Attachment, Email, enqueue
from outbox.db.blobs import SHARED_FROM
from outbox.db.engine import create_engine

TERMS = b"terms " * 2000
LOGO = b"logo " * 2000


def email(*contents: bytes, **columns) -> Email:
    files = [Attachment(f"{n}.bin", bytes(bytearray(content))) for n, content in enumerate(contents)]
    return Email(to="ada@example.org", subject="Hi", attachments=files, **columns)


@pytest.fixture(params=["enqueue", "session"])
def insert(request, engine):
    """Insert emails in one transaction, by either way that Python has; their ids."""

    async def insert(*emails: Email) -> list[int]:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            if request.param == "enqueue":
                return await enqueue(session, *emails)
            session.add_all(emails)
            await session.flush()
            return [email.id for email in emails]

    return insert


async def stored(execute) -> tuple[int, ...]:
    """How many blobs there are, how many attachments use one, and how many hold their bytes themselves."""
    [row] = await execute(
        "SELECT (SELECT count(*) FROM email_blob), count(blob_id), count(content) FROM email_attachment"
    )
    return tuple(row)


async def contents(store, ids) -> list[list[bytes]]:
    return [[file.content for file in await store.attachments(id_)] for id_ in ids]


async def test_what_many_emails_share_is_stored_once_in_and_across_transactions(insert, execute, store):
    ids = await insert(*(email(TERMS, LOGO) for _ in range(20)), email(LOGO, LOGO))
    ids += await insert(*(email(TERMS) for _ in range(5)))
    assert await stored(execute) == (2, 47, 0)
    found = await contents(store, ids)
    assert found == [[TERMS, LOGO]] * 20 + [[LOGO, LOGO]] + [[TERMS]] * 5
    assert await store.size_of_attachments(ids[0], most=10**6) == len(TERMS + LOGO)


async def test_small_files_stay_with_their_emails(insert, execute, store):
    small, least = b"x" * (SHARED_FROM - 1), b"x" * SHARED_FROM
    [id_] = await insert(email(small, least, b""))
    assert await stored(execute) == (1, 1, 2)
    assert await contents(store, [id_]) == [[small, least, b""]]


async def test_attachments_are_readable_afterwards_and_when_they_are_loaded(engine, insert):
    mail = email(TERMS, b"small")
    [id_] = await insert(mail)
    assert [file.content for file in mail.attachments] == [TERMS, b"small"]
    async with AsyncSession(engine) as session:
        query = select(Email).where(Email.id == id_).options(selectinload(Email.attachments))
        [loaded] = await session.scalars(query)
        assert [file.content for file in loaded.attachments] == [TERMS, b"small"]


async def test_files_of_an_email_that_was_rolled_back_can_be_used_again(engine, execute, store):
    mail = email(TERMS)
    async with AsyncSession(engine) as session:
        session.add(mail)
        await session.flush()
        await session.rollback()
        assert await stored(execute) == (0, 0, 0)
        await execute("INSERT INTO email_blob (sha256, content) VALUES ('other', :c)", {"c": b"other"})
        session.add(Email(to="ada@example.org", subject="Again", attachments=[*mail.attachments]))
        await session.commit()
    [row] = await execute("SELECT id FROM email_outbox")
    assert await contents(store, [row.id]) == [[TERMS]]


async def test_nothing_is_asked_of_the_database_for_emails_without_large_files(engine, execute):
    said = []
    async with engine.begin() as connection:
        driver = connection.sync_connection
        for mail in (email(), email(b"small")):
            await enqueue(connection, mail)
        event.listen(driver, "before_cursor_execute", lambda *args: said.append(args[2]))
        for mail in (email(), email(b"small")):
            await enqueue(connection, mail)
    assert [words.split()[2] for words in said] == ["email_outbox", "email_outbox", "email_attachment"]


async def test_a_blob_goes_with_its_last_user(insert, execute):
    one, two = await insert(email(TERMS, LOGO), email(TERMS))
    await execute(f"DELETE FROM email_outbox WHERE id = {one}")
    assert await stored(execute) == (1, 1, 0)
    await execute(f"DELETE FROM email_outbox WHERE id = {two}")
    assert await stored(execute) == (0, 0, 0)


async def test_transactions_that_attach_the_same_files_in_any_order_do_not_wait_for_each_other(postgres_database):
    engine = create_engine(postgres_database)
    async with engine.connect() as one, engine.connect() as two:
        for files in ([TERMS], [LOGO]):
            await enqueue(one, email(*files))
        for files in ([LOGO], [TERMS], [b"mine" * 5000]):  # the order that would be a circle
            await enqueue(two, email(*files))
        await two.commit()
        await one.commit()
        rows = await one.execute(text("SELECT count(blob_id), count(content) FROM email_attachment"))
        assert tuple(rows.one()) == (3, 2), "who came second keeps a copy of its own"
    await engine.dispose()


async def test_whoever_attaches_a_file_whose_last_user_is_being_deleted_does_not_wait(postgres_database):
    engine = create_engine(postgres_database)
    async with engine.begin() as connection:
        [last] = await enqueue(connection, email(TERMS))
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(text(f"DELETE FROM email_outbox WHERE id = {last}"))
        await enqueue(two, email(TERMS))
        await two.commit()
        await one.commit()
        rows = await one.execute(text("SELECT count(blob_id), count(content) FROM email_attachment"))
        assert tuple(rows.one()) == (0, 1), "it keeps a copy of its own"
        await enqueue(two, email(TERMS))
        rows = await two.execute(text("SELECT count(blob_id), count(content) FROM email_attachment"))
        assert tuple(rows.one()) == (1, 1), "and the next one is shared again"
    await engine.dispose()


async def test_a_blob_is_there_for_whoever_attaches_it_while_its_last_users_are_deleted(engine, execute, store):
    """Each round the last user goes while another one comes, in both orders, and in parallel."""
    ids = []
    async with engine.begin() as connection:
        ids += await enqueue(connection, email(TERMS, LOGO))
    for _ in range(10):

        async def delete(id_=ids[-1]):
            await execute(f"DELETE FROM email_outbox WHERE id = {id_}")

        async def attach():
            async with engine.begin() as connection:
                return await enqueue(connection, email(LOGO, TERMS))

        (new,), *_ = await asyncio.gather(attach(), delete())
        ids.append(new)
        assert await contents(store, [new]) == [[LOGO, TERMS]]


async def test_two_that_delete_the_last_users_of_two_blobs_do_not_stop_each_other(postgres_database):
    engine = create_engine(postgres_database)
    async with engine.connect() as one, engine.connect() as two:
        ids = await enqueue(one, email(TERMS), email(LOGO), email(TERMS), email(LOGO))
        await one.commit()
        delete = "DELETE FROM email_outbox WHERE id = {}"
        for connection, id_ in ((one, ids[0]), (two, ids[1]), (one, ids[3]), (two, ids[2])):
            await connection.execute(text(delete.format(id_)))
        await one.commit()
        await two.commit()
    await engine.dispose()
