"""T9: four pollers beside one, where the server takes its time."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result, interleaved, rate, ratio
from benchmarks.processes import Behaviour
from benchmarks.rows import LITERAL, assert_sent, insert
from benchmarks.workbench import Workbench

SLOW = Behaviour(dot_delay=0.05)
ONE, SEPARATE, TOGETHER = "one poller", "several of their own", "several by --processes"

HOW = (
    "Messages in a second at a sink that answers the final dot after 50 ms; ten connections for each poller. Counted"
    " without the first fifth of the acceptances and the last, so that all pollers run; the whole is told as well."
)


def pollers(bench: Workbench) -> Result:
    """T9; only PostgreSQL lets several pollers write at once."""
    title = f"{bench.plan.pollers} pollers against one, where each answer takes 50 ms"
    checks, figures = [], []
    for place in bench.places:
        if place.kind != "PostgreSQL":
            continue
        many = bench.plan.slow * bench.plan.pollers
        contenders: dict[str, Callable[[], tuple[float, float]]] = {
            ONE: partial(_drain, bench, place, bench.plan.slow, _alone),
            SEPARATE: partial(_drain, bench, place, many, _separate),
            TOGETHER: partial(_drain, bench, place, many, _together),
        }
        runs = interleaved(contenders, bench.plan.repeat)
        steady = {name: [run[0] for run in found] for name, found in runs.items()}
        for name in (SEPARATE, TOGETHER):
            check = ratio(f"outbox, PostgreSQL: {name} / {ONE}", steady[name], steady[ONE])
            checks.append(Check(check, 0.9 * bench.plan.pollers, at_least=True))
        for name, found in runs.items():
            figures.append(Figure(f"outbox, PostgreSQL: {name}", "emails/s", tuple(run[0] for run in found)))
            whole = tuple(run[1] for run in found)
            figures.append(Figure(f"outbox, PostgreSQL: {name}, first to last", "emails/s", whole))
    return Result("T9", title, HOW, checks, figures)


def _drain(
    bench: Workbench, place: Place, count: int, run: Callable[[Workbench, Database], None]
) -> tuple[float, float]:
    """The rate in the middle, and of all."""
    with place.fresh() as database:
        insert(database, count, LITERAL)
        database.settle()
        bench.sink.begin(SLOW)
        run(bench, database)
        assert_sent(database, count)
    times = bench.sink.report(times=True)["times"]
    edge = count // 5
    return rate(times[edge:-edge]), rate(times)


def _alone(bench: Workbench, database: Database) -> None:
    with bench.outbox(database, "run", "--drain") as poller:
        poller.wait()


def _separate(bench: Workbench, database: Database) -> None:
    with ExitStack() as stack:
        started = [stack.enter_context(bench.outbox(database, "run", "--drain")) for _ in range(bench.plan.pollers)]
        for poller in started:
            poller.wait()


def _together(bench: Workbench, database: Database) -> None:
    with bench.outbox(database, "run", "--drain", "--processes", str(bench.plan.pollers)) as parent:
        parent.wait()
