"""`python -m soak`: runs the plans, judges, tells. Exit code 1 when a promise was broken."""

import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import text

from outbox.db.engine import create_engine
from soak.databases import Database, Postgres, Sqlite
from soak.faults import STORMY
from soak.judge import Evidence, Judge, Judgement
from soak.plan import Plan, plans
from soak.programs import SinkProcess
from soak.report import as_json, log_facts, table
from soak.theatre import Theatre

ROWS = "SELECT id, tag, status, attempts, on_doubt, claimed_by, due_at, last_error, message_id FROM email_outbox"
ATTEMPTS = "SELECT outbox_id, attempt, recipient, outcome, code, poller FROM email_attempt ORDER BY id"


async def play(plan: Plan, folder: Path) -> tuple[Theatre, Judgement]:
    """Run one plan in a folder of its own, and judge it."""
    async with AsyncExitStack() as stack:
        database: Database = Postgres() if plan.database == "postgresql" else Sqlite(folder)
        await stack.enter_async_context(database)
        options = {"seed": plan.seed, "ordinary_delay": 0.15, "pipelining": plan.pipelining}
        sink = SinkProcess(folder / "sink.jsonl", table=STORMY, **options)
        await stack.enter_async_context(sink)
        theatre = Theatre(plan, database, sink, folder)
        await theatre.run()
        rows, attempts = await _read(theatre.url, ROWS), await _read(theatre.url, ATTEMPTS)
        (folder / "rows.json").write_text(json.dumps([rows, attempts], default=str))
        names = {daemon.name: daemon.label for daemon in theatre.all_daemons}
        evidence = Evidence(rows, attempts, sink.events(), theatre.diary, names, plan.lease, plan.connections)
        return theatre, Judge(evidence).judge()


async def _read(url: str, query: str) -> list[dict[str, Any]]:
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query))).mappings()]
    finally:
        await engine.dispose()


async def _all(given: list[Plan], folder: Path) -> list[tuple[Theatre, Judgement]]:
    return await asyncio.gather(*(play(plan, folder / plan.database) for plan in given))


def main() -> int:
    """The exit code."""
    given, options = plans()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    for plan in given:
        (folder / plan.database).mkdir()
    print(f"evidence is kept in {folder}", flush=True)
    results = asyncio.run(_all(given, folder))
    print(table(results))
    Path(options.json).write_text(json.dumps([as_json(*result) for result in results], indent=2) + "\n")
    faults = [fault for _, found in results for fault in (*found.broken, *found.lost, *found.stuck)]
    for fault in faults[:100]:
        print(f"  BROKEN  {fault}")
    for theatre, _ in results:
        for line in log_facts(theatre).unexpected[:20]:
            print(f"  LOG  {theatre.plan.database}: {line}")
    if not faults and not options.keep:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
