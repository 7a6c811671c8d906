"""How many rows are claimed, and when: enough to keep the connections busy, never more than can be sent soon.

Wake-ups are hints; polling is the truth. Nothing here knows SQL or SMTP.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from outbox.claiming import Claiming, Rules, given_back
from outbox.core.claim import NOWHERE, Claimed, Result
from outbox.core.errors import DatabaseError
from outbox.core.message import MessageIds
from outbox.core.observer import UNOBSERVED, Attempted, Observer
from outbox.core.rate import LONGEST_PACE
from outbox.core.retry import Random
from outbox.db.store import Store
from outbox.delivery import Delivery
from outbox.leases import Leases
from outbox.recorder import LARGEST, Recorder
from outbox.waiting import Waiting
from outbox.window import Window

log = logging.getLogger("outbox.poller")

ABORT_BOUND = 5.0
"""Seconds for deliveries to end after all connections were broken off."""

BACKLOG = 2 * LARGEST
"""Results waiting to be written from which on nothing more is claimed."""

PATIENCE = 5.0
"""Seconds of a transport's pause that a drain waits out."""

SHORTEST_NAP = 0.05
"""Seconds of the first nap after work; naps then double up to `poll_interval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the poller is timed. `clock` is monotonic."""

    lease: float
    poll_interval: float
    clock: Callable[[], float]
    random: Random


