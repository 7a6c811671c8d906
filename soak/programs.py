"""The processes of a soak or a test: the sink and daemons. Started, signalled at named points, stopped, read."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self

from soak.faults import QUIET, Table
from soak.session import now

_NAME = re.compile(r"outbox: (\S+) polls ")


class SinkProcess:
    """The sink, from outside: `async with SinkProcess(log) as sink`."""

    def __init__(self, log: Path, *, table: Table = QUIET, **options: Any) -> None:
        self.log = log
        self.port = 0
        self._options = {
            "table": {stage: [(p, asdict(f)) for p, f in faults] for stage, faults in table.items()},
            **options,
        }
        self._fired: dict[str, asyncio.Future[float]] = {}
        self._held: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "soak.sink", str(self.log)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert self._process.stdout
        self._order(**self._options)
        self.port = json.loads(await self._process.stdout.readline())["port"]
        self._listening = asyncio.create_task(self._listen(self._process.stdout))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    def arm(self, daemon: "Daemon", point: str, number: int = signal.SIGKILL) -> "asyncio.Future[float]":
        """Signal `daemon` the next time it comes to `point`; when that was."""
        fired = self._fired[daemon.label] = asyncio.get_running_loop().create_future()
        self._order(arm=daemon.label, at=point, pid=daemon.pid, signal=int(number))
        return fired

    def disarm(self, daemon: "Daemon") -> None:
        """Forget what was armed."""
        self._order(disarm=daemon.label)

    def hold(self, point: str) -> None:
        """Keep answers back at `point`, until `release`."""
        self._order(hold=point)

    def release(self, point: str) -> None:
        """Answer all that wait at `point`, now and later."""
        self._order(release=point)

    async def held(self) -> str:
        """Until an answer is kept back; the label of the daemon that waits for it."""
        return await self._held.get()

    def events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log, or one kind of line of it."""
        with self.log.open() as lines:
            found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [line for line in found if event is None or line["event"] == event]

    def _order(self, **order: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            told = json.loads(line)
            if "held" in told:
                self._held.put_nowait(told["held"])
            fired = self._fired.pop(told.get("fired", ""), None)
            if fired and not fired.done():
                fired.set_result(told["t"])


class Process(Protocol):
    """What is used of a process: asyncio's, or one that is like it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """What it ended with, once that is known."""

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """What it logs."""

    async def wait(self) -> int:
        """Until it ends; what with."""


class Daemon:
    """A real `python -m outbox run`. Its label is what it calls itself in EHLO; `name` is the poller's own."""

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.name = ""
        self.started = now()
        self.ended: float | None = None
        self.lines: list[str] = []
        self.marked = False
        """Somebody is about to break it; nobody else should."""
        self._file = folder / f"{label}.log"
        self._folder = folder
        self._changed = asyncio.Event()

    async def start(self, environment: Mapping[str, str], *options: str) -> None:
        """Begin to run; `ready` tells when it polls."""
        env = {**_without_settings(), **environment, "OUTBOX_LOCAL_HOSTNAME": self.label}
        self._process = await self._launch("run", *options, env=env, cwd=self._folder)
        assert self._process.stderr
        self._reading = asyncio.create_task(self._read(self._process.stderr))

    @staticmethod
    async def _launch(*arguments: str, env: Mapping[str, str], cwd: Path) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", *arguments),
            env=env,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as we know."""
        return self.ended is None

    def send(self, number: int) -> None:
        """Send a signal."""
        # Not by the process's own method: it looks whether the process has ended, and then asyncio does not learn how.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ready(self) -> bool:
        """Until it polls; False where it ended before."""
        await self.until(lambda: bool(self.name) or not self.alive)
        return bool(self.name)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until `condition()`, which is looked at with every line that it logs and at its end."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def said(self, words: str) -> None:
        """Until it logs `words`."""
        await self.until(lambda: any(words in line for line in self.lines) or not self.alive)
        assert any(words in line for line in self.lines), "".join(self.lines[-20:])

    async def wait(self) -> int:
        """Until it ends; its exit code."""
        await self._reading
        return await self._process.wait()

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it and wait."""
        self.send(number)
        self.send(signal.SIGCONT)
        return await self.wait()

    async def _read(self, errors: asyncio.StreamReader) -> None:
        with self._file.open("w") as file:
            async for raw in errors:
                line = raw.decode("utf-8", "replace")
                self.lines.append(line)
                file.write(line)
                found = None if self.name else _NAME.search(line)
                if found:
                    self.name = found[1]
                self._changed.set()
        await self._process.wait()
        self.ended = now()
        self._changed.set()


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
