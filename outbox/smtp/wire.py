"""Bytes out and replies in, on a transport that somebody else opened (plain or TLS, asyncio or uvloop).

A reply is only ever given to the command it answers: a wire on which a reply came unasked, too late or malformed is
not usable any more. Commands may leave before those in front of them are answered (RFC 2920), even those of the next
transaction; each transaction has its own `Turn`, which brings it the replies to what it said.
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
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._opener = opener
        self._parser = ReplyParser()
        self._corked: list[bytes | memoryview] = []
        self._awaited: deque[Turn] = deque()  # who said what has not been answered yet, for every command
        self._unread = 0  # replies that nobody has taken yet
        self._trouble: Trouble | None = None
        self._troubled: Turn | None = None  # whose trouble it was
        self._said: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._deadline: float | None = None
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()

    @classmethod
    def take_over(cls, transport: asyncio.Transport) -> "Wire":
        """A wire on a live transport, whose present protocol learns only of the end from now on."""
        wire = cls(transport, cast("asyncio.Protocol", transport.get_protocol()))
        # Writing counts as paused while anything is buffered. TLS transports pause at the limit, others above it.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("sslcontext") else 0, low=0)
        transport.set_protocol(wire)
        return wire

    def turn(self) -> "Turn":
        """For a transaction to speak and be answered, after all that was said before."""
        return Turn(self)

    @property
    def usable(self) -> bool:
        """Whether a new command may be sent: nothing went wrong and nothing is outstanding."""
        return not (self._awaited or self._unread or self._corked or self._parser.midway) and self.alive

    @property
    def alive(self) -> bool:
        """Whether the connection stands, be it quiet or in use."""
        return self._trouble is None and not self._transport.is_closing()

    @property
    def answering(self) -> bool:
        """Whether replies are outstanding."""
        return bool(self._awaited)

    @property
    def quiet(self) -> bool:
        """`usable`, and the socket holds nothing that the loop has not read yet: that would answer the next command."""
        if not self.usable:
            return False
        unread = select.poll()
        unread.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not unread.poll(0)

    def close(self) -> None:
        """Close once what was written has left."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once. Whoever waits gets WireError.CLOSED, with `aborted` set if nothing else was wrong."""
        if self._trouble is None:
            self.aborted = True
        self._break(Trouble.CLOSED)
        self._transport.abort()

    async def closed(self) -> None:
        """Until the connection is gone."""
        await self._lost.wait()

    # For turns.

    def check(self, turn: "Turn") -> None:
        """Raises WireError where the wire is broken: TIMEOUT only for the turn whose reply did not come."""
        if self._trouble is None and self._transport.is_closing():
            self._trouble = Trouble.CLOSED
        if self._trouble is Trouble.TIMEOUT and self._troubled is not turn:
            raise WireError(Trouble.CLOSED)
        if self._trouble is not None:
            raise WireError(self._trouble, self._said)

    def write(self, turn: "Turn", parts: Sequence[bytes | memoryview], replies: int) -> None:
        """What is written in one round of the loop leaves together, whoever wrote it."""
        if self._parser.midway and not self._awaited:  # the rest of it would be taken for our answer
            self._break(Trouble.CLOSED)
        self.check(turn)
        if not self._corked:
            self._loop.call_soon(self._flush)
        self._corked += parts
        self._awaited.extend([turn] * replies)

    async def flushed(self, turn: "Turn", patience: float) -> None:
        """Until nothing is buffered; `patience` is for every byte anew."""
        self._flush()
        while self._paused:
            self.check(turn)
            before = self._transport.get_write_buffer_size()
            self._drained = self._loop.create_future()
            try:
                async with asyncio.timeout(patience):
                    await self._drained
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= before:
                    self._break(Trouble.TIMEOUT, turn)
            except asyncio.CancelledError:
                self._break(Trouble.CLOSED)
                raise
            finally:
                self._drained = None

    async def waits(self, turn: "Turn") -> None:
        """Until something happens to `turn`. A wire whose waiter was cancelled is out of step: broken."""
        turn.waiter = self._loop.create_future()
        if self._awaited and self._awaited[0] is turn:
            self._look_at_the_clock()
        try:
            await turn.waiter
        except asyncio.CancelledError:
            self._break(Trouble.CLOSED)
            raise
        finally:
            turn.waiter = None

    def taken(self) -> None:
        """A reply that had come was taken."""
        self._unread -= 1

    def _flush(self) -> None:
        parts, self._corked = self._corked, []
        if parts and not self._transport.is_closing():
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def _look_at_the_clock(self) -> None:
        """The time set for a reply runs while it is the next one and somebody waits for it.

        One timer serves them all, set again when it rings too early: far cheaper than one for each."""
        head = self._awaited[0] if self._awaited else None
        if head is None or head.waiter is None or head.waiter.done():
            self._deadline = None
            return
        self._deadline = self._loop.time() + head.timeout
        if self._timer is None or self._rings_at > self._deadline:
            self._ring_at(self._deadline)

    def _ring_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = moment
        self._timer = self._loop.call_at(moment, self._rang)

    def _rang(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._ring_at(self._deadline)
        else:
            self._break(Trouble.TIMEOUT, self._awaited[0])

    def _break(self, trouble: Trouble, turn: "Turn | None" = None) -> None:
        if self._trouble is None:
            self._trouble, self._troubled = trouble, turn
        for waiting in dict.fromkeys(self._awaited):
            waiting.notify()
        self._notify_drained()

    def _notify_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # The protocol.

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
                self._unread += 1
                self._awaited.popleft().hear(reply)
            elif self._said is None:
                self._said = reply
        if self._said:
            self._break(Trouble.CLOSED)
        elif replies:
            self._look_at_the_clock()

    def eof_received(self) -> None:
        """Part of the protocol: a server that has finished speaking cannot answer; the transport closes itself."""
        self._break(Trouble.CLOSED)

    def pause_writing(self) -> None:
        """Part of the protocol: something is buffered."""
        self._paused = True

    def resume_writing(self) -> None:
        """Part of the protocol: nothing is buffered."""
        self._paused = False
        self._notify_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of the protocol: wake whoever waits, and let the opener end clean."""
        self._break(Trouble.CLOSED)
        if self._timer is not None:
            self._timer.cancel()
        self._lost.set()
        self._opener.connection_lost(exc)


class Turn:
    """What one transaction says on a wire, and the replies to just that."""

    __slots__ = ("_arrived", "_wire", "timeout", "waiter")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._arrived: deque[Reply] = deque()
        self.waiter: asyncio.Future[None] | None = None
        """Somebody waits for the next reply, for at most `timeout` seconds from when it is the next on the wire."""
        self.timeout = 0.0

    def check(self) -> None:
        """Raises WireError where the wire is broken."""
        self._wire.check(self)

    def write(self, *parts: bytes | memoryview, replies: int = 1) -> None:
        """Send commands that bring `replies` replies."""
        self._wire.write(self, parts, replies)

    async def send(self, content: bytes | memoryview, patience: float) -> None:
        """Write `content`, which brings no reply, until every byte has left our buffers.

        Raises WireError also where `patience` seconds pass without a byte leaving, or where the server speaks up.
        """
        for start in range(0, len(content), CHUNK):
            self.write(content[start : start + CHUNK], replies=0)
            await self._wire.flushed(self, patience)
        self.check()

    async def reply(self, timeout: float) -> Reply:  # noqa: ASYNC109  # each wait has its own, and it ends the wire
        """The next reply, in the order of the commands. Raises WireError: TIMEOUT, CLOSED or MALFORMED."""
        while not self._arrived:
            self.check()
            self.timeout = timeout
            await self._wire.waits(self)
        self._wire.taken()
        return self._arrived.popleft()

    def hear(self, reply: Reply) -> None:
        """This came."""
        self._arrived.append(reply)
        self.notify()

    def notify(self) -> None:
        """Something happened."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