class PollLoop:
    """Claims, starts deliveries, naps. One for each process."""

    def __init__(
        self,
        name: str,
        store: Store,
        delivery: Delivery,
        rules: Rules,
        *,
        new_message_ids: Callable[[], MessageIds],
        pace: Pace,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.name = name
        self.wake = asyncio.Event()
        """Set it to have the loop look at once: for commits, freed connections, transports that came back."""
        self.leases = Leases(store, pace.lease, pace.clock)
        self.recorder = Recorder(store, name, self._written, lambda: len(self._window), observer)
        self._observer = observer
        self._delivery = delivery
        self._pace = pace
        self._window = Window(sum(transport.connections for transport in delivery.transports.values()))
        self._waiting = Waiting(delivery.transports, delivery.reluctance)
        self._claiming = Claiming(
            poller=name,
            store=store,
            transports=delivery.transports,
            rules=rules,
            waiting=self._waiting,
            leases=self.leases,
            lease=pace.lease,
            clock=pace.clock,
            new_message_ids=new_message_ids,
            put=self._put,
            begin=self._start_deliveries,
            observer=observer,
        )
        self._in_flight: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.rounds = 0
        """How often it went round: while it goes up, it is alive."""
        self._nap = SHORTEST_NAP
        self._stopping = False

    async def run(self, *, drain: bool = False) -> None:
        """Until `stop`; with `drain`, until nothing is due that could be sent and everything is written.

        Database errors are waited out; only a drain raises them, since whoever started it waits for an answer.
        """
        while not self._stopping:
            self.wake.clear()
            self.rounds += 1
            alone, before = not self.leases, self._closed()  # only alone the claim may have taken a suspect
            try:
                claimed = await self._claim(thorough=drain and alone)
            except DatabaseError as error:
                if drain:
                    raise
                log.warning("nothing can be claimed, trying again: %s", error)
                claimed, self._nap = 0, self._pace.poll_interval
            self._start_deliveries()
            if claimed:
                self._nap = SHORTEST_NAP
                if self._room():
                    continue
            elif drain and alone and not await self._worth_waiting(before, self._closed()):
                return
            await self._rest()

    def hurry(self) -> None:
        """No more final dots leave."""
        self._window.close()

    def stop(self) -> None:
        """Have `run` return soon: a claim under way is awaited, so that no row is claimed by nobody."""
        self._stopping = True
        self.wake.set()

    async def finish(self, within: float, abort: Callable[[], None]) -> None:
        """Give back what has not started, finish what has.

        After `within` seconds `abort` is called: it makes every delivery still in flight end by itself, as not tried
        or as in doubt.
        """
        self._stopping = True
        self._start_deliveries()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=within)
        if self._in_flight:
            log.warning("%d deliveries did not finish within %.0f s and are broken off", len(self._in_flight), within)
            abort()
            await asyncio.wait(self._in_flight, timeout=ABORT_BOUND)
            for task in self._in_flight:  # it waits for the database or a child; its dot has not left
                task.cancel()

    async def settled(self) -> None:
        """Until the limits know of all that was given back. Raises DatabaseError."""
        await self._claiming.put_back()

    def _closed(self) -> tuple[bool, bool]:
        """Whether a transport had trouble just now and may be back in a moment; whether a limit opens soon."""
        paused = any(0 < transport.paused_for <= PATIENCE for transport in self._delivery.transports.values())
        opens_in = self._claiming.opens_in()
        return paused, opens_in is not None and opens_in <= LONGEST_PACE

    async def _worth_waiting(self, *closed: tuple[bool, bool]) -> bool:
        """Whether a drain has to wait: for a transport, not longer than that; for what is due behind a limit, or rests.
        What was `closed` before a claim, or is after it, may have been so in between. Raises DatabaseError."""
        paused, limited = map(any, zip(*closed, strict=True))
        return paused or (limited and await self._claiming.due()) or await self._claiming.resting()

    @property
    def _open(self) -> bool:
        """Whether anything may be claimed: not while results pile up, or while others may believe that we are gone."""
        return self.leases.trusted and len(self.recorder) < BACKLOG

    def _room(self) -> bool:
        return self._open and self._claiming.room

    async def _claim(self, *, thorough: bool) -> int:
        return await self._claiming.claim(thorough=thorough) if self._open else 0

    def _start_deliveries(self) -> None:
        """Start what there are connections for."""
        now = self._pace.clock()
        self._give_back(self._waiting.withdraw(now, everything=self._stopping or not self.leases.trusted))
        for row, since, _ in self._waiting.take(now):
            task = asyncio.create_task(self._deliver(row, since), name=f"email-{row.id}")
            self._in_flight.add(task)
            task.add_done_callback(partial(self._landed, row))
        self._begin_again_in(self._waiting.wait(now))

    def _begin_again_in(self, seconds: float | None) -> None:
        """Have those begin in time that wait for theirs."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self._start_deliveries)

    def _give_back(self, rows: Iterable[Claimed]) -> None:
        for row in rows:
            self._claiming.untried(row)
            self.recorder.put(given_back(row))

    def _put(self, results: Iterable[Result]) -> None:
        self.recorder.put(*results)

    async def _deliver(self, row: Claimed, since: float) -> None:
        if not self.leases.owns(row):
            self._give_back([row])  # which writes nothing where somebody else has it
            return
        began = self._pace.clock()
        expired = row.expires_in is not None and began - since >= row.expires_in
        try:
            result = await self._delivery.attempt(
                row,
                expired=expired,
                still_owned=lambda: self.leases.owns(row),
                may_leave=partial(self._window.enter, row),
                on_record=partial(self._window.leave, [row]),
            )
        except DatabaseError as error:
            log.warning("email %d is given back untried: %s", row.id, error)
            result = given_back(row)
        except Exception as error:
            log.error("email %d: internal error", row.id, exc_info=not row.sensitive)  # noqa: TRY400  # which quotes
            result = self._delivery.after_bug(row, error)
            row.quotas = NOWHERE  # nobody knows whether it was offered
        if result.smtp_seconds is None or not (result.verdict.counted or result.outcomes):
            self._claiming.untried(row)
        self.recorder.put(result)
        now = self._pace.clock()
        self._observer.attempted(Attempted(row, result, self.name, now - began, row.overdue + now - since))

    def _landed(self, row: Claimed, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._waiting.landed(row)
        self._start_deliveries()
        self._wake_if(room=True)

    def _written(self, written: Collection[Result], lost: Collection[Result]) -> None:
        for result in lost:
            self.leases.lose(result.id, "is somebody else's now; its result came too late and was not written")
        self.leases.drop([*written, *lost])
        self._window.leave([*written, *lost])
        self._wake_if(room=bool(self.leases))

    def _wake_if(self, *, room: bool) -> None:
        """Have the loop look, with `room` only where there is room for more."""
        if not self.wake.is_set() and (not room or self._room()):
            self.wake.set()

    async def _rest(self) -> None:
        """Nap until woken, until the next row falls due, or for the current nap, which doubles while nothing comes."""
        nap = self._nap * self._pace.random.uniform(0.9, 1.1)
        if self._room() and not self.leases:
            nap = await self._until_due(nap)
        self._nap = min(self._nap * 2, self._pace.poll_interval)
        nap = self._claiming.rest(nap)
        try:
            async with asyncio.timeout(nap):
                await self.wake.wait()
        except TimeoutError:
            return

    async def _until_due(self, nap: float) -> float:
        try:
            # What is due already and could not be claimed is held by somebody: looking at once again would be spinning.
            due = await self._claiming.next_due(nap)
        except DatabaseError:
            return nap  # the next claim will tell
        return nap if due is None else due
