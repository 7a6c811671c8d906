"""One child that composes, as its parent sees it: it answers requests one after the other, in the order they were put.

It is spoken to over a pair of sockets, so it reads the end of its input however this process ends, kill -9 included.
"""

import asyncio
import mmap
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import astuple, dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, cast

from outbox.core.address import Mailbox
from outbox.mail.frames import (
    Bulk,
    Reply,
    chunks_of,
    framed,
    parse_reply,
    read_progress,
    reply_length,
    settings_of,
)
from outbox.mail.signing_key import KeyFile
from outbox.mail.spawn import spawn


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSettings:
    """What a child is started with."""

    sender: Mailbox
    templates: Path | None
    memory: int
    max_size: int
    keys: Sequence[KeyFile] = ()
    redirect_to: Mailbox | None = None


class ChildDiedError(Exception):
    """The child ended while it worked at this request."""


class NotServedError(Exception):
    """The child ended, or is busy for long, without fault of this request."""


class StartError(Exception):
    """No child could be started."""


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """What a child is asked. `user` names what is likely to behave alike: a template."""

    user: str
    head: bytes
    bulk: Bulk = ()
    alone: bool = False
    """Whether nobody else should wait in the same child meanwhile."""
    patient: bool = False
    """Whether it is never postponed."""
    allowance: float = 0.0
    """Seconds of processor time besides the limit."""
    limit: float = 0.0
    number: int = 0
    """Which of the requests to its child it is."""
    child: "Child | None" = None
    answer: "asyncio.Future[Reply]" = dataclass_field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def seconds(self) -> float:
        """The processor time that a child is given for it."""
        return self.limit + self.allowance


class Child(asyncio.Protocol):
    """A running child, or one that is starting. `alive` says whether it can take another request."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        progress: mmap.mmap,
        largest_reply: int,
        on_answer: Callable[[], None],
    ) -> None:
        self.alive = True
        self.queue: deque[Request] = deque()
        """What it was asked and has not answered, in its order."""
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        """Since when it was seen at work at the same request, at most."""
        self._seen = 0
        self._asked = 0
        self._progress = progress
        self._process = process
        self._largest_reply = largest_reply
        self._on_answer = on_answer
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._work: set[asyncio.Task[None]] = set()
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._reaped: asyncio.Future[int] | None = None

    @classmethod
    def start(cls, settings: ChildSettings, on_answer: Callable[[], None]) -> "Child":
        """A child that starts: its first answer, to the request of nobody, is that it is ready. Raises StartError."""
        told = Request(user="", head=settings_of(_told(settings)))
        try:
            process, ours, progress = spawn()
        except OSError as error:
            raise StartError(str(error)) from error
        child = cls(process, progress, settings.max_size * 8 + (1 << 24), on_answer)
        child.put(told)
        child._begin(child._connect(ours))
        return child

    @property
    def starting(self) -> bool:
        """Whether it is not ready yet."""
        return bool(self.queue) and not self.queue[0].user

    @property
    def at(self) -> Request | None:
        """What it works at; the answers to those before it are on their way."""
        number = read_progress(self._progress)
        return next((request for request in self.queue if request.number == number), None)

    def look(self) -> float:
        """For how long it has been at the same request."""
        number, now = read_progress(self._progress), self._loop.time()
        if number != self._seen:
            self._seen, self.since = number, now
        return now - self.since

    def put(self, request: Request) -> None:
        """Ask it. `request.answer` becomes the answer, or NotServedError, or what `kill` is told."""
        if not self.queue:
            self.since = self._loop.time()
        request.child, request.number, self._asked = self, self._asked, self._asked + 1
        self.queue.append(request)
        self._unsent.append(framed(request.head, request.seconds))
        if request.bulk:
            self._begin(self._send_bulk(request))
        elif len(self._unsent) == 1:
            self._loop.call_soon(self._send)  # with whatever else is asked in this round

    def kill(self, blame: Exception | None = None) -> None:
        """End it at once; the request that it works at is answered by `blame`."""
        if self.alive:
            self.alive = False
            self._process.kill()
            if self._transport:
                self._transport.abort()
            # In a thread, because taking half a gigabyte apart takes the kernel a moment.
            self._reaped = self._loop.run_in_executor(None, self._process.wait)
            self._writable.set()
            self._loop.call_soon(self._on_answer)
        guilty = self.at or (self.queue[0] if self.queue else None)  # somebody, or it could go on forever
        if self.starting:
            self.queue.popleft()
            self._answer_all(blame if isinstance(blame, StartError) else blame and StartError())
        elif guilty and blame:
            _fail(guilty, blame)
        self._answer_all(None)

    async def end(self) -> int:
        """Until nothing is left of a killed child, not even a zombie; its exit code, or minus a signal."""
        if self._reaped is not None:
            await asyncio.shield(self._reaped)
        return self._process.returncode or 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()
        self._send()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received += data
        try:
            self._take_answers()
        except ValueError:
            self.kill(ChildDiedError())
        self._on_answer()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """See asyncio."""
        self.kill(ChildDiedError())

    def _take_answers(self) -> None:
        """Raises ValueError for nonsense."""
        start, received = 0, self._received
        while (length := reply_length(received, start)) is not None:
            if length > self._largest_reply or not self.queue:
                raise ValueError("an answer to nothing, or one without an end")
            if start + length > len(received):
                break
            reply = parse_reply(received, start)
            start += length
            request = self.queue.popleft()
            if not request.answer.done():
                request.answer.set_result(reply)
            if reply.trouble.get("out_of_memory"):  # it is no place for the next one
                self.kill()
                return
        del received[:start]

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.kill(error if isinstance(error, Exception) else None)

    async def _connect(self, ours: socket.socket) -> None:
        await self._loop.create_unix_connection(lambda: self, sock=ours)

    def _send(self) -> None:
        if self._transport and self._unsent:
            octets = b"".join(self._unsent)
            self._unsent.clear()
            self._transport.write(octets)

    async def _send_bulk(self, request: Request) -> None:
        await self._writable.wait()
        self._send()
        for piece in chunks_of(request.bulk):
            await self._writable.wait()
            if not self.alive or not self._transport:
                return
            self._transport.write(piece)

    def _answer_all(self, error: Exception | None) -> None:
        for request in self.queue:
            _fail(request, error or NotServedError())
        self.queue.clear()


def _told(settings: ChildSettings) -> dict[str, Any]:
    return {
        "sender": astuple(settings.sender),
        "templates": settings.templates and str(settings.templates.absolute()),
        "memory": int(settings.memory),
        "max_size": int(settings.max_size),
        "redirect_to": settings.redirect_to and astuple(settings.redirect_to),
        "keys": [(key.domain, key.selector, key.pem.decode("latin-1")) for key in settings.keys],
    }


def _fail(request: Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)
