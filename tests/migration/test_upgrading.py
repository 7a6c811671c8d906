"""Rows that were there before a revision come through it."""

from alembic import command

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
