"""What could never be sent is refused at INSERT, with a message that names the fault; plain DELETEs leave nothing."""

import re
import sqlite3
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from outbox.db.engine import create_engine
from tests.db.rows import Execute, insert

REFUSED = {
    "status must be one of the known ones": "status = 'paused', due_at = NULL",
    "priority must be 0 urgent, 1 normal or 2 bulk": "priority = 3",
    "on_doubt must be resend or hold": "on_doubt = 'never'",
    "due_at must be set exactly when status is pending or sending": "status = 'sent'",
    "at least one recipient in to_addrs, cc_addrs or bcc_addrs": "to_addrs = ' ', cc_addrs = ''",
    "max_attempts must be 1 to 1000": "max_attempts = 0",
    "attempts must be 0 to 1000000": "attempts = 2147483647",
}


@pytest.fixture
def sqlite_execute(sqlite_database):
    """`execute` on SQLite by a plain connection, as `sqlite3` on the command line makes one: foreign keys off."""
    connection = sqlite3.connect(sqlite_database.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)

    async def execute(sql, params=()):
        cursor = connection.execute(sql, params)
        names = [column[0] for column in cursor.description or ()]
        return [SimpleNamespace(**dict(zip(names, values, strict=True))) for values in cursor.fetchall()]

    yield execute
    connection.close()


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_never_be_sent_is_refused_by_a_readable_name(execute, name):
    await insert(execute)
    with pytest.raises(DBAPIError, match=re.escape(name)):
        await execute(f"UPDATE email_outbox SET {REFUSED[name]}")


async def test_a_pending_email_needs_a_due_time(execute):
    with pytest.raises(DBAPIError, match="due_at must be set exactly when"):
        await insert(execute, due_at=None)


async def test_no_recipient_at_all_is_refused_and_one_of_any_kind_is_enough(execute):
    with pytest.raises(DBAPIError, match="at least one recipient"):
        await execute("INSERT INTO email_outbox (subject) VALUES ('to nobody')")
    await execute("INSERT INTO email_outbox (bcc_addrs) VALUES ('a@example.org')")


@pytest.mark.parametrize("column", ["due_at", "expires_at", "created_at", "finished_at"])
@pytest.mark.parametrize(
    "value",
    [
        *("'2026-01-02T03:04:05'", "'2026-01-02 03:04:05Z'", "'2026-01-02 03:04:05+01:00'", "'2026-01-02'"),
        *("'2026-01-02 03:04'", "'2026-02-31 00:00:00'", "'2026-01-02 24:00:00'", "'2026-01-02 03:04:60'"),
        *("'2026-01-02 03:04:05.'", "'2026-01-02 03:04:05.5x'", "'2026-01-02 03:04:05.5+01'", "1767323045", "'now'"),
        *("'0000-01-01 00:00:00'", "' 2026-01-02 03:04:05'", "''", "x'323032362d30312d30322030333a30343a3035'", "1.5"),
    ],
)
async def test_sqlite_refuses_a_time_that_would_not_compare(sqlite_execute, column, value):
    await insert(sqlite_execute)
    with pytest.raises(sqlite3.IntegrityError, match=f"{column} must be UTC as"):
        await sqlite_execute(f"UPDATE email_outbox SET {column} = {value}")


@pytest.mark.parametrize(
    "value",
    [
        *("2026-01-02 03:04:05", "2026-01-02 03:04:05.5", "2028-02-29 00:00:00.123456"),
        *("2026-12-31 23:59:59.9995", "2026-01-02 03:04:05.999999", "2026-01-02 03:04:59.9999999999"),
    ],
)
async def test_sqlite_takes_a_time_with_and_without_a_fraction(sqlite_execute, value):
    await insert(sqlite_execute, due_at=value, expires_at=value)


