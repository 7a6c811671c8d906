"""What all measurements share: the sink, the databases, a folder, and how `outbox` and the yardstick are run."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from benchmarks import postfix
from benchmarks.databases import Database, Place, Postgres, Sqlite
from benchmarks.messages import ready, write_templates
from benchmarks.plan import Plan
from benchmarks.processes import AT_ONCE, ROOT, Behaviour, Ended, Program, Sink, settings

CONNECTIONS = 10


@dataclass(frozen=True, slots=True)
class Run:
    """So many messages from first to last, as the sink took them."""

    count: int
    first: float
    last: float
    ended: Ended
    processor: float
    sink_processor: float

    @property
    def rate(self) -> float:
        """Messages in a second, from the first acceptance to the last."""
        return (self.count - 1) / (self.last - self.first)

    @property
    def sink_share(self) -> float:
        """Percent of a core that the sink used meanwhile: far from all of it, or it was the sink that was measured."""
        return self.sink_processor / (self.last - self.first) * 100


class Workbench:
    """Everything is there between `__enter__` and `__exit__`."""

    def __init__(self, plan: Plan, folder: Path, kinds: Sequence[str]) -> None:
        self.plan = plan
        self.folder = folder
        self._kinds = kinds
        self._stack = ExitStack()
        self._numbers = count(1)
        self._message = ready().decode()
        self._start_costs: dict[str, float] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.sink = stack.enter_context(Sink())
            self.places: list[Place] = []
            if "SQLite" in self._kinds:
                self.places.append(stack.enter_context(Sqlite(self.folder)))
            if "PostgreSQL" in self._kinds:
                self.places.append(stack.enter_context(Postgres()))
            self.templates = write_templates(self.folder / "templates")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def outbox(
        self,
        database: Database,
        *arguments: str,
        port: int = 0,
        module: Sequence[str] = ("outbox",),
        **variables: str,
    ) -> Iterator[Program]:
        """`outbox …` as a process of its own, with its defaults and these variables; `port` and `module` replace sink
        and program."""
        environment = settings(
            database.url,
            port or self.sink.port,
            OUTBOX_TEMPLATES=str(self.templates),
            OUTBOX_MAX_CONNECTIONS=str(CONNECTIONS),
            PYTHONPATH=str(ROOT),
            **variables,
        )
        command = (sys.executable, "-m", *module, *arguments)
        with Program(command, self.new_file("log"), environment=environment) as program:
            yield program

    def drain(self, database: Database, count: int, behaviour: Behaviour = AT_ONCE) -> Run:
        """Run `outbox run --drain`. Raises RuntimeError where the sink did not take `count` emails."""
        self.sink.begin(behaviour)
        with self.outbox(database, "run", "--drain") as program:
            return self._run(count, program.wait())

    def start_cost(self, place: Place) -> float:
        """Seconds of the processor for a drain of nothing."""
        if place.kind not in self._start_costs:
            with place.fresh() as database, self.outbox(database, "run", "--drain") as program:
                self._start_costs[place.kind] = program.wait().processor
        return self._start_costs[place.kind]

    def yardstick(self, loop: str, count: int, behaviour: Behaviour = AT_ONCE) -> Run:
        """The raw loop over pooled connections of aiosmtplib, from memory."""
        self.sink.begin(behaviour)
        ended, facts = self.client(loop, count, self.sink.port)
        return self._run(count, ended, facts["processor"])

    def client(self, loop: str, count: int, port: int) -> tuple[Ended, dict[str, float]]:
        """The raw loop, and what it tells of itself."""
        options = {"port": port, "loop": loop, "count": count, "message": self._message, "connections": CONNECTIONS}
        command = (sys.executable, "-m", "benchmarks.client", json.dumps(options))
        log = self.new_file("log")
        with Program(command, log, environment={**os.environ, "PYTHONPATH": str(ROOT)}) as program:
            ended = program.wait()
        return ended, json.loads(log.read_text())

    def smtp_source(self, count: int, behaviour: Behaviour = AT_ONCE) -> Run:
        """Postfix's test client, in C."""
        self.sink.begin(behaviour)
        load = ("-d", "-s", str(CONNECTIONS), "-m", str(count), "-l", str(len(self._message)))
        command = (postfix.find("smtp-source"), *load, f"inet:127.0.0.1:{self.sink.port}")
        with Program(command, self.new_file("log")) as program:
            return self._run(count, program.wait())

    def new_file(self, ending: str) -> Path:
        """A path that nothing is at."""
        return self.folder / f"{next(self._numbers)}.{ending}"

    def _run(self, count: int, ended: Ended, processor: float | None = None) -> Run:
        report = self.sink.report()
        if report["count"] != count:
            raise RuntimeError(f"the sink took {report['count']} messages, not {count}")
        used = ended.processor if processor is None else processor
        return Run(count, report["first"], report["last"], ended, used, report["processor"])
