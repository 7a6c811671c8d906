"""T7: what the daemon holds in memory while it sends big files."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.databases import Database
from benchmarks.measure import Check, Figure, Result
from benchmarks.rows import SHORT, assert_sent, insert
from benchmarks.workbench import Workbench

LOOK = 0.02
"""Seconds between looks; what is looked at is a high-water mark, so only the last moment can be missed."""


def memory(bench: Workbench) -> Result:
    """T7."""
    plan = bench.plan
    peaks: dict[str, tuple[float, float]] = {}
    seconds: dict[str, float] = {}
    for place in bench.places:
        with place.fresh() as database:
            _fill(database, plan.files, plan.file_size)
            bench.sink.begin()
            with bench.outbox(database, "run", "--drain") as daemon, _watched(daemon.pid) as marks:
                seconds[place.kind] = daemon.wait().seconds
            assert_sent(database, plan.files)
        peaks[place.kind] = marks[daemon.pid], sum(marks.values())
    checks = [
        Check(Figure(f"outbox, {kind}: peak of the daemon", "MB", (own / 1e6,)), 300.0, at_least=False)
        for kind, (own, _) in peaks.items()
    ]
    figures = [
        Figure(f"outbox, {kind}: peak of the daemon and its children", "MB", (whole / 1e6,))
        for kind, (_, whole) in peaks.items()
    ]
    figures += [Figure(f"outbox, {kind}: whole process", "s", (taken,)) for kind, taken in seconds.items()]
    title = f"{plan.files} emails with an attachment of {plan.file_size >> 20} MiB each"
    how = "VmHWM: the most of physical memory that a process ever held. For the children, the sum of theirs."
    return Result("T7", title, how, checks, figures)


def _fill(database: Database, count: int, size: int) -> None:
    insert(database, count, SHORT)
    ids = [row[0] for row in database.run("SELECT id FROM email_outbox")]
    statement = (
        "INSERT INTO email_attachment (outbox_id, filename, content_type, content)"
        " VALUES (:id, 'file.bin', 'application/octet-stream', :content)"
    )
    for id_ in ids:
        database.run(statement, id=id_, content=os.urandom(size))
    database.settle()


@contextmanager
def _watched(pid: int) -> Iterator[dict[int, int]]:
    """Bytes that each process of the tree held at most, by its id."""
    marks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            with suppress(psutil.Error, OSError):
                for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                    marks[process.pid] = max(marks.get(process.pid, 0), _high_water_mark(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield marks
    finally:
        over.set()
        watcher.join()


def _high_water_mark(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
