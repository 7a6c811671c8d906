"""What all measurements share: the sink, the databases, a folder, and how `outbox` and the yardstick are run."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

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

    def place(self, kind: str) -> list[Place]:
        """The places of that kind; none where it is left out."""
        return [place for place in self.places if place.kind == kind]

    @contextmanager
    def outbox(self, database: Database, *arguments: str, port: int = 0, **more: str) -> Iterator[Program]:
        """`outbox …` as a process of its own, with its defaults and ten connections."""
        environment = settings(database.url, port or self.sink.port, OUTBOX_TEMPLATES=str(self.templates), **more)
        environment.setdefault("OUTBOX_MAX_CONNECTIONS", str(CONNECTIONS))
        with Program((sys.executable, "-m", "outbox", *arguments), self._log(), environment=environment) as program:
            yield program

    def drain(self, database: Database, count: int, *arguments: str, behaviour: Behaviour = AT_ONCE) -> Run:
        """Run `outbox run --drain` until the sink has taken all `count` emails that are due."""
        self.sink.begin(behaviour)
        with self.outbox(database, "run", "--drain", *arguments) as program:
            return self._run(count, program.wait())

    def yardstick(self, loop: str, count: int, behaviour: Behaviour = AT_ONCE) -> Run:
        """The raw loop over pooled connections of aiosmtplib, from memory."""
        self.sink.begin(behaviour)
        options = {"port": self.sink.port, "loop": loop, "count": count, "message": self._message}
        command = (sys.executable, "-m", "benchmarks.client", json.dumps({**options, "connections": CONNECTIONS}))
        log = self._log()
        with Program(command, log, environment=settings("", PYTHONPATH=str(ROOT))) as program:
            ended = program.wait()
        return self._run(count, ended, json.loads(log.read_text())["processor"])

    def smtp_source(self, count: int, behaviour: Behaviour = AT_ONCE) -> Run:
        """Postfix's test client, in C."""
        self.sink.begin(behaviour)
        size = str(len(self._message))
        load = ("-d", "-s", str(CONNECTIONS), "-m", str(count), "-l", size)
        command = (postfix("smtp-source"), *load, f"inet:127.0.0.1:{self.sink.port}")
        with Program(command, self._log()) as program:
            return self._run(count, program.wait())

    def _run(self, count: int, ended: Ended, processor: float | None = None) -> Run:
        report = self.sink.report()
        if report["count"] != count:
            raise RuntimeError(f"the sink took {report['count']} messages, not {count}")
        used = ended.processor if processor is None else processor
        return Run(count, report["first"], report["last"], ended, used, report["processor"])

    def _log(self) -> Path:
        return self.folder / f"{next(self._numbers)}.log"


def postfix(name: str) -> str:
    """Where a program of Postfix is; empty where it is not installed."""
    return shutil.which(name, path="/usr/sbin:/usr/lib/postfix/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin") or ""
