"""T8: what `enqueue` costs an application, beside the INSERT that it would write itself."""

import asyncio
import time
from importlib.util import find_spec
from statistics import median
from typing import Any

from sqlalchemy import create_engine, insert

from benchmarks.databases import Database
from benchmarks.measure import Check, Figure, Result, ratio
from benchmarks.messages import HTML, TEXT
from benchmarks.workbench import Workbench
from outbox import Email, enqueue, enqueue_sync

BARE, NEW, BUILT = "bare INSERT", "enqueue, with its Email", "enqueue alone"

HOW = (
    "In an open transaction, in turns; the median of each run. The bare one is SQLAlchemy Core's `insert()` of the same"
    " columns. What the targets are about includes the making of the `Email`, which checks addresses and headers."
)


class Stopwatch:
    """Microseconds of each kind of call."""

    def __init__(self) -> None:
        self._samples: dict[str, list[float]] = {BARE: [], NEW: [], BUILT: []}
        self._begin = 0.0

    def start(self) -> None:
        """Now."""
        self._begin = time.perf_counter()

    def stop(self, name: str) -> None:
        """Since `start`."""
        self._samples[name].append((time.perf_counter() - self._begin) * 1e6)

    def medians(self) -> dict[str, float]:
        """By kind."""
        return {name: median(samples) for name, samples in self._samples.items()}


def inserts(bench: Workbench) -> Result:
    """T8."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(bench.plan.repeat):
        for place in bench.places:
            with place.fresh() as database:
                runs.setdefault(f"{place.kind}, async", []).append(asyncio.run(_async(database, bench.plan.inserts)))
                if url := _sync_url(database):
                    runs.setdefault(f"{place.kind}, sync", []).append(_sync(url, bench.plan.inserts))
    checks, figures = [], []
    for name, found in runs.items():
        samples = {call: tuple(run[call] for run in found) for call in (BARE, NEW, BUILT)}
        checks.append(Check(ratio(f"{name}: {NEW} / {BARE}", samples[NEW], samples[BARE]), 1.5, at_least=False))
        figures.append(ratio(f"{name}: {BUILT} / {BARE}", samples[BUILT], samples[BARE]))
        figures += [Figure(f"{name}: {call}", "µs", samples[call]) for call in (BARE, NEW, BUILT)]
    return Result("T8", "`enqueue` of one email, against a bare INSERT of the same row", HOW, checks, figures)


def _email(number: int) -> Email:
    return Email(to=f"r{number}@example.org", subject=f"Your order {number}", text=TEXT, html=HTML)


def _row(number: int) -> dict[str, Any]:
    address = f"r{number}@example.org"
    return {"to_addrs": address, "subject": f"Your order {number}", "body_text": TEXT, "body_html": HTML}


def _sync(url: str, count: int) -> dict[str, float]:
    engine, watch, statement = create_engine(url), Stopwatch(), insert(Email)
    with engine.connect() as connection:
        for number in range(count):
            row, email = _row(number), _email(number)
            watch.start()
            connection.execute(statement, row)
            watch.stop(BARE)
            watch.start()
            enqueue_sync(connection, _email(number))
            watch.stop(NEW)
            watch.start()
            enqueue_sync(connection, email)
            watch.stop(BUILT)
    engine.dispose()
    return watch.medians()


async def _async(database: Database, count: int) -> dict[str, float]:
    engine, watch, statement = database.engine(), Stopwatch(), insert(Email)
    async with engine.connect() as connection:
        for number in range(count):
            row, email = _row(number), _email(number)
            watch.start()
            await connection.execute(statement, row)
            watch.stop(BARE)
            watch.start()
            await enqueue(connection, _email(number))
            watch.stop(NEW)
            watch.start()
            await enqueue(connection, email)
            watch.stop(BUILT)
    await engine.dispose()
    return watch.medians()


def _sync_url(database: Database) -> str:
    """For a driver without a loop; empty where none is installed."""
    if database.kind == "SQLite":
        return database.url.replace("+aiosqlite", "")
    return database.url.replace("+asyncpg", "+psycopg") if find_spec("psycopg") else ""
