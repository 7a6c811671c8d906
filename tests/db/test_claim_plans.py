"""How the databases run a claim: by the index alone, in order, reading only what it takes, whatever else there is."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import asyncpg
import pytest

from outbox.db import postgresql, sqlite
from outbox.db.lanes import LANES
from outbox.db.marks import LOWEST, everything

SHARES = [5, 20, 10, 2, 1, 1]
"""Rows to take of each lane, at each of two gates."""

GATES = ["", "default"]
COLUMNS = "INSERT INTO email_outbox (to_addrs, transport, priority, status, due_at) SELECT 'a@x.org', {}, n % 3,"


def due(now: str, numbers: str) -> list[str]:
    named = "CASE WHEN n % 5 = 0 THEN 'default' END"
    return [f"{COLUMNS.format(named)} 'pending', {now} FROM {numbers.format(600)}"]


def others(future: str, numbers: str) -> list[str]:
    """Statements that insert rows which are no business of a claim, in every lane: those of a transport that cannot
    take any among them."""
    unnamed = COLUMNS.format("NULL")
    return [
        f"{unnamed} 'sent', NULL FROM {numbers.format(6000)}",
        f"{unnamed} 'pending', {future} FROM {numbers.format(3000)}",
        f"{unnamed} 'sending', {future} FROM {numbers.format(300)}",
        *(statement.replace("'default'", "'slow'") for statement in due("'2020-01-01 00:00:00'", numbers)),
    ]


@pytest.fixture
async def postgres(postgres_database):
    connection = await asyncpg.connect(postgres_database.replace("+asyncpg", ""))
    numbers = "generate_series(1, {}) AS n"
    for statement in (*others("now() + interval '1 day'", numbers), *due("now()", numbers)):
        await connection.execute(statement)
    yield connection
    await connection.close()


async def steps(connection: Any, sql: str, *args: Any) -> list[Any]:
    """The nodes of the plan, with what each of them really did."""

    def nodes(plan: Any) -> list[Any]:
        return [plan, *(inner for child in plan.get("Plans", ()) for inner in nodes(child))]

    [(found,)] = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)
    return nodes(json.loads(found)[0]["Plan"])


def rows_read(step: Any) -> float:
    removed = step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
    return float((step["Actual Rows"] + removed) * step["Actual Loops"])


@pytest.mark.parametrize("analyzed", [False, True])
async def test_the_claim_on_postgresql_reads_the_due_index_in_order_and_only_what_it_takes(postgres, analyzed):
    if analyzed:
        await postgres.execute("ANALYZE")
    bounds = everything(len(SHARES))
    places = [at for at, _ in bounds.places], [id_ for _, id_ in bounds.places], bounds.ages
    cells = [gate for gate in GATES for _ in LANES], [*LANES, *LANES]
    claim = (*cells, SHARES, *places, [1, 2], False, sum(SHARES), "token", "poller", 60.0, "<p.", "@x>")
    found = await steps(postgres, postgresql._TAKE, *claim)
    assert not [step for step in found if "Sort" in step["Node Type"]]
    reads = [step for step in found if step.get("Relation Name") == "email_outbox" and "Scan" in step["Node Type"]]
    assert not [step for step in reads if step["Node Type"] == "Seq Scan"]
    [queue] = [step for step in reads if step.get("Index Name") == "ix_email_outbox_due"]
    assert "Filter" in queue
    assert all(column in queue["Index Cond"] for column in ("gate", "priority", "due_at <=", "ROW(due_at, id) >"))
    assert all(rows_read(step) <= 1.1 * sum(SHARES) for step in reads)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_result_on_postgresql_reads_its_own_rows_and_no_others(postgres, analyzed):
    if analyzed:
        await postgres.execute("ANALYZE")
    ids = list(range(1, 11))
    ended = {"token": "token", "status": "sent", "delay": 0.0, "given_back": 0, "error": None, "final": True}
    attempts = [[id, 1, "a@x.org", "accepted", 250, None, None, None, None] for id in ids]
    verdicts = [json.dumps({"id": id, **ended}) for id in ids]
    found = await steps(postgres, postgresql._RECORD, verdicts, [1], json.dumps(attempts))
    reads = [step for step in found if step.get("Relation Name") == "email_outbox" and "Scan" in step["Node Type"]]
    assert [step["Node Type"] for step in reads] == ["Index Scan"]
    assert all(rows_read(step) <= 10 for step in reads)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_which_gates_are_filled_postgresql_finds_by_one_look_into_the_due_index_for_each_lane(postgres, analyzed):
    if analyzed:
        await postgres.execute("ANALYZE")
    found = await steps(postgres, postgresql._FILLED, [*GATES, "@empty.example"], LOWEST, None)
    reads = [step for step in found if step.get("Relation Name") == "email_outbox"]
    assert [step.get("Index Name") for step in reads] == ["ix_email_outbox_due"]
    assert all(rows_read(step) <= 3 * len(LANES) for step in reads)


class Counted:
    """A SQLite database that counts the steps of its machine, by hundreds."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1

    def cost(self, sql: str, how: dict[str, Any]) -> int:
        self.steps = 0
        self.connection.set_progress_handler(self._step, 100)
        self.connection.execute(sql, how).fetchall()
        self.connection.set_progress_handler(None, 0)
        return self.steps


