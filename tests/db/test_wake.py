"""Hints that there are new emails."""

from sqlalchemy.ext.asyncio import AsyncSession

from outbox.db.models import Email
from outbox.db.wake import DataVersion, subscribe
from outbox.enqueue import enqueue


def email() -> Email:
    return Email(to="ada@example.org", subject="Hi")


async def test_subscribers_hear_of_a_commit_after_it_and_never_of_a_rollback(engine, store):
    heard = []
    unsubscribe = subscribe(lambda: heard.append(1))
    async with AsyncSession(engine) as session:
        session.add(email())
        await session.flush()
        await session.rollback()
        assert heard == []
        session.add(email())
        await session.flush()
        assert heard == []
        await session.commit()
    assert heard == [1]
    async with engine.begin() as connection:
        await enqueue(connection, email(), email())
        assert heard == [1]
    assert heard == [1, 1]
    unsubscribe()
    async with engine.begin() as connection:
        await enqueue(connection, email())
    assert heard == [1, 1]


async def test_transactions_without_emails_wake_nobody(engine, execute):
    async with engine.begin() as connection:
        await enqueue(connection, email())
    heard = []
    unsubscribe = subscribe(lambda: heard.append(1))
    await execute("UPDATE email_outbox SET tag = 'x'")
    unsubscribe()
    assert heard == []


async def test_the_data_version_of_a_sqlite_file_tells_of_others_commits(sqlite_database):
    from outbox.db.engine import create_engine

    engine = create_engine(sqlite_database)
    watched = DataVersion(str(engine.url.database))
    assert not watched.changed()
    async with engine.connect() as connection:
        await enqueue(connection, email())
        assert not watched.changed()
        await connection.commit()
    assert watched.changed()
    assert not watched.changed()
    watched.close()
    await engine.dispose()
