"""How the databases look for what is old: by the index of what has ended, in its order, and nothing else is read."""

import json

import pytest
from sqlalchemy import event, text

from outbox.core.retention import Rule
from outbox.core.status import Status
from outbox.db import purge
from outbox.db.purge import until
from outbox.db.store import open_store

DAY = 86400.0
NUMBERS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3000)"
COLUMNS = "to_addrs, status, erased, due_at, finished_at"


@pytest.fixture
async def looks(engine, execute):
    """The statement and parameters of a look, from the beginning and behind a place, in a table with many others."""
    long_ago, later = "'2020-01-01 00:00:00'", "'2999-01-01 00:00:00'"
    for status, erased, due, finished in (
        ("sent", "true", "NULL", long_ago),
        ("sent", "false", "NULL", long_ago),
        ("failed", "false", "NULL", long_ago),
        ("pending", "false", later, "NULL"),
    ):
        values = f"'a@example.org', '{status}', {erased}, {due}, {finished}"
        await execute(f"{NUMBERS} INSERT INTO email_outbox ({COLUMNS}) SELECT {values} FROM r")
    await execute("ANALYZE")
    store = open_store(engine)
    said = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *args: said.append((args[2], args[3])))
    for rule in (Rule(Status.SENT, DAY, content_only=True), Rule(Status.EXPIRED, DAY, content_only=True)):
        end = await until(store, rule.age)
        found = await purge._next(store, rule, end, erased=False, behind=None, limit=10)
        if found:
            assert await purge._next(store, rule, end, erased=False, behind=found.last, limit=10)
    yield [(sql, parameters) for sql, parameters in said if "email_outbox" in sql]
    await store.close()


async def test_a_look_reads_the_index_of_what_has_ended_in_order(engine, looks):
    assert len(looks) == 3
    for sql, parameters in looks:
        async with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
                [step] = [row[-1] for row in rows]
                assert step.startswith("SEARCH email_outbox USING COVERING INDEX ix_email_outbox_finished (status=?")
                assert "erased=? AND finished_at" in step or "erased=? AND (finished_at,id)>" in step
                continue
            await connection.execute(text("SET plan_cache_mode = force_custom_plan"))
            rows = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
            plan = rows.scalar_one()
            [scan] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plans"]
            assert scan["Index Name"] == "ix_email_outbox_finished"
            assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}
            assert all(column in scan["Index Cond"] for column in ("status", "erased", "finished_at"))
            assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= 10
