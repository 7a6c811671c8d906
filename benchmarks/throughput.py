"""T1 to T3: how fast a table drains, beside the raw loop that sends ready bytes from memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import postfix
from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result, interleaved, ratio
from benchmarks.plan import Plan
from benchmarks.processes import AT_ONCE, Behaviour
from benchmarks.rows import LITERAL, TEMPLATES, Content, assert_sent, insert, seconds_on_record
from benchmarks.workbench import Run, Workbench

RAW = "aiosmtplib on uvloop, from memory"
RAW_ASYNCIO = "aiosmtplib on asyncio, from memory"
SMTP_SOURCE = "smtp-source (Postfix, C), from memory"
"""Names of the contenders that have no database."""

HOW = (
    "Messages in a second from the first acceptance at the sink to the last; ten connections each. The processor's"
    " time of `outbox` is that of its whole process tree, without what a drain of nothing takes."
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, where to, and how fast it should be."""

    title: str
    bound: float
    content: Content
    count: int
    raw_count: int
    behaviour: Behaviour = AT_ONCE
    second_sink: bool = False


def loads(plan: Plan) -> dict[str, Load]:
    """By target."""
    count, few = plan.throughput, plan.far
    literal = "Drain of rows with text and HTML, 2 kB on the wire"
    templates = "Drain of rows with templates, rendered when they are sent"
    far = "Drain of rows with text and HTML at 20 ms round-trip time"
    return {
        "T1": Load(literal, 1.0, LITERAL, count, count, second_sink=True),
        "T2": Load(templates, 0.8, TEMPLATES, count, count),
        "T3": Load(far, 3.0, LITERAL, few, few // 2, Behaviour(round_trip=0.02)),
    }


def compare(target: str, bench: Workbench) -> Result:
    """One of the three."""
    load = loads(bench.plan)[target]
    drains = {f"outbox, {place.kind}": partial(_drain, bench, load, place) for place in bench.places}
    contenders: dict[str, Callable[[], Run]] = {
        RAW: partial(bench.yardstick, "uvloop", load.raw_count, load.behaviour),
        **drains,
        RAW_ASYNCIO: partial(bench.yardstick, "asyncio", load.raw_count // 2, load.behaviour),
    }
    if postfix.find("smtp-source"):
        contenders[SMTP_SOURCE] = partial(bench.smtp_source, load.raw_count // 2, load.behaviour)
    runs = interleaved(contenders, bench.plan.repeat)
    starts = {f"outbox, {place.kind}": bench.start_cost(place) for place in bench.places}
    rates = {name: [run.rate for run in found] for name, found in runs.items()}
    checks = [Check(ratio(f"{name} / {RAW}", rates[name], rates[RAW]), load.bound, at_least=True) for name in drains]
    figures = list(_figures(runs, starts))
    if postfix.find("smtp-sink") and load.second_sink:
        figures += _into_smtp_sink(bench, load)
    return Result(target, load.title, HOW, checks, figures)


def _drain(bench: Workbench, load: Load, place: Place) -> Run:
    with place.fresh() as database:
        fill(database, load)
        run = bench.drain(database, load.count, load.behaviour)
        assert_sent(database, load.count)
        return run


def fill(database: Database, load: Load) -> None:
    """Insert what is to be sent."""
    insert(database, load.count, load.content)
    database.settle()


def _figures(runs: dict[str, list[Run]], starts: dict[str, float]) -> Iterator[Figure]:
    for name, found in runs.items():
        yield Figure(name, "emails/s", tuple(run.rate for run in found))
    costs = {
        name: [(run.processor - starts.get(name, 0.0)) / run.count * 1e6 for run in found]
        for name, found in runs.items()
    }
    for name, microseconds in costs.items():
        yield Figure(f"{name}: processor per email", "µs", tuple(microseconds))
    for name in starts:
        yield ratio(f"{name} / {RAW}: by processor per email", costs[RAW], costs[name])
    for name in starts:
        found = runs[name]
        yield Figure(f"{name}: whole process", "emails/s", tuple(run.count / run.ended.seconds for run in found))
    for name, found in runs.items():
        yield Figure(f"{name}: load of the sink", "% of a core", tuple(run.sink_share for run in found))


def _into_smtp_sink(bench: Workbench, load: Load) -> list[Figure]:
    """The same two into another server, by other clocks: the client's own, and the times on record."""

    def raw(port: int) -> float:
        _, facts = bench.client("uvloop", load.raw_count, port)
        return load.raw_count / facts["seconds"]

    def drain(port: int, place: Place) -> float:
        with place.fresh() as database:
            fill(database, load)
            with bench.outbox(database, "run", "--drain", port=port) as program:
                program.wait()
            assert_sent(database, load.count)
            return load.count / seconds_on_record(database)

    with postfix.SmtpSink() as server:
        contenders: dict[str, Callable[[], float]] = {RAW: partial(raw, server.port)}
        contenders |= {f"outbox, {place.kind}": partial(drain, server.port, place) for place in bench.places}
        rates = interleaved(contenders, bench.plan.repeat)
    return [Figure(f"{name}: into smtp-sink (Postfix, C)", "emails/s", tuple(found)) for name, found in rates.items()]
