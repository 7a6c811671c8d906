"""Bytes out and replies in, on a transport that somebody else opened (plain or TLS, asyncio or uvloop).

A reply is only ever given to the command it answers: a wire on which a reply came unasked, too late or malformed is
not usable any more.
"""

import asyncio
import select
from collections import deque
from collections.abc import Sequence
from typing import cast

from outbox.core.classify import Trouble
from outbox.core.reply import Reply
from outbox.smtp.reply_parser import MalformedReplyError, ReplyParser

CHUNK = 65536
"""Bytes handed to the transport at a time. A TLS transport hides about as much again, so larger writes would look
finished long before they are, and the wait for the server's answer would have to cover the upload."""


class WireError(Exception):
    """No reply, and why not. `said` is what the server said unasked before it went, often the true reason (421)."""

    def __init__(self, trouble: Trouble, said: Reply | None = None) -> None:
        super().__init__(str(said or trouble))
        self.trouble = trouble
        self.said = said


class Wire(asyncio.Protocol):
    """Speaks in place of the protocol that opened the connection; `take_over` makes one."""

    def __init__(self, transport: asyncio.Transport, opener: asyncio.Protocol) -> None:
        self.aborted = False
        """We broke it off ourselves."""
        self._transport = transport
        self._opener = opener
        self._parser = ReplyParser()
        self._awaited = 0  # replies that commands on their way will bring
        self._arrived: deque[Reply] = deque()
        self._trouble: Trouble | None = None
        self._said: Reply | None = None
        self._paused = False
        self._changed: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()

    @classmethod
    def take_over(cls, transport: asyncio.Transport) -> "Wire":
        """A wire on a live transport, whose present protocol learns only of the end from now on."""
        wire = cls(transport, cast("asyncio.Protocol", transport.get_protocol()))
        # Writing counts as paused while anything is buffered. TLS transports pause at the limit, others above it.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0, low=0)
        transport.set_protocol(wire)
        return wire

    @property
    def usable(self) -> bool:
        """Whether a new command may be sent: nothing went wrong and nothing is outstanding."""
        quiet = not (self._awaited or self._arrived or self._parser.midway)
        return quiet and self.alive

    @property
    def alive(self) -> bool:
        """Whether the connection stands, be it quiet or in use."""
        return self._trouble is None and not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """`usable`, and the socket holds nothing that the loop has not read yet: that would answer the next command."""
        if not self.usable:
            return False
        unread = select.poll()
        unread.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not unread.poll(0)

    def write(self, data: bytes, replies: int = 1) -> None:
        """Send commands that bring `replies` replies. Raises WireError where the wire is broken."""
        if self._parser.midway and not self._awaited:  # the rest of it would be taken for our answer
            self._break(Trouble.CLOSED)
        self._check()
        self._awaited += replies
        self._transport.write(data)

    async def reply(self, timeout: float) -> Reply:  # noqa: ASYNC109  # each wait has its own, and it ends the wire
        """The next reply, in the order of the commands. Raises WireError: TIMEOUT, CLOSED or MALFORMED."""
        while not self._arrived:
            self._check()
            if not await self._change(timeout):
                self._break(Trouble.TIMEOUT)
        return self._arrived.popleft()

    async def send(self, content: bytes, patience: float) -> None:
        """Write `content`, which brings no reply, until every byte has left our buffers.

        Raises WireError where `patience` seconds pass without a byte leaving, or where the server speaks up.
        """
        for start in range(0, len(content), CHUNK):
            self.write(content[start : start + CHUNK], replies=0)
            await self._flushed(patience)
        self._check()

    def close(self) -> None:
        """Close once what was written has left."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once. Whoever waits for a reply gets WireError.CLOSED, with `aborted` set."""
        self.aborted = True
        self._break(Trouble.CLOSED)
        self._transport.abort()

    async def closed(self) -> None:
        """Until the connection is gone."""
        await self._lost.wait()

    async def _flushed(self, patience: float) -> None:
        while self._paused:
            self._check()
            before = self._transport.get_write_buffer_size()
            moved = await self._change(patience)
            if not moved and self._transport.get_write_buffer_size() >= before:
                self._break(Trouble.TIMEOUT)

    def _check(self) -> None:
        if self._trouble is None and self._transport.is_closing():
            self._trouble = Trouble.CLOSED
        if self._trouble is not None:
            raise WireError(self._trouble, self._said)

    async def _change(self, timeout: float) -> bool:  # noqa: ASYNC109  # as in `reply`
        """Whether something happened within `timeout`. A wire whose waiter was cancelled is out of step: broken."""
        self._changed = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._changed
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            self._break(Trouble.CLOSED)
            raise
        finally:
            self._changed = None
        return True

    def _notify(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _break(self, trouble: Trouble) -> None:
        if self._trouble is None:
            self._trouble = trouble
        self._notify()

    def data_received(self, data: bytes) -> None:
        """Part of the protocol: sort replies to those who wait, in order."""
        if self._trouble is not None:
            return
        try:
            self._sort(self._parser.feed(data))
        except MalformedReplyError as error:
            self._sort(error.before)
            self._break(Trouble.MALFORMED)

    def _sort(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if self._awaited:
                self._awaited -= 1
                self._arrived.append(reply)
            elif self._said is None:
                self._said = reply
        if self._said:
            self._break(Trouble.CLOSED)
        elif replies:
            self._notify()

    def eof_received(self) -> None:
        """Part of the protocol: a server that has finished speaking cannot answer; the transport closes itself."""
        self._break(Trouble.CLOSED)

    def pause_writing(self) -> None:
        """Part of the protocol: something is buffered."""
        self._paused = True

    def resume_writing(self) -> None:
        """Part of the protocol: nothing is buffered."""
        self._paused = False
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of the protocol: wake whoever waits, and let the opener end clean."""
        self._break(Trouble.CLOSED)
        self._lost.set()
        self._opener.connection_lost(exc)
