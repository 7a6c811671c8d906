"""What systemd is told of this process (sd_notify(3)): that it is ready, alive, stopping, and how it is.

Three words over a datagram socket need no library. Where nobody listens (no NOTIFY_SOCKET), nothing is said.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Protocol, Self

CALM = 10.0
"""Seconds between two words where no watchdog asks for more."""


class Systemd:
    """`send` takes what sd_notify(3) defines, e.g. `READY=1`, and gives False where it could not be told. `watchdog`:
    seconds after which silence is taken for death, None where nobody minds."""

    def __init__(self, send: Callable[[str], object] | None, watchdog: float | None = None) -> None:
        self.listens = send is not None
        self._send = send or (lambda _: None)
        self.watchdog = watchdog
        self.interval = min(CALM, watchdog / 3) if watchdog else CALM
        """Seconds after which something should be said again."""
        self._untold = ""
        """What must not be lost, and was not heard yet: without it a start counts as failed in the end."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """The one that started this process, if one did."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "")
        watchdog = int(microseconds) / 1e6 if meant and microseconds.isdecimal() and int(microseconds) else None
        return cls(lambda text: _send_to(address, text), watchdog)

    def ready(self, status: str) -> None:
        """It works."""
        self._untold = "READY=1\n"
        self._say(f"STATUS={status}")

    def alive(self, status: str) -> None:
        """It still works."""
        self._say(f"WATCHDOG=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """How it is, whether it works or not."""
        self._say(f"STATUS={status}")

    def stopping(self) -> None:
        """It has been told to stop, and will when it is done."""
        self._send("STOPPING=1\nSTATUS=stopping: finishing what is in flight")

    def _say(self, text: str) -> None:
        if self._send(f"{self._untold}{text}") is not False:
            self._untold = ""


class Alive(Protocol):
    """What is looked at to tell whether a poller is alive."""

    @property
    def rounds(self) -> int:
        """Goes up while it goes round."""
        ...

    @property
    def leaving(self) -> bool:
        """Whether it has been told to stop. It goes round no more, and what it still does has its own bound."""
        ...

    @property
    def status(self) -> str:
        """How it is, in one line."""
        ...

    def look(self) -> None:
        """Have it go round soon."""
        ...


async def tell_life(systemd: Systemd, poller: Alive) -> None:
    """Until cancelled: that `poller` is alive, if it has gone round since the last time. An event loop that stands
    still says nothing either."""
    before = -1
    while systemd.listens:
        rounds = poller.rounds
        if rounds != before or poller.leaving:
            systemd.alive(poller.status)
        else:
            systemd.status(f"the poll loop stands still: {poller.status}")
        before = rounds
        poller.look()
        await asyncio.sleep(systemd.interval)


def _send_to(address: str, text: str) -> bool:
    """Whether it was taken: nobody may be there, or have no time just now. Mail goes on; a watchdog that hears nothing
    will act."""
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.connect(name)
            out.send(text.encode(errors="backslashreplace"))
    except OSError:
        return False
    return True
