"""T10: how long a person waits for `outbox status`."""

from functools import partial

from benchmarks.databases import Database
from benchmarks.measure import Check, Figure, Result, interleaved
from benchmarks.processes import Ended
from benchmarks.rows import SHORT, insert, insert_finished
from benchmarks.workbench import Workbench


def status(bench: Workbench) -> Result:
    """T10."""
    checks, figures = [], []
    for place in bench.places:
        with place.fresh() as database:
            insert_finished(database, 100)
            insert(database, 10, SHORT)
            runs = interleaved({"status": partial(_status, bench, database)}, bench.plan.starts)["status"]
        whole = Figure(f"outbox status, {place.kind}", "s", tuple(run.seconds for run in runs))
        checks.append(Check(whole, 0.5, at_least=False))
        figures.append(Figure(f"outbox status, {place.kind}: processor", "s", tuple(run.processor for run in runs)))
    how = "Seconds from the start of the process to its end, with 110 rows."
    return Result("T10", "`outbox status`, start to finish, on a small database", how, checks, figures)


def _status(bench: Workbench, database: Database) -> Ended:
    with bench.outbox(database, "status") as program:
        return program.wait()
