"""The SMTP sink, a process of its own: `python -m soak.sink LOG`, with its options as JSON on the first line of stdin.

Each further line of stdin is an order: {"arm": who, "at": point, "pid": …, "signal": …} sends a signal to a daemon the
moment it comes to a point of the session; {"hold": point} keeps all answers there back, {"release": point} gives them.
Points: MAIL RCPT DATA dot (said, not answered yet), answered (the reply to the dot has left). Stdout tells what
happened: {"port": …}, {"fired": who}, {"held": who}.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from soak.faults import Fault
from soak.session import Session, now


class Sink:
    """The state all sessions share."""

    def __init__(self, log: int, options: dict[str, Any]) -> None:
        self.seed = int(options.get("seed", 0))
        self.pipelining = bool(options.get("pipelining"))
        self.ordinary_delay = float(options.get("ordinary_delay", 0.0))
        self.table = {
            stage: [(probability, Fault(**fault)) for probability, fault in faults]
            for stage, faults in options.get("table", {}).items()
        }
        self._log = log
        self._numbers = count(1)
        self._times: Counter[str] = Counter()
        self._armed: dict[tuple[str, str], tuple[int, int]] = {}
        self._held: dict[str, list[Callable[[], None]]] = {}

    def serial(self) -> int:
        return next(self._numbers)

    def times(self, key: str) -> int:
        self._times[key] += 1
        return self._times[key] - 1

    def log(self, event: str, **facts: object) -> None:
        # One write(2) for each line: what was taken stays on record even if this process dies next.
        os.write(self._log, json.dumps({"t": now(), "event": event, **facts}).encode() + b"\n")

    def reached(self, who: str, point: str, go_on: Callable[[], None]) -> bool:
        armed = self._armed.pop((who, point), None)
        if armed:
            pid, number = armed
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return False
            self.log("signal", who=who, at=point, signal=number)
            tell(fired=who, at=point, t=now())
        if point in self._held:
            self._held[point].append(go_on)
            tell(held=who, at=point)
            return True
        return False

    def obey(self, order: dict[str, Any]) -> None:
        """An order from stdin."""
        if "arm" in order:
            self._armed[order["arm"], order["at"]] = order["pid"], order["signal"]
        elif "disarm" in order:
            self._armed = {key: value for key, value in self._armed.items() if key[0] != order["disarm"]}
        elif "hold" in order:
            self._held.setdefault(order["hold"], [])
        elif "release" in order:
            for go_on in self._held.pop(order["release"], []):
                go_on()


def tell(**facts: object) -> None:
    """A line on stdout."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def serve(path: str) -> None:
    """Until stdin ends."""
    orders = await _lines()
    sink = Sink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), json.loads(await orders.readline()))
    server = await asyncio.get_running_loop().create_server(lambda: Session(sink), "127.0.0.1", 0, backlog=1000)
    tell(port=server.sockets[0].getsockname()[1])
    async for line in orders:
        sink.obey(json.loads(line))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    asyncio.run(serve(sys.argv[1]))
