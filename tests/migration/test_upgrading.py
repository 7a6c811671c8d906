"""Rows that were there before a revision come through it."""

import pytest
from alembic import command
from sqlalchemy import Connection

from outbox.db.schema import HEAD
from tests.db.rows import insert
from tests.migration.test_schema import ini


async def test_what_ended_before_has_an_end_in_time_and_sensitive_content_counts_as_erased(engine, execute):
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(ini(c), "0003"))
    secret = await insert(execute, status="failed", due_at=None, sensitive=True)
    cancelled = await insert(execute, status="cancelled", due_at=None)
    waiting = await insert(execute, sensitive=True)
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.upgrade(ini(c), "head"))
    rows = await execute("SELECT id, erased, finished_at = created_at AS timed FROM email_outbox ORDER BY id")
    found = [(r.id, bool(r.erased), r.timed and bool(r.timed)) for r in rows]
    assert found == [(secret, True, True), (cancelled, False, True), (waiting, False, None)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_tables_made_when_some_times_were_refused_take_them_afterwards(engine, execute):
    def make_older(connection: Connection) -> None:
        command.downgrade(ini(connection), "0004")
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        older = "UPDATE sqlite_master SET sql = replace(sql, 'datetime(substr(' || ?1 || ', 1, 19)', 'datetime(' || ?1)"
        for column in ("due_at", "finished_at", "next_send_at"):
            connection.exec_driver_sql(older, (column,))
        connection.exec_driver_sql("PRAGMA writable_schema = OFF")

    async with engine.begin() as connection:
        await connection.run_sync(make_older)
    await engine.dispose()
    with pytest.raises(Exception, match="due_at must be UTC"):
        await insert(execute, due_at="2026-11-29 09:25:44.999999")
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.upgrade(ini(c), HEAD))
    await insert(execute, due_at="2026-11-29 09:25:44.999999")
    await execute("INSERT INTO email_transport (name, next_send_at) VALUES ('a', '2026-11-29 09:25:59.9999')")
    with pytest.raises(Exception, match="due_at must be UTC"):
        await insert(execute, due_at="2026-02-31 09:25:44.999999")
    assert [tuple(row) for row in await execute("PRAGMA integrity_check")] == [("ok",)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_an_end_in_no_real_year_is_mended(engine, execute):
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(ini(c), "0004"))
    await execute(
        "INSERT INTO email_outbox (to_addrs, status, due_at, finished_at) VALUES ('a@b.org', 'sent', NULL, '-infinity')"
    )
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.upgrade(ini(c), "head"))
    assert (await execute("SELECT finished_at = created_at AS mended FROM email_outbox"))[0].mended
