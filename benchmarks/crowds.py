"""T5 and T6: whether what is finished, not due yet, or dead and not yet vacuumed makes a drain slow."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result, interleaved, rate, ratio
from benchmarks.rows import insert, insert_finished, insert_future
from benchmarks.workbench import Workbench


def crowded(bench: Workbench) -> Result:
    """T5."""
    plan, checks, figures = bench.plan, [], []
    for place in bench.places:
        with place.fresh() as empty, place.fresh() as full:
            insert_finished(full, plan.finished)
            insert_future(full, plan.future)
            full.settle()
            contenders = {"empty": partial(_due, bench, empty), "full": partial(_due, bench, full)}
            runs = interleaved(contenders, plan.repeat)
        seconds = {name: [run[0] for run in found] for name, found in runs.items()}
        name = f"outbox, {place.kind}: a full table / an empty one"
        checks.append(Check(ratio(name, seconds["full"], seconds["empty"]), 1.2, at_least=False))
        for table, found in runs.items():
            figures.append(Figure(f"outbox, {place.kind}, {table} table", "s", tuple(seconds[table])))
            whole = tuple(run[1] for run in found)
            figures.append(Figure(f"outbox, {place.kind}, {table} table: whole process", "s", whole))
    how = (
        f"Beside {plan.finished:,} finished rows and {plan.future:,} future ones. Seconds from the first poll to the"
        " last acceptance, so that a slow claim counts."
    )
    return Result("T5", f"Drain of {plan.due:,} rows from a full table, against an empty one", how, checks, figures)


def _due(bench: Workbench, database: Database) -> tuple[float, float]:
    """Seconds from the first poll to the last acceptance, and of the whole process."""
    insert(database, bench.plan.due)
    bench.sink.begin()
    with bench.outbox(database, "run", "--drain") as daemon:
        ended = daemon.wait()
        begin = daemon.said(" polls ")
    report = bench.sink.report()
    if begin is None or report["count"] != bench.plan.due:
        raise RuntimeError(f"the sink took {report['count']} of {bench.plan.due} emails")
    return report["last"] - begin, ended.seconds


def snapshot(bench: Workbench) -> Result:
    """T6."""
    shares, rates = [], []
    count = bench.plan.snapshot
    for place in bench.places:
        if place.kind != "PostgreSQL":
            continue
        first, last, all_ = _beside_snapshot(bench, place, count)
        shares.append(last / first)
        rates.append((first, last, all_))
    if not shares:
        return Result("T6", "only for PostgreSQL", "", [], [])
    check = Check(Figure("outbox, PostgreSQL: last tenth / first tenth", "x", tuple(shares)), 0.8, at_least=True)
    names = ("first tenth", "last tenth", "all")
    figures = [
        Figure(f"outbox, PostgreSQL: {name}", "emails/s", tuple(samples))
        for name, samples in zip(names, zip(*rates, strict=True), strict=True)
    ]
    how = "A transaction of another session, REPEATABLE READ, is open all the while, so that nothing can be vacuumed."
    return Result("T6", f"Drain of {count:,} rows beside an old snapshot", how, [check], figures)


def _beside_snapshot(bench: Workbench, place: Place, count: int) -> tuple[float, float, float]:
    with place.fresh() as database:
        insert(database, count)
        database.settle()
        with _old_snapshot(database):
            bench.drain(database, count)
        times = bench.sink.report(times=True)["times"]
    tenth = count // 10
    return rate(times[:tenth]), rate(times[-tenth:]), rate(times)


@contextmanager
def _old_snapshot(database: Database) -> Iterator[None]:
    with asyncio.Runner() as runner:
        engine = database.engine()
        connection = runner.run(_look(engine))
        try:
            yield
        finally:
            runner.run(connection.close())
            runner.run(engine.dispose())


async def _look(engine: AsyncEngine) -> AsyncConnection:
    """A connection whose transaction has seen what is there now."""
    connection = await engine.connect()
    await connection.execution_options(isolation_level="REPEATABLE READ")
    await connection.execute(text("SELECT count(*) FROM email_outbox"))
    return connection
