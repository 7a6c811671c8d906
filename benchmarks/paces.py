"""T11: whether several pollers together keep a pace, and use it whole."""

from contextlib import ExitStack

from benchmarks.databases import Place
from benchmarks.measure import Check, Figure, Result, rate
from benchmarks.rows import LITERAL, assert_sent, insert
from benchmarks.workbench import Workbench
from outbox.line import LATE

PACE = 50
"""Emails in a second."""

HOW = (
    "Acceptances at the sink while pollers of their own drain one queue: the most in any window of one second, and"
    f" how many in a second from the first to the last. What is late by up to {LATE:.1f} s can come with what is not."
)


def paces(bench: Workbench) -> Result:
    """T11; only PostgreSQL lets several pollers write at once."""
    most, shares = [], []
    for place in bench.places:
        if place.kind == "PostgreSQL":
            for _ in range(bench.plan.repeat):
                times = _run(bench, place)
                most.append(float(most_within(times, 1.0)))
                shares.append(rate(times) / PACE * 100)
    title = f"{bench.plan.pollers} pollers, {bench.plan.paced:,} emails, rate = {PACE}/s"
    if not most:
        return Result("T11", title, HOW, [], [])
    window = Figure("outbox, PostgreSQL: most in any second", "emails", tuple(most))
    used = Figure("outbox, PostgreSQL: of the pace", "%", tuple(shares))
    checks = [Check(window, PACE * (1 + LATE), at_least=False), Check(used, 95.0, at_least=True)]
    return Result("T11", title, HOW, checks, [])


def most_within(times: list[float], seconds: float) -> int:
    """The most that came in any window of so many seconds."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def _run(bench: Workbench, place: Place) -> list[float]:
    with place.fresh() as database:
        insert(database, bench.plan.paced, LITERAL)
        database.settle()
        bench.sink.begin()
        with ExitStack() as stack:
            drains = [
                stack.enter_context(bench.outbox(database, "run", "--drain", OUTBOX_RATE=f"{PACE}/s"))
                for _ in range(bench.plan.pollers)
            ]
            for drain in drains:
                drain.wait()
        assert_sent(database, bench.plan.paced)
    return sorted(bench.sink.report(times=True)["times"])
