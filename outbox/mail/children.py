"""The children that compose what can take long, and whose turn it is: one bad template must not delay the others.

- Each child has a queue, so that it never waits for its parent. A template is in one child at a time, so that an
  endless one leaves the other child to everybody else; who waits behind it is soon put to the other.
- A row waits for a child only as long as what it waits for has not taken long; then it is postponed, which frees its
  place for others and costs it no attempt.
- What has run over has only the last child and a tenth of the time for a minute, and nobody waits for it until it has
  succeeded: many rows of one endless template are through soon, and several such templates do not take all children.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence

from outbox.core.errors import ContentError, NotNowError
from outbox.core.text import clean_text
from outbox.mail.child import Child, ChildDiedError, ChildSettings, NotServedError, Request, StartError
from outbox.mail.frames import TIME_IS_UP, Bulk, Reply
from outbox.mail.spawn import how_it_ended
from outbox.mail.suspects import PATIENCE, SUSPICION, Suspects

log = logging.getLogger("outbox.mail")

CHILDREN = 2

DEPTH = 16
"""Rows in the queue of a child, at most."""

STUCK = 0.1
"""Seconds that a child works at one row until those behind it are put to another."""

START_TIMEOUT = 30.0
"""Seconds in which a child has to be ready, on a machine however busy."""

START_AGAIN = 5.0
"""Seconds after a child could not be started, until another one is."""

SPEED = 20e6
"""Characters and bytes of content that are worth another second."""

STALLED = 30.0
"""Seconds on the clock, besides twice its limit, that a request may take on a busy machine."""


class Children:
    """Answers requests. `user` names what is likely to behave alike: a template."""

    def __init__(self, settings: ChildSettings, timeout: float) -> None:
        self._settings = settings
        self._suspects = Suspects(timeout, self._now)
        self._running: list[Child | None] = [None] * CHILDREN
        self._waiting: list[Request] = []
        self._ending: set[asyncio.Task[int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._start_at = 0.0
        self._stopping = False

    async def ask(self, user: str, size: int, request: tuple[bytes, Bulk], *, patient: bool) -> Reply:
        """The answer of a child. Raises ContentError where the row made it run over or die, else NotNowError.

        The limit is one of processor time: a busy or suspended machine is no fault of a row. Who is `patient` is never
        postponed.
        """
        head, bulk = request
        alone, allowance, died = patient or bool(bulk), size / SPEED, 0
        while True:
            asked = Request(user=user, head=head, bulk=bulk, alone=alone, patient=patient, allowance=allowance)
            try:
                reply = await self._served(asked)
            except NotServedError:
                continue
            except TimeoutError:
                raise NotNowError(f"{user}: this machine had no time for it", SUSPICION) from None
            except StartError as error:
                raise await self._not_started(asked, error) from error
            except ChildDiedError:
                died += 1
                await self._judge(asked, died)
                continue  # it may have been killed by somebody, for nothing that this row did
            if reply.trouble.get("out_of_memory"):
                raise self._ran_over(user, f"needed more than {_mebibytes(self._settings.memory)}")
            self._suspects.succeeded(user)
            return reply

    def abort(self) -> None:
        """End all children at once; whoever waits for one is told so."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        for place in range(CHILDREN):
            self._bury(place)
        for asked in self._waiting:
            if not asked.answer.done():
                asked.answer.set_exception(NotNowError("", 0.0))
        self._waiting.clear()

    async def close(self) -> None:
        """End all children and wait until they are gone."""
        self.abort()
        if self._ending:
            await asyncio.wait(self._ending)

    # Whose turn it is.

    async def _served(self, asked: Request) -> Reply:
        """The answer of whichever child."""
        self._enter(asked)
        try:
            return await asked.answer
        except asyncio.CancelledError:
            self._withdraw(asked)
            raise

    def _enter(self, asked: Request) -> None:
        if self._stopping:
            raise NotNowError("", 0.0)
        if not self._waiting and (place := self._free(asked)) is not None:
            self._put(place, asked)
        else:
            self._waiting.append(asked)
            self._dispatch()
            if asked in self._waiting and self._hopeless(asked.user) and not asked.patient:
                self._waiting.remove(asked)
                raise self._later(asked.user)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STUCK, self._look)

    def _withdraw(self, asked: Request) -> None:
        if asked in self._waiting:
            self._waiting.remove(asked)
        elif asked.child and asked.child.at is asked:
            asked.child.kill()

    def _dispatch(self) -> None:
        """Put to the children who waits, in their order; for who has to be alone in one, it is kept free."""
        if not self._waiting:
            return
        kept: set[int] = set()
        for asked in [asked for asked in self._waiting if not asked.answer.done()]:
            place = self._free(asked, kept)
            if place is not None:
                self._waiting.remove(asked)
                try:
                    self._put(place, asked)
                except NotNowError as error:
                    asked.answer.set_exception(error)
            elif asked.alone or asked.user in self._suspects:
                kept.add(min(self._allowed(asked.user), key=self._depth))

    def _free(self, asked: Request, kept: Collection[int] = ()) -> int | None:
        """The place of a child that may be asked now."""
        user, alone = asked.user, asked.alone or asked.user in self._suspects
        homes = [place for place in range(CHILDREN) if self._is_in(user, place)]
        best, least = None, DEPTH
        for place in self._allowed(user):
            depth = self._depth(place)
            if place in kept or (homes and homes != [place]):
                continue
            if depth < least and (depth == 0 or not (alone or self._closed(place))):
                best, least = place, depth
        return best

    def _allowed(self, user: str) -> Sequence[int]:
        return range(CHILDREN)[-1:] if user in self._suspects else range(CHILDREN)

    def _depth(self, place: int) -> int:
        child = self._running[place]
        return len(child.queue) - child.starting if child and child.alive else 0

    def _is_in(self, user: str, place: int) -> bool:
        """Whether the child works at a row of `user`, or will."""
        child = self._running[place]
        if child is None or not child.queue:
            return False
        return any(asked.user == user and (asked is child.at or not asked.answer.done()) for asked in child.queue)

    def _closed(self, place: int) -> bool:
        """Whether nobody should wait behind what is in this child."""
        child = self._running[place]
        if child is None or not child.queue:
            return False
        last, stuck = child.queue[-1], not child.starting and child.look() > STUCK
        return stuck or last.alone or last.user in self._suspects

    def _long(self) -> list[str]:
        """The users of children that have worked at one row for long."""
        busy = [child for child in self._running if child and child.queue and not child.starting]
        return [child.at.user for child in busy if child.look() >= PATIENCE and child.at]

    def _hopeless(self, user: str) -> bool:
        """Whether what `user` would wait for takes long already, or surely will."""
        long = self._long()
        return self._suspects.failing(user) or user in long or len(long) == CHILDREN

    def _look(self) -> None:
        """Have those go who wait for what takes long."""
        self._timer = None
        busy = [child for child in self._running if child and child.queue]
        for child in busy:
            self._look_at(child, child.look())
        for asked in [*self._waiting]:
            if not asked.patient and not asked.answer.done() and self._hopeless(asked.user):
                self._waiting.remove(asked)
                asked.answer.set_exception(self._later(asked.user))
        if busy or self._waiting:
            self._timer = asyncio.get_running_loop().call_later(STUCK, self._look)

    def _look_at(self, child: Child, lasts: float) -> None:
        at = child.at
        if child.starting:
            if lasts > START_TIMEOUT:
                child.kill(StartError(f"it was not ready within {START_TIMEOUT:.0f} s"))
        elif lasts > STALLED + (at or child.queue[0]).seconds * 2:
            child.kill(TimeoutError())
        elif at and lasts > STUCK:
            for asked in child.queue:
                if asked is not at and not asked.answer.done():
                    asked.answer.set_exception(NotServedError())

    def _later(self, user: str) -> NotNowError:
        """Postpones a row."""
        if not self._suspects.failing(user) and user not in self._long():
            return NotNowError(f"{user}: others are being composed and take long; postponed", PATIENCE)
        why = f"{user}: another email with it is being composed and takes long; postponed"
        return NotNowError(why, self._suspects.delay(user))

    # The children.

    def _put(self, place: int, asked: Request) -> None:
        """Raises NotNowError where there is no child and none can be started."""
        child = self._running[place]
        if child is None or not child.alive:
            child = self._start(place)
        asked.limit = self._suspects.limit(asked.user)
        child.put(asked)

    def _start(self, place: int) -> Child:
        self._bury(place)
        if self._now() < self._start_at:
            raise NotNowError("the process that composes could not be started; trying again", START_AGAIN)
        try:
            child = Child.start(self._settings, self._dispatch)
        except StartError as error:
            raise self._no_start(str(error)) from error
        self._running[place] = child
        return child

    async def _not_started(self, asked: Request, error: StartError) -> NotNowError:
        code = await asked.child.end() if asked.child else 0
        return self._no_start(str(error) or f"it {how_it_ended(code)}")

    def _no_start(self, why: str) -> NotNowError:
        self._start_at = self._now() + START_AGAIN
        log.error("the process that composes cannot be started: %s", why)
        return NotNowError(clean_text(f"the process that composes cannot be started: {why}", 200), START_AGAIN)

    async def _judge(self, asked: Request, died: int) -> None:
        """Why the child died of a request. Raises ContentError where the row is to blame."""
        user, code = asked.user, await asked.child.end() if asked.child else 0
        if self._stopping:
            raise NotNowError("", 0.0)
        if code == -TIME_IS_UP:
            raise self._ran_over(user, f"took longer than {asked.limit:g} s")
        log.warning("a process that composes %s: %s", how_it_ended(code), user)
        if died > 1:
            raise self._ran_over(user, f"the process that composes it {how_it_ended(code)}, twice")

    def _ran_over(self, user: str, how: str) -> ContentError:
        self._suspects.ran_over(user)
        log.warning("%s: %s", user, how)
        return ContentError(f"{user}: {how}")

    def _bury(self, place: int) -> None:
        child, self._running[place] = self._running[place], None
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
