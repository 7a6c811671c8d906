"""T12: how soon an urgent email is on its way while a mountain of bulk mail is being sent."""

import asyncio
import time
from random import Random
from statistics import quantiles

from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result, ratio
from benchmarks.processes import Behaviour
from benchmarks.rows import SHORT, insert
from benchmarks.workbench import Workbench
from outbox import Email, enqueue

WATCHED = "urgent"
BEHAVIOUR = Behaviour(dot_delay=0.05, watch=WATCHED)
WARM_UP = 3

HOW = (
    "Milliseconds from the call of `commit()` in another process to the acceptance at a sink that answers the final"
    " dot after 50 ms; of urgent emails, one at a time, with nothing else to do and while bulk mail is being sent as"
    " fast as ten connections can. That bulk mail moves meanwhile is checked."
)


def urgency(bench: Workbench) -> Result:
    """T12."""
    checks, figures = [], []
    for place in bench.places:
        idle, busy = [], []
        for _ in range(bench.plan.repeat):
            idle.append(_run(bench, place, 0))
            busy.append(_run(bench, place, bench.plan.bulk))
        worst = {name: [_p95(waits) for waits in runs] for name, runs in (("idle", idle), ("busy", busy))}
        name = f"outbox, {place.kind}: p95 beside bulk mail / idle"
        checks.append(Check(ratio(name, worst["busy"], worst["idle"]), 2.0, at_least=False))
        figures += [
            Figure(f"outbox, {place.kind}: commit to accepted, {when}, p95", "ms", tuple(found))
            for when, found in worst.items()
        ]
    title = f"Urgent emails beside {bench.plan.bulk:,} of bulk mail, against an idle daemon"
    return Result("T12", title, HOW, checks, figures)


def _run(bench: Workbench, place: Place, bulk: int) -> list[float]:
    """The milliseconds of each urgent email."""
    with place.fresh() as database:
        insert(database, bulk, SHORT, priority="2")
        database.settle()
        bench.sink.begin(BEHAVIOUR)
        with bench.outbox(database, "run") as daemon:
            daemon.until(" polls ")
            commits = asyncio.run(_write(bench, database))
            report = bench.sink.report(times=True)
    if len(report["times"]) != len(commits):
        raise RuntimeError(f"the sink took {len(report['times'])} of {len(commits)} urgent emails")
    if bulk and report["count"] <= len(commits):
        raise RuntimeError("no bulk mail was sent beside the urgent emails")
    waits = [(took - commit) * 1000 for commit, took in zip(commits, report["times"], strict=True)]
    return waits[WARM_UP:]


async def _write(bench: Workbench, database: Database) -> list[float]:
    """When each commit began."""
    engine, chance, commits = database.engine(), Random("pauses"), []
    for number in range(WARM_UP + bench.plan.samples):
        await asyncio.sleep(bench.plan.pause * (0.5 + chance.random()))
        email = Email(to=f"{WATCHED}{number}@example.org", subject="Your code", text=f"It is {number}.", priority=0)
        async with engine.connect() as connection:
            await enqueue(connection, email)
            commits.append(time.monotonic())
            await connection.commit()
        while len(bench.sink.report(times=True)["times"]) <= number:
            await asyncio.sleep(0.005)
    await engine.dispose()
    return commits


def _p95(waits: list[float]) -> float:
    return quantiles(waits, n=100, method="inclusive")[94]