@pytest.mark.parametrize("column", ["due_at", "expires_at", "created_at", "finished_at"])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "0001-01-01 00:00:00 BC", "10000-01-01 00:00:00"])
async def test_postgresql_refuses_times_that_are_never_due_or_overflow(postgres_database, column, value):
    engine = create_engine(postgres_database)
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match=f"{column} must be between the years 1 and 9999"):
            await connection.execute(
                text(f"INSERT INTO email_outbox (to_addrs, {column}) VALUES ('a@x.org', '{value}')")
            )
    await engine.dispose()


async def test_an_attachment_has_exactly_one_place_for_its_bytes(execute):
    id_ = await insert(execute)
    with pytest.raises(DBAPIError, match="exactly one of content and blob_id"):
        await execute(f"INSERT INTO email_attachment (outbox_id, filename) VALUES ({id_}, 'empty')")


async def test_an_attempt_has_a_known_outcome(execute):
    id_ = await insert(execute)
    with pytest.raises(DBAPIError, match="outcome must be one of the known ones"):
        await execute(
            "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome)"
            f" VALUES ({id_}, 1, 'a@x.org', 'bounced')"
        )


async def fill(execute: Execute) -> tuple[int, int]:
    """Two emails that share a blob, the first with an attempt; their ids."""
    one, two = await insert(execute), await insert(execute)
    await execute("INSERT INTO email_blob (id, sha256, content) VALUES (1, 'x', :content)", {"content": b"x"})
    for id_ in (one, two):
        await execute(f"INSERT INTO email_attachment (outbox_id, filename, blob_id) VALUES ({id_}, 'a', 1)")
    await execute(
        f"INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome) VALUES ({one}, 1, 'a@x.org', 'accepted')"
    )
    return one, two


async def count(execute: Execute, table: str) -> int:
    [row] = await execute(f"SELECT count(*) AS rows FROM {table}")
    return int(row.rows)


async def test_a_plain_delete_takes_what_belongs_to_the_email_and_a_blob_with_its_last_user(execute):
    one, two = await fill(execute)
    await execute(f"DELETE FROM email_outbox WHERE id = {one}")
    tables = ("email_attachment", "email_attempt", "email_blob")
    assert [await count(execute, table) for table in tables] == [1, 0, 1]
    await execute(f"DELETE FROM email_outbox WHERE id = {two}")
    assert [await count(execute, table) for table in tables] == [0, 0, 0]


async def test_a_delete_works_without_enforced_foreign_keys_too(sqlite_execute):
    one, two = await fill(sqlite_execute)
    await sqlite_execute(f"DELETE FROM email_outbox WHERE id IN ({one}, {two})")
    tables = ("email_attachment", "email_attempt", "email_blob")
    assert [await count(sqlite_execute, table) for table in tables] == [0, 0, 0]


async def test_an_id_is_never_used_again(execute):
    id_ = await insert(execute)
    await execute("DELETE FROM email_outbox")
    assert await insert(execute) > id_


async def test_a_blob_survives_when_somebody_begins_to_use_it_while_its_last_user_is_deleted(postgres_database):
    engine = create_engine(postgres_database)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO email_outbox (to_addrs) VALUES ('a@x.org'), ('b@x.org')"))
        await connection.execute(text("INSERT INTO email_blob (sha256, content) VALUES ('x', 'x')"))
        await connection.execute(text("INSERT INTO email_attachment (outbox_id, filename, blob_id) VALUES (1, 'a', 1)"))
    for level in ("READ COMMITTED", "REPEATABLE READ"):
        async with engine.connect() as deleting, engine.connect() as using:
            await deleting.execution_options(isolation_level=level)
            await deleting.execute(text("SELECT count(*) FROM email_attachment"))  # the snapshot is taken
            await using.execute(text("INSERT INTO email_attachment (outbox_id, filename, blob_id) VALUES (2, 'b', 1)"))
            await using.commit()
            await deleting.execute(text("DELETE FROM email_attachment WHERE filename = 'a'"))
            await deleting.commit()
            assert (await using.execute(text("SELECT count(*) FROM email_blob"))).scalar_one() == 1
            await using.execute(text("UPDATE email_attachment SET filename = 'a'"))
            await using.commit()
    await engine.dispose()
