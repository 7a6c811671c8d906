"""T1 to T3: how fast a table drains, beside the raw loop that sends ready bytes from memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.databases import Place
from benchmarks.measure import Check, Figure, Result, interleaved, ratio
from benchmarks.processes import AT_ONCE, Behaviour
from benchmarks.rows import LITERAL, TEMPLATES, Content, assert_sent, insert
from benchmarks.workbench import Run, Workbench, postfix

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

    target: str
    title: str
    bound: float
    content: Content
    count: int
    raw_count: int
    behaviour: Behaviour = AT_ONCE


def literal(bench: Workbench) -> Result:
    """T1."""
    title = "Drain of rows with text and HTML, 2 kB on the wire, against raw aiosmtplib"
    return _compare(bench, Load("T1", title, 1.0, LITERAL, bench.plan.throughput, bench.plan.throughput))


def templates(bench: Workbench) -> Result:
    """T2."""
    title = "Drain of rows with templates (subject, text, HTML with a layout), against raw aiosmtplib"
    return _compare(bench, Load("T2", title, 0.8, TEMPLATES, bench.plan.throughput, bench.plan.throughput))


def far(bench: Workbench) -> Result:
    """T3."""
    title = "Drain of rows with text and HTML at 20 ms round-trip time, against raw aiosmtplib"
    behaviour, count = Behaviour(round_trip=0.02), bench.plan.far
    return _compare(bench, Load("T3", title, 3.0, LITERAL, count, count // 2, behaviour))


def drain(bench: Workbench, load: Load, place: Place) -> Run:
    """One run, on a database of its own."""
    with place.fresh() as database:
        insert(database, load.count, load.content)
        database.settle()
        run = bench.drain(database, load.count, behaviour=load.behaviour)
        assert_sent(database, load.count)
        return run


def start(bench: Workbench, place: Place) -> float:
    """Seconds of the processor for a drain of nothing."""
    with place.fresh() as database:
        database.settle()
        with bench.outbox(database, "run", "--drain") as program:
            return program.wait().processor


def _compare(bench: Workbench, load: Load) -> Result:
    drains = {f"outbox, {place.kind}": partial(drain, bench, load, place) for place in bench.places}
    contenders: dict[str, Callable[[], Run]] = {
        RAW: partial(bench.yardstick, "uvloop", load.raw_count, load.behaviour),
        **drains,
        RAW_ASYNCIO: partial(bench.yardstick, "asyncio", load.raw_count, load.behaviour),
    }
    if postfix("smtp-source"):
        contenders[SMTP_SOURCE] = partial(bench.smtp_source, load.raw_count, load.behaviour)
    runs = interleaved(contenders, bench.plan.repeat)
    starts = {f"outbox, {place.kind}": start(bench, place) for place in bench.places}
    rates = {name: [run.rate for run in found] for name, found in runs.items()}
    checks = [Check(ratio(f"{name} / {RAW}", rates[name], rates[RAW]), load.bound, at_least=True) for name in drains]
    return Result(load.target, load.title, HOW, checks, list(_figures(runs, starts)))


def _figures(runs: dict[str, list[Run]], starts: dict[str, float]) -> Iterator[Figure]:
    for name, found in runs.items():
        yield Figure(name, "emails/s", tuple(run.rate for run in found))
    for name, found in runs.items():
        used = tuple(run.processor - starts.get(name, 0.0) for run in found)
        costs = (seconds / run.count * 1e6 for seconds, run in zip(used, found, strict=True))
        yield Figure(f"{name}: processor per email", "µs", tuple(costs))
    for name in starts:
        found = runs[name]
        yield Figure(f"{name}: whole process", "emails/s", tuple(run.count / run.ended.seconds for run in found))
    for name, found in runs.items():
        yield Figure(f"{name}: load of the sink", "% of a core", tuple(run.sink_share for run in found))
