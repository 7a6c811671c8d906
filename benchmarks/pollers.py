"""T9: four pollers beside one, where the server takes its time."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.databases import Database
from benchmarks.measure import Check, Figure, Result, interleaved, rate, ratio
from benchmarks.processes import Behaviour
from benchmarks.rows import LITERAL, assert_sent, insert
from benchmarks.workbench import Workbench

POLLERS = 4
SLOW = Behaviour(dot_delay=0.05)

HOW = (
    "Messages in a second at a sink that answers the final dot after 50 ms; ten connections for each poller. Counted"
    " without the first tenth of the acceptances and the last, so that all pollers run; the whole is told as well."
)


def pollers(bench: Workbench) -> Result:
    """T9."""
    contenders: dict[str, Callable[[], tuple[float, float]]] = {
        "one poller": partial(_drain, bench, bench.plan.slow, _alone),
        "four of their own": partial(_drain, bench, bench.plan.slow * POLLERS, _separate),
        "--processes 4": partial(_drain, bench, bench.plan.slow * POLLERS, _together),
    }
    if not any(place.kind == "PostgreSQL" for place in bench.places):
        return Result("T9", "only for PostgreSQL", HOW, [], [])
    runs = interleaved(contenders, bench.plan.repeat)
    steady = {name: [run[0] for run in found] for name, found in runs.items()}
    checks = [
        Check(ratio(f"outbox, PostgreSQL: {name} / one poller", steady[name], steady["one poller"]), 3.6, at_least=True)
        for name in ("four of their own", "--processes 4")
    ]
    figures = [Figure(f"outbox, PostgreSQL: {name}", "emails/s", tuple(samples)) for name, samples in steady.items()]
    for name, found in runs.items():
        whole = Figure(f"outbox, PostgreSQL: {name}, first to last", "emails/s", tuple(run[1] for run in found))
        figures.append(whole)
    return Result("T9", "Four pollers against one, where each answer takes 50 ms", HOW, checks, figures)


def _drain(bench: Workbench, count: int, run: Callable[[Workbench, Database], None]) -> tuple[float, float]:
    """The rate in the middle, and of all."""
    [place] = [place for place in bench.places if place.kind == "PostgreSQL"]
    with place.fresh() as database:
        insert(database, count, LITERAL)
        database.settle()
        bench.sink.begin(SLOW)
        run(bench, database)
        assert_sent(database, count)
    times = bench.sink.report(times=True)["times"]
    edge = count // 10
    return rate(times[edge:-edge]), rate(times)


def _alone(bench: Workbench, database: Database) -> None:
    with bench.outbox(database, "run", "--drain") as poller:
        poller.wait()


def _separate(bench: Workbench, database: Database) -> None:
    with ExitStack() as stack:
        for poller in [stack.enter_context(bench.outbox(database, "run", "--drain")) for _ in range(POLLERS)]:
            poller.wait()


def _together(bench: Workbench, database: Database) -> None:
    with bench.outbox(database, "run", "--drain", "--processes", str(POLLERS)) as parent:
        parent.wait()
