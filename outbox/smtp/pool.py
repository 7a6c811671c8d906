"""The connections of one transport: reused while they are good, bounded in number, given out first come first served.

What to use and what to close is decided in one place without waiting (`_assign`); the input and output that follow
from it are done elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection


class NoConnectionError(Exception):
    """No connection is given out: the pool is closed, or those who waited were dismissed."""


class Usage(NamedTuple):
    """Connections by what they are doing, and how many more are waited for."""

    busy: int
    idle: int
    opening: int
    closing: int
    waiting: int


@dataclass(eq=False, slots=True)
class _Request:
    """Somebody who waits. Granted an idle connection, or None: the right to open one."""

    granted: asyncio.Future[Connection | None]
    new: bool
    urgent: bool


class Pool:
    """Every connection acquired must be released. Nothing here judges why a connection could not be opened."""

    def __init__(
        self, open_one: Callable[[], Awaitable[Connection]], settings: TransportSettings, clock: Callable[[], float]
    ) -> None:
        self.limit = settings.max_connections
        """Connections given out at a time; lower it while a transport is on probation, then call `resize`."""
        self._most = settings.max_connections
        self._open_one = open_one
        self._settings = settings
        self._clock = clock
        self._busy: set[Connection] = set()
        self._lent: set[Connection] = set()  # those of them with two users: one waits for its last answer, one began
        self._idle: deque[Connection] = deque()  # least recently used first
        self._opening: set[asyncio.Future[Connection]] = set()
        self._promised = 0  # rights to open that were granted and not taken up yet
        self._closing: set[asyncio.Task[None]] = set()
        self._requests: deque[_Request] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"limit {self.limit}"
        counted = ", ".join(f"{count} {what}" for what, count in self.usage._asdict().items())
        return f"<Pool {counted}, {state}>"

    @property
    def usage(self) -> Usage:
        """What there is right now."""
        opening = len(self._opening) + self._promised
        return Usage(len(self._busy), len(self._idle), opening, len(self._closing), len(self._requests))

    async def acquire(self, *, new: bool = False, urgent: bool = False) -> Connection:
        """A connection to use alone until `release`; with `new`, one that has carried nothing.

        Waits its turn, before those who are not urgent if it is. Raises NoConnectionError, or what opening raises.
        """
        if self._closed:
            raise NoConnectionError
        request = _Request(asyncio.get_running_loop().create_future(), new, urgent)
        before = sum(one.urgent for one in self._requests) if urgent else len(self._requests)
        self._requests.insert(before, request)
        self._assign()
        try:
            connection = await request.granted
        except BaseException:
            self._withdraw(request)
            raise
        if connection is None:
            connection = await self._opened()
        return connection

    def release(self, connection: Connection) -> None:
        """Give `connection` back, whatever its state. One that was lent is given back by both."""
        if connection in self._lent:
            self._lent.discard(connection)
            return
        self._busy.discard(connection)
        connection.last_used = self._clock()
        if self._closed:
            connection.abort()
        elif self._reusable(connection):
            self._idle.append(connection)
        else:
            self._retire(connection)
        self._assign()

    def lend(self, connection: Connection) -> bool:
        """Let the first who waits begin on `connection`, whose present user only waits for its last answer; whether
        somebody does. Nobody urgent: behind another's answer it would wait longer than for a connection of its own."""
        while self._requests and self._requests[0].granted.done():
            self._requests.popleft()
        first = self._requests[0] if self._requests else None
        if first is None or first.new or first.urgent or connection in self._lent or self._in_use() > self.limit:
            return False
        if not (connection.wire.alive and self._young(connection)):
            return False
        self._lent.add(connection)
        self._requests.popleft().granted.set_result(connection)
        return True

    def resize(self, most: int) -> None:
        """Allow so many connections, in use and idle together."""
        self._most = self.limit = most
        while self._idle and self._in_use() + len(self._idle) > most:
            self._retire(self._idle.popleft())
        self._assign()

    def alive(self, besides: Connection | None = None) -> int:
        """Connections that are open, one not counted."""
        return sum(c is not besides and c.wire.alive for c in (*self._busy, *self._idle))

    def dismiss(self) -> None:
        """Raise NoConnectionError in everyone who waits: what they wait for is not going to work."""
        while self._requests:
            request = self._requests.popleft()
            if not request.granted.done():
                request.granted.set_exception(NoConnectionError())

    def sweep(self) -> None:
        """Close what has been idle or open for too long."""
        stale = [c for c in self._idle if not self._reusable(c)]
        for connection in stale:
            self._idle.remove(connection)
            self._retire(connection)
        self._assign()

    async def close(self) -> None:
        """QUIT what is idle. Connections in use are closed as they are released."""
        self._shut()
        while self._idle:
            self._retire(self._idle.popleft())
        if self._closing:
            await asyncio.wait(self._closing)

    def abort(self) -> None:
        """Close every socket at once; whoever uses one finds it broken."""
        self._shut()
        for connection in (*self._busy, *self._idle):
            connection.abort()
        self._idle.clear()
        for opening in self._opening:
            opening.cancel()
        for closing in self._closing:
            closing.cancel()

    def _shut(self) -> None:
        self._closed = True
        self.dismiss()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _assign(self) -> None:
        """Grant what can be granted, in order, and plan the next sweep. Never waits."""
        while self._requests and self._in_use() < self.limit:
            request = self._requests[0]
            if request.granted.done():
                self._requests.popleft()
                continue
            connection = None if request.new else self._take_idle()
            if connection is None:
                if self._full() and self._idle:
                    self._retire(self._idle.popleft())
                if self._full():  # until something is closed, which comes back here
                    break
                self._promised += 1
            else:
                self._busy.add(connection)
            self._requests.popleft()
            request.granted.set_result(connection)
        self._plan_sweep()

    def _take_idle(self) -> Connection | None:
        """The most recently used: the others get a chance to be closed."""
        while self._idle:
            connection = self._idle.pop()
            if self._reusable(connection):
                return connection
            self._retire(connection)
        return None

    def _in_use(self) -> int:
        return len(self._busy) + len(self._opening) + self._promised

    def _full(self) -> bool:
        return self._in_use() + len(self._idle) + len(self._closing) >= self._most

    def _reusable(self, connection: Connection) -> bool:
        rested = self._clock() - connection.last_used
        return connection.usable and rested < self._settings.idle_timeout and self._young(connection)

    def _young(self, connection: Connection) -> bool:
        settings, age = self._settings, self._clock() - connection.opened_at
        return connection.messages < settings.messages_per_connection and age < settings.connection_age

    def _withdraw(self, request: _Request) -> None:
        """Somebody stopped waiting, perhaps in the moment of the grant."""
        if request in self._requests:
            self._requests.remove(request)
        granted = request.granted
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            connection = granted.result()
            if connection is None:
                self._promised -= 1
                self._assign()
            else:
                self.release(connection)

    async def _opened(self) -> Connection:
        self._promised -= 1
        if self._closed:
            raise NoConnectionError
        opening = asyncio.ensure_future(self._open_one())
        self._opening.add(opening)
        try:
            await asyncio.wait([opening])
            return self._given_out(opening)
        except asyncio.CancelledError:
            opening.cancel()
            opening.add_done_callback(_abort_opened)
            raise
        finally:
            self._opening.discard(opening)
            self._assign()

    def _given_out(self, opening: asyncio.Future[Connection]) -> Connection:
        if self._closed:  # meanwhile
            opening.add_done_callback(_abort_opened)
            raise NoConnectionError
        connection = opening.result()
        self._busy.add(connection)
        return connection

    def _retire(self, connection: Connection) -> None:
        """Close it in the background; until then it counts, since the server counts it."""
        if not connection.usable:
            connection.abort()
            return
        closing = asyncio.create_task(connection.close(), name="outbox-smtp-quit")
        self._closing.add(closing)
        closing.add_done_callback(self._retired)

    def _retired(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.result()
        self._assign()

    def _plan_sweep(self) -> None:
        if self._idle and self._sweeper is None and not self._closed:
            oldest = min(
                min(c.last_used + self._settings.idle_timeout, c.opened_at + self._settings.connection_age)
                for c in self._idle
            )
            delay = max(oldest - self._clock(), 0.0) + 0.01
            self._sweeper = asyncio.get_running_loop().call_later(delay, self._on_sweep)

    def _on_sweep(self) -> None:
        self._sweeper = None
        self.sweep()


def _abort_opened(opening: asyncio.Future[Connection]) -> None:
    """It was opened in the moment in which nobody wanted it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()
