"""One child that composes, as its parent sees it: one request at a time, killed whenever its answer is not awaited.

It is spoken to over a pair of sockets, so it reads the end of its input however this process ends, kill -9 included.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from outbox.core.address import Mailbox
from outbox.mail.frames import Reply, frame, parse_reply, reply_length

START_TIMEOUT = 30.0
"""Seconds in which a child has to be ready, on a machine however busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSettings:
    """What a child is started with."""

    sender: Mailbox
    templates: Path | None
    memory: int
    max_size: int


class ChildDiedError(Exception):
    """The child ended in the middle of a request."""


class StartError(Exception):
    """No child could be started."""


class Child(asyncio.Protocol):
    """A running child. `alive` says whether it can take another request."""

    def __init__(self, process: "subprocess.Popen[bytes]", largest_reply: int) -> None:
        self.alive = True
        self._process = process
        self._largest_reply = largest_reply
        self._received = bytearray()
        self._answer: asyncio.Future[Reply] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reaped: asyncio.Future[int] | None = None

    @classmethod
    async def start(cls, settings: ChildSettings) -> "Child":
        """A child that is ready. Raises StartError."""
        try:
            process, ours = _spawn()
        except OSError as error:
            raise StartError(str(error)) from error
        child = cls(process, settings.max_size * 8 + (1 << 24))
        await asyncio.get_running_loop().create_unix_connection(lambda: child, sock=ours)
        told = asdict(settings) | {
            "sender": [settings.sender.name, settings.sender.local, settings.sender.domain],
            "templates": settings.templates and str(settings.templates.absolute()),
        }
        try:
            await child.ask(frame(told), START_TIMEOUT)
        except TimeoutError as error:
            raise StartError(f"it was not ready within {START_TIMEOUT:.0f} s") from error
        except ChildDiedError as error:
            raise StartError(f"it {how_it_ended(await child.end())}") from error
        return child

    async def ask(self, pieces: Iterable[bytes], seconds: float) -> Reply:
        """The answer to a request. Raises ChildDiedError, or TimeoutError after `seconds`; then the child is gone.

        It is gone after a cancellation too: its next answer would be the one to this request.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(seconds, self._fail, TimeoutError())
        try:
            if not self.alive:
                raise ChildDiedError  # noqa: TRY301  # as if it had died a moment later
            for piece in pieces:
                self._transport.write(piece)
                if not self._writable.is_set():
                    await self._writable.wait()
                if answer.done():
                    break
            return await answer
        except BaseException:
            self.kill()
            raise
        finally:
            timer.cancel()
            self._answer = None

    def kill(self) -> None:
        """End it at once."""
        self.alive = False
        self._process.kill()
        self._transport.abort()
        if self._reaped is None:
            # In a thread, because taking half a gigabyte apart takes the kernel a moment.
            self._reaped = asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    async def end(self) -> int:
        """Until nothing is left of a killed child, not even a zombie; its exit code, or minus a signal."""
        if self._reaped is not None:
            await asyncio.shield(self._reaped)
        return self._process.returncode or 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received += data
        length = reply_length(self._received)
        if length is None or len(self._received) < length <= self._largest_reply:
            return
        answer, received = self._answer, self._received
        self._received = bytearray()
        try:
            if length != len(received) or answer is None or answer.done():
                raise ValueError("an answer to nothing, or one without an end")  # noqa: TRY301  # handled below
            answer.set_result(parse_reply(received))
        except ValueError:
            self.kill()
            self._fail(ChildDiedError())

    def pause_writing(self) -> None:
        """See asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """See asyncio."""
        self.kill()
        self._fail(ChildDiedError())

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._writable.set()


def how_it_ended(code: int) -> str:
    """The exit code of a process in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _spawn() -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """The child, and our end of the sockets.

    It finds what this process finds, knows none of its secrets, and is outside of its group, which Ctrl-C is for. Not
    asyncio's subprocess: that needs a child watcher or the main thread, which an application's loop may not have.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "outbox.mail.child_main"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    ours.setblocking(False)
    return process, ours
