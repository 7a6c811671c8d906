"""The processes of a measurement, from outside: the sink, senders, daemons. All have ended when their `with` has."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 60.0
"""Seconds for a daemon to begin."""

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Seconds that the sink lets pass: for a round trip to it, and between a final dot and its answer. It tells the
    times of messages to `watch`, or of all."""

    round_trip: float = 0.0
    dot_delay: float = 0.0
    watch: str = ""


AT_ONCE = Behaviour()


class Sink:
    """The SMTP server, from outside."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "benchmarks.sink"),
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._answer()["port"])
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def begin(self, behaviour: Behaviour = AT_ONCE) -> None:
        """Forget what was counted, and behave like that from now on."""
        self._order(begin=asdict(behaviour))

    def report(self, *, times: bool = False) -> dict[str, Any]:
        """What was counted since `begin`."""
        return self._order(report="times" if times else True)

    def _order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended by itself. Processor time is that of it and of all whom it started and waited for."""

    began: float
    seconds: float
    processor: float


class Program:
    """A process that is measured. `with Program(…) as program: ended = program.wait()`."""

    def __init__(
        self, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, code: int = 0
    ) -> None:
        self._command = command
        self._log = log
        self._environment = environment
        self._code = code

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self, words: str) -> float | None:
        """When it logged `words`, by the monotonic clock; None if it has not yet."""
        for line in self._log.read_text().splitlines():
            if words in line:
                moment = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
                return moment.timestamp() - time.time() + time.monotonic()
        return None

    def until(self, words: str) -> None:
        """Until it has logged `words`. Raises TimeoutError."""
        while not self.said(words):
            if time.monotonic() - self.began > PATIENCE:
                raise TimeoutError(f"{self._command[1:4]} did not say {words!r}:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.02)

    def wait(self) -> Ended:
        """Until it ends by itself. Raises RuntimeError, with what it said, where its exit code is not the right one."""
        _, status, usage = os.wait4(self._process.pid, 0)
        seconds = time.monotonic() - self.began
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != self._code:
            said = self._log.read_text()[-3000:]
            raise RuntimeError(f"{self._command[1:4]} ended with {self._process.returncode}:\n{said}")
        return Ended(self.began, seconds, usage.ru_utime + usage.ru_stime)


def settings(database_url: str, port: int = 0, **more: str) -> dict[str, str]:
    """The environment of an `outbox` process: this one's, with no other setting of outbox than those."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
    return {
        **inherited,
        "OUTBOX_DATABASE_URL": database_url,
        "OUTBOX_SMTP_URL": f"smtp://127.0.0.1:{port or 25}",
        "OUTBOX_SENDER": "Shop <shop@example.org>",
        **more,
    }