NUMBERS = "(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {}) SELECT n FROM r)"
LOOK = {
    **{f"share{cell}": share for cell, share in enumerate(SHARES)},
    **{f"gate{number}": gate for number, gate in enumerate(GATES)},
    "held": "[1, 2]",
    "gates": json.dumps(GATES),
    "lanes": json.dumps(LANES),
    "suspect": 3,
    "wait": "-60 seconds",
    "suspects": 0,
}
CLAIM = {**LOOK, "token": "t", "poller": "p", "lease": "+60 seconds", "prefix": "<p.", "suffix": "@x>"}


@pytest.fixture
def counted(sqlite_database):
    made = Counted(sqlite_database.removeprefix("sqlite+aiosqlite:///"))
    with closing(made.connection):
        yield made


def plan(connection: sqlite3.Connection, sql: str, how: dict[str, Any]) -> list[str]:
    return [str(row[-1]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", how)]


@pytest.mark.parametrize(("sql", "looks"), [(sqlite._due(len(GATES)), 6), (sqlite._ANY, 1)], ids=["due", "any"])
def test_the_claim_on_sqlite_reads_the_due_index_in_order_and_only_what_it_takes(counted, sql, looks):
    for statement in due("datetime('now', '-1 second')", NUMBERS):
        counted.connection.execute(statement)
    alone = counted.cost(sql, CLAIM)
    for statement in others("datetime('now', '+1 day')", NUMBERS):
        counted.connection.execute(statement)
    assert counted.cost(sql, CLAIM) <= alone + 1
    found = plan(counted.connection, sql, CLAIM)
    due_index = "USING INDEX ix_email_outbox_due (gate=? AND priority=? AND due_at<?)"
    assert sum(due_index in step for step in found) == looks
    assert not [step for step in found if step.startswith("SCAN email_outbox")]
    assert not [step for step in found if "TEMP B-TREE" in step]


def test_which_gates_are_filled_sqlite_finds_by_one_look_into_the_due_index_for_each_lane(counted):
    found = plan(counted.connection, sqlite._FILLED, {"gates": json.dumps(GATES)})
    due_index = "USING INDEX ix_email_outbox_due (gate=? AND priority=? AND due_at<?)"
    assert [due_index in step for step in found if "email_outbox" in step] == [True]


def test_a_result_on_sqlite_finds_its_rows_by_their_ids(counted):
    found = plan(counted.connection, sqlite._FINISH, {"results": "[]"})
    assert "SEARCH email_outbox USING INTEGER PRIMARY KEY (rowid=?)" in found
    assert not [step for step in found if step.startswith("SCAN email_outbox")]
