"""T4: how soon an email is on its way when nothing else is, and what waiting for it costs."""

import asyncio
import time
from random import Random
from statistics import quantiles

import psutil
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result
from benchmarks.messages import HTML, TEXT
from benchmarks.plan import Plan
from benchmarks.workbench import Workbench
from outbox import Email, enqueue

BOUNDS = {"PostgreSQL": 6.0, "SQLite": 12.0}
"""Milliseconds."""

WARM_UP = 3
"""Emails that are not counted: the first one opens the connection."""

HOW = (
    "Milliseconds from the call of `commit()` in another process to the acceptance at the sink, one email at a time,"
    " after a pause. Idle: the processor's time of the daemon and its children while there is no email."
)


def latency(bench: Workbench) -> Result:
    """T4."""
    waits: dict[str, list[list[float]]] = {place.kind: [] for place in bench.places}
    idle: dict[str, list[float]] = {place.kind: [] for place in bench.places}
    for _ in range(bench.plan.repeat):
        for place in bench.places:
            found, load = _run(bench, place)
            waits[place.kind].append(found)
            idle[place.kind].append(load)
    checks, figures = [], []
    for kind, runs in waits.items():
        late = Figure(f"outbox, {kind}: commit to accepted, p95", "ms", tuple(_percentile(run, 95) for run in runs))
        idling = Figure(f"outbox, {kind}: idle", "% of a core", tuple(idle[kind]))
        checks += [Check(late, BOUNDS[kind], at_least=False), Check(idling, 1.0, at_least=False)]
        for name, percent in (("p50", 50), ("p99", 99)):
            samples = tuple(_percentile(run, percent) for run in runs)
            figures.append(Figure(f"outbox, {kind}: commit to accepted, {name}", "ms", samples))
    return Result("T4", "From commit to accepted, of an idle daemon", HOW, checks, figures)


def _run(bench: Workbench, place: Place) -> tuple[list[float], float]:
    """The milliseconds of each email, and the load while there were none."""
    bench.sink.begin()
    with place.fresh() as database, bench.outbox(database, "run") as daemon:
        daemon.until(" polls ")
        load = _idle(daemon.pid, bench.plan.idle)
        commits = asyncio.run(_write(bench, database, bench.plan))
        accepted = bench.sink.report(times=True)["times"]
    if len(accepted) != len(commits):
        raise RuntimeError(f"the sink took {len(accepted)} of {len(commits)} emails")
    waits = [(took - commit) * 1000 for commit, took in zip(commits, accepted, strict=True)]
    return waits[WARM_UP:], load


async def _write(bench: Workbench, database: Database, plan: Plan) -> list[float]:
    """When each commit began."""
    engine, chance, commits = database.engine(), Random("pauses"), []
    for number in range(WARM_UP + plan.samples):
        await asyncio.sleep(plan.pause * (0.5 + chance.random()))
        commits.append(await _commit(engine, number))
        while bench.sink.report()["count"] <= number:
            await asyncio.sleep(0.005)
    await engine.dispose()
    return commits


async def _commit(engine: AsyncEngine, number: int) -> float:
    email = Email(to=f"r{number}@example.org", subject=f"Your order {number}", text=TEXT, html=HTML)
    async with engine.connect() as connection:
        await enqueue(connection, email)
        begin = time.monotonic()
        await connection.commit()
        return begin


def _idle(pid: int, seconds: float) -> float:
    before, begin = _processor(pid), time.monotonic()
    time.sleep(seconds)
    return (_processor(pid) - before) / (time.monotonic() - begin) * 100


def _processor(pid: int) -> float:
    daemon = psutil.Process(pid)
    used = [process.cpu_times() for process in (daemon, *daemon.children(recursive=True))]
    return sum(times.user + times.system for times in used)


def _percentile(samples: list[float], percent: int) -> float:
    return quantiles(samples, n=100, method="inclusive")[percent - 1]
