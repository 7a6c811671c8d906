"""The children that compose what can take long, and whose turn it is: one bad template must not delay the others.

- A template is in one child at a time, so that an endless one leaves the other child to everybody else.
- A row waits for a child only as long as what it waits for has not taken long; then it is postponed, which frees its
  place for others and costs it no attempt.
- What has run over has only the last child and a tenth of the time for a minute, and nobody waits for it until it has
  succeeded: many rows of one endless template are through soon, and several such templates do not take all children.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from outbox.core.errors import ContentError, NotNowError
from outbox.core.text import clean_text
from outbox.mail.child import Child, ChildDiedError, ChildSettings, StartError, how_it_ended
from outbox.mail.frames import TIME_IS_UP, Reply

log = logging.getLogger("outbox.mail")

CHILDREN = 2

PATIENCE = 1.0
"""Seconds that what a row waits for may have taken already."""

STEP = 0.05
"""Seconds between the rows that are postponed for the same reason: if they are good ones, they are sent soon, and if
each of them takes long, the few that come back at a time disturb nobody."""

SUSPICION = 60.0
"""Seconds for which what has run over is treated as if it did so again."""

START_AGAIN = 5.0
"""Seconds after a child could not be started, until another one is."""

SPEED = 20e6
"""Characters and bytes of content that are worth another second."""

STALLED = 30.0
"""Seconds on the clock, besides twice its limit, that a request may take on a busy machine."""

LONGEST_DELAY = 3600.0


@dataclass(slots=True)
class _Place:
    """One of the children, or where it is started when it is needed."""

    child: Child | None = None
    user: str | None = None
    since: float = inf
    """When the request was put to the child; nobody is blamed for the time of a start."""


@dataclass(slots=True)
class _Waiting:
    """A row that waits for a place."""

    user: str
    patient: bool
    turn: "asyncio.Future[_Place]"


class Children:
    """Answers requests. `user` names what is likely to behave alike: a template."""

    def __init__(self, settings: ChildSettings, timeout: float) -> None:
        self._settings = settings
        self._timeout = timeout
        self._places = [_Place() for _ in range(CHILDREN)]
        self._waiting: list[_Waiting] = []
        self._suspects: dict[str, float] = {}
        self._failing: set[str] = set()
        self._queues: dict[str, float] = {}
        self._ending: set[asyncio.Task[int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._start_at = 0.0
        self._stopping = False

    async def ask(self, user: str, size: int, request: Callable[[float], Iterable[bytes]], *, patient: bool) -> Reply:
        """The answer of a child. Raises ContentError where the row made it run over or die, else NotNowError.

        The limit is one of processor time: a busy or suspended machine is no fault of a row.

        Who is `patient` is never postponed. `request` makes the pieces anew for every child that has to be asked.
        """
        place = await self._turn(user, patient=patient)
        try:
            return await self._ask(place, user, size, request)
        finally:
            self._release(place)

    def abort(self) -> None:
        """End all children at once; whoever waits for one is told so."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        for place in self._places:
            if place.child:
                self._bury(place)
        for waiting in self._waiting:
            if not waiting.turn.done():
                waiting.turn.set_exception(NotNowError("", 0.0))

    async def close(self) -> None:
        """End all children and wait until they are gone."""
        self.abort()
        if self._ending:
            await asyncio.wait(self._ending)

    # Whose turn it is.

    async def _turn(self, user: str, *, patient: bool) -> _Place:
        if self._stopping:
            raise NotNowError("", 0.0)
        place = self._free(user)
        if place is not None:
            place.user = user
            return place
        if self._hopeless(user) and not patient:
            raise self._later(user)
        return await self._wait(_Waiting(user, patient, asyncio.get_running_loop().create_future()))

    async def _wait(self, waiting: _Waiting) -> _Place:
        self._waiting.append(waiting)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._look)
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and not waiting.turn.exception():
                self._release(waiting.turn.result())
            raise
        finally:
            self._waiting.remove(waiting)

    def _look(self) -> None:
        """Have those go who wait for what takes long."""
        self._timer = None
        for waiting in self._waiting:
            if not waiting.turn.done() and not waiting.patient and self._hopeless(waiting.user):
                waiting.turn.set_exception(self._later(waiting.user))
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE / 4, self._look)

    def _free(self, user: str) -> _Place | None:
        """A place that `user` may have now."""
        if any(place.user == user for place in self._places):
            return None
        return next((place for place in self._allowed(user) if place.user is None), None)

    def _allowed(self, user: str) -> list[_Place]:
        return self._places[-1:] if self._suspect(user) else self._places

    def _suspect(self, user: str) -> bool:
        return self._suspects.get(user, 0.0) > self._now()

    def _hopeless(self, user: str) -> bool:
        """Whether what `user` would wait for takes long already, or surely will."""
        since = self._now() - PATIENCE
        long = [place.user for place in self._places if place.user is not None and place.since <= since]
        return user in self._failing or user in long or len(long) == len(self._places)

    def _release(self, place: _Place) -> None:
        """Give what is free to those who wait, in their order."""
        place.user, place.since = None, inf
        for waiting in self._waiting:
            if not waiting.turn.done() and (free := self._free(waiting.user)):
                free.user = waiting.user
                waiting.turn.set_result(free)

    def _later(self, user: str) -> NotNowError:
        """Postpones a row. Those of what takes long come back one after the other, when it is about their turn."""
        now = self._now()
        if user not in self._failing and all(place.user != user for place in self._places):
            return NotNowError(f"{user}: others are being composed and take long; postponed", PATIENCE)
        for name in [name for name, at in self._queues.items() if at < now]:
            del self._queues[name]
        at = max(self._queues.get(user, 0.0), now + PATIENCE) + STEP
        self._queues[user] = at = min(at, now + LONGEST_DELAY)
        return NotNowError(f"{user}: another email with it is being composed and takes long; postponed", at - now)

    # One request.

    async def _ask(self, place: _Place, user: str, size: int, request: Callable[[float], Iterable[bytes]]) -> Reply:
        limit = self._limit(user)
        seconds = limit + size / SPEED
        for last in (False, True):
            place.since = inf
            child = await self._child(place)
            place.since = self._now()
            try:
                reply = await child.ask(request(seconds), STALLED + seconds * 2)
            except TimeoutError:
                raise NotNowError(f"{user}: this machine had no time for it", SUSPICION) from None
            except ChildDiedError:
                code = await child.end()
                if self._stopping:
                    raise NotNowError("", 0.0) from None
                if code == -TIME_IS_UP:
                    raise self._ran_over(user, f"took longer than {limit:g} s") from None
                log.warning("a process that composes %s: %s", how_it_ended(code), user)
                if last:
                    raise self._ran_over(user, f"the process that composes it {how_it_ended(code)}, twice") from None
                continue  # it may have been killed by somebody, for nothing that this row did
            finally:
                if not child.alive:
                    self._bury(place)
            if reply.head.get("out_of_memory"):
                self._bury(place)
                raise self._ran_over(user, f"needed more than {_mebibytes(self._settings.memory)}")
            self._failing.discard(user)
            return reply
        raise AssertionError("unreachable")

    def _limit(self, user: str) -> float:
        return self._timeout / 10 if self._suspect(user) else self._timeout

    def _ran_over(self, user: str, how: str) -> ContentError:
        now = self._now()
        self._suspects = {name: until for name, until in self._suspects.items() if until > now}
        self._suspects[user] = now + SUSPICION
        self._failing = {user, *self._failing & self._suspects.keys()}
        log.warning("%s: %s", user, how)
        return ContentError(f"{user}: {how}")

    async def _child(self, place: _Place) -> Child:
        if place.child and not place.child.alive:
            self._bury(place)
        if place.child is None:
            if self._now() < self._start_at:
                raise NotNowError("the process that composes could not be started; trying again", START_AGAIN)
            try:
                place.child = await Child.start(self._settings)
            except StartError as error:
                self._start_at = self._now() + START_AGAIN
                log.error("the process that composes cannot be started: %s", error)  # noqa: TRY400  # no bug of ours
                why = clean_text(f"the process that composes cannot be started: {error}", 200)
                raise NotNowError(why, START_AGAIN) from error
            if self._stopping:
                self._bury(place)
                raise NotNowError("", 0.0)
        return place.child

    def _bury(self, place: _Place) -> None:
        child, place.child = place.child, None
        if child is None:
            return
        child.kill()
        ending = asyncio.create_task(child.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):g} MiB"
