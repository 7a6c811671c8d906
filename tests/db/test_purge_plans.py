"""How the databases look for what is old: by the index of what has ended, in its order, and nothing else is read."""

import json
from functools import partial

import pytest
from sqlalchemy import Engine, event, text

from outbox.core.retention import Rule
from outbox.core.status import Status
from outbox.db import purge
from outbox.db.operations import Operations
from outbox.db.purge import until
from outbox.db.store import open_store

DAY = 86400.0
_first = partial(purge._next, erased=False, behind=None, limit=10)
NUMBERS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3000)"
COLUMNS = "to_addrs, status, erased, due_at, finished_at"


@pytest.fixture
async def many(execute):
    """A table with many emails of several kinds, about which the database has no statistics."""
    long_ago, later = "'2020-01-01 00:00:00'", "'2999-01-01 00:00:00'"
    for status, erased, due, finished in (
        ("sent", "true", "NULL", long_ago),
        ("sent", "false", "NULL", long_ago),
        ("failed", "false", "NULL", long_ago),
        ("pending", "false", later, "NULL"),
    ):
        values = f"'a@example.org', '{status}', {erased}, {due}, {finished}"
        await execute(f"{NUMBERS} INSERT INTO email_outbox ({COLUMNS}) SELECT {values} FROM r")


@pytest.fixture
def said():
    """Statements with their parameters, as they are said, over whatever connection."""
    found = []

    def note(*args):
        found.append((args[2], args[3]))

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture
async def looks(many, engine, execute, said):
    """The statement and parameters of a look, from the beginning and behind a place, in a table with statistics."""
    await execute("ANALYZE")
    store = open_store(engine)
    for rule in (Rule(Status.SENT, DAY, content_only=True), Rule(Status.EXPIRED, DAY, content_only=True)):
        end = await until(store, rule.age)
        found = await _first(store, rule, end)
        if found:
            assert await purge._next(store, rule, end, erased=False, behind=found.last, limit=10)
    yield [(sql, parameters) for sql, parameters in said if "ORDER BY email_outbox.finished_at" in sql]
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


async def test_whether_mail_flows_is_read_from_the_end_of_an_index(many, engine, said):
    store = open_store(engine)
    await _first(store, Rule(Status.SENT, DAY, content_only=True), await until(store, DAY))
    await store.close()
    [(sql, parameters)] = [(sql, parameters) for sql, parameters in said if "finished_at >" in sql]
    async with engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
        plan = str([*map(tuple, await connection.exec_driver_sql(f"{explain} {sql}", parameters))])
    assert "ix_email_outbox_finished" in plan
    assert all(column in plan.split("ix_email_outbox_finished")[1] for column in ("status", "erased", "finished_at"))


async def test_emails_that_were_found_are_looked_up_by_their_ids_alone(many, engine, execute, said):
    store = open_store(engine)
    ids = [row.id for row in await execute("SELECT id FROM email_outbox WHERE status = 'failed' LIMIT 100")]
    rule = Rule(Status.FAILED, DAY, content_only=False)
    said.clear()
    await Operations(engine).retry(ids[:50])
    await purge._take(store, rule, await until(store, rule.age), ids[50:])
    await store.close()
    by_id = [(sql, parameters) for sql, parameters in said if "email_outbox.id IN" in sql]
    assert len(by_id) >= 3
    for sql, parameters in by_id:
        async with engine.connect() as connection:
            explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
            plan = str([*map(tuple, await connection.exec_driver_sql(f"{explain} {sql}", parameters))])
        assert "ix_email_outbox_" not in plan, sql
        assert ("USING INTEGER PRIMARY KEY" if explain.endswith("PLAN") else "pk_email_outbox") in plan, sql
