"""T13: what a purge costs the mail that flows meanwhile, and that it touches nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.databases import Database, Place
from benchmarks.measure import Check, Figure, Result, interleaved, ratio
from benchmarks.rows import assert_sent, insert, insert_finished, insert_future
from benchmarks.workbench import Workbench

ALONE, BESIDE = "without a purge", "beside a purge"

KEPT = 1000
"""Emails that ended just now, and as many that are due later: nothing may happen to them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Emails in a second while the drain lasted, and in a second of the purge."""

    rate: float
    purged: float


def purges(bench: Workbench) -> Result:
    """T13."""
    plan, checks, figures = bench.plan, [], []
    for place in bench.places:
        contenders: dict[str, Callable[[], Measured]] = {
            ALONE: partial(_drain, bench, place, purge=False),
            BESIDE: partial(_drain, bench, place, purge=True),
        }
        runs = interleaved(contenders, plan.repeat)
        rates = {name: [run.rate for run in found] for name, found in runs.items()}
        name = f"outbox, {place.kind}"
        checks.append(Check(ratio(f"{name}: {BESIDE} / {ALONE}", rates[BESIDE], rates[ALONE]), 0.8, at_least=True))
        for contender, found in rates.items():
            figures.append(Figure(f"{name}: drain {contender}", "emails/s", tuple(found)))
        purged = tuple(run.purged for run in runs[BESIDE])
        figures.append(Figure(f"{name}: the purge, from its start to its end", "emails/s", purged))
    how = (
        f"`outbox run --drain` of {plan.beside:,} emails, and `outbox purge` of {plan.purged:,} others begun with it,"
        f" against a drain from the same table alone. {2 * KEPT:,} more are looked at: nothing happens to them."
    )
    return Result("T13", f"A purge of {plan.purged:,} emails while mail flows", how, checks, figures)


def _drain(bench: Workbench, place: Place, *, purge: bool) -> Measured:
    plan = bench.plan
    with place.fresh() as database:
        insert_finished(database, plan.purged, days_ago=100)
        insert_finished(database, KEPT, tag="'kept'")
        insert_future(database, KEPT, tag="'kept'")
        insert(database, plan.beside)
        database.settle()
        before = _others(database)
        if not purge:
            return Measured(bench.drain(database, plan.beside).rate, 0.0)
        with bench.outbox(database, "purge", "--older-than", "30d") as program:
            rate = bench.drain(database, plan.beside).rate
            seconds = program.wait().seconds
        if _others(database) != before:
            raise RuntimeError("the purge touched emails that are none of its business")
        assert_sent(database, plan.beside + KEPT)
    return Measured(rate, plan.purged / seconds)


def _others(database: Database) -> list[tuple[object, ...]]:
    """What should stay as it is, in figures that anything done to it would change."""
    columns = "status, count(*), sum(id), sum(length(body_text)), min(due_at), max(due_at)"
    others = f"SELECT {columns} FROM email_outbox WHERE tag = 'kept' GROUP BY status ORDER BY status"
    return [tuple(row) for row in database.run(others)]
