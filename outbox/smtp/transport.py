"""A configured way out: sends messages over its pool, and rests when the server is in trouble.

`send` never raises for what a server does: everything is an outcome of a recipient or a fault of the transport.
"""

import logging
import random as stdlib_random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from outbox.core.classify import Situation, judge
from outbox.core.message import Message
from outbox.core.outcome import Fault, Kind, Report, Scope
from outbox.core.retry import Random
from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection
from outbox.smtp.denials import FINAL_ATTEMPT, NOTE, Denials
from outbox.smtp.failures import OpeningError, announcement, fault_of
from outbox.smtp.grouping import ALONE, Grouping
from outbox.smtp.health import Health
from outbox.smtp.opener import Opener
from outbox.smtp.pool import NoConnectionError, Pool, Usage
from outbox.smtp.slots import Slots
from outbox.smtp.transacted import Transacted
from outbox.smtp.transaction import NOT_ON_RECORD, STOPPING, OnRecord, transact

log = logging.getLogger("outbox.smtp")

PAUSED, RESUMED = {"event": "transport_paused"}, {"event": "transport_resumed"}


class Transport:
    """Sends over one SMTP server. Use it in one event loop; `close` it at the end."""

    def __init__(
        self,
        name: str,
        settings: TransportSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.on_change: Callable[[Transport], None] | None = None
        """Called when the transport found out that it is paused, or works again; not for what it adopts."""
        self.ask_probe: Callable[[Transport], Awaitable[bool]] | None = None
        """Asked, on probation, before a message goes out as the probe: one at a time, whoever else sends here too."""
        self._settings = settings
        self._opener = Opener(settings, clock)
        self._health = Health(clock, random or stdlib_random.Random())  # noqa: S311  # jitter, not secrets
        self._pool = Pool(self._open_or_pause, settings, clock)
        self._slots = Slots(settings.max_connections, clock)
        self._denials = Denials()
        self._grouping = Grouping(clock)
        self._probe: Message | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Transport {self.name} {self._where} {self._pool!r}>"

    @property
    def paused_for(self) -> float:
        """Seconds until it may be tried again; 0 where it may be used now."""
        return self._health.paused_for

    @property
    def fault(self) -> Fault | None:
        """What was wrong last, until it works again. Its `wait` is what is left of the pause."""
        return self._health.fault

    @property
    def reason(self) -> str | None:
        """The fault in one line."""
        return self._health.fault.reason if self._health.fault else None

    @property
    def connections(self) -> int:
        """How many there can be at most."""
        return self._settings.max_connections

    @property
    def reserved(self) -> int:
        """How many of them are for urgent emails alone."""
        return self._settings.reserved_connections

    @property
    def usage(self) -> Usage:
        """What its connections are doing right now."""
        return self._pool.usage

    @property
    def failures(self) -> int:
        """Faults since the last success."""
        return self._health.failures

    @property
    def probing(self) -> bool:
        """Whether a message is under way to find out whether it works again."""
        return self._probe is not None

    @property
    def capacity(self) -> int:
        """How many connections can be used now: none while paused or probing, one for a probe, else as many as the
        server puts up with."""
        if self._stopped or self.paused_for > 0:
            return 0
        if self._health.failures:
            return 0 if self.probing else 1
        return self._slots.count

    @property
    def depth(self) -> int:
        """How many messages can be under way on each: two, where one can begin behind the other's final dot."""
        return 1 if self._health.failures else self._grouping.depth

    async def send(
        self,
        message: Message,
        *,
        attempt: int = 1,
        still_owned: Callable[[], bool] = lambda: True,
        before_dot: OnRecord | None = None,
        between: OnRecord | None = None,
    ) -> Report:
        """Offer `message` to its recipients. Those without an outcome in the report were not tried.

        While paused it connects to nobody and returns the fault at once. `attempt` is the number of this one, from 1.
        `still_owned` is asked before the message begins and just before its final dot. `before_dot` is awaited when all
        but the dot has left, with the outcomes if it leaves and nobody learns more; `between` after each of several
        transactions, with its outcomes, and before a connection is waited for. Where one says no, nothing more is sent.
        """
        report = Report()
        fresh_tries = 0
        most = self._settings.max_recipients
        try:
            while (left := [r for r in message.recipients if r not in report.outcomes]) and report.fault is None:
                # An ASCII recipient must not depend on every server down the road knowing SMTPUTF8.
                alike = [r for r in left if r.isascii() == left[0].isascii()][:most]
                done = await self._transact(message, alike, still_owned, before_dot, fresh_tries)
                if done.denied:
                    self._deny(done, message, attempt)
                report.outcomes.update(done.outcomes)
                report.fault = done.fault
                if done.fresh:
                    fresh_tries += 1
                elif 0 < len(done.outcomes) < len(alike):
                    most = len(done.outcomes)  # no more than this server took at once
                more = len(report.outcomes) < len(message.recipients)
                if between and more and not await between(done.outcomes):
                    report.fault = report.fault or Fault(Scope.STOPPING, NOT_ON_RECORD)
        finally:
            if self._probe is message:
                self._end_probe()
        return report

    def adopt(self, fault: Fault | None) -> bool:
        """Pause as others have been told to, or go on: see `Health.adopt`. Whether anything changed."""
        before = self._health.paused_for > 0
        news = self._health.adopt(fault)
        if fault is None:
            if news:
                log.info("%s (%s) is no longer paused", self.name, self._where, extra=RESUMED | self._state)
                self._pool.resize(self._slots.count)
            return news
        if self._health.paused_for > 0 and (news or not before):
            self._hold_back()
        if news:
            log.info("%s (%s) is paused: %s", self.name, self._where, fault.reason, extra=PAUSED | self._state)
        return news

    async def check(self) -> str | Fault:
        """Connect, encrypt and log in, without mail: what was found, or what is wrong."""
        try:
            connection = await self._opener.open()
        except OpeningError as error:
            return self._opening_fault(error)
        found = connection.summary
        await connection.close()
        return found

    async def close(self) -> None:
        """Close what is idle with QUIT; what is in use is closed when its message is done. Nothing is sent any more."""
        self._stopped = True
        await self._pool.close()

    def abort(self) -> None:
        """Close every socket at once. Sends under way end by themselves: not tried, or in doubt after the final dot."""
        self._stopped = True
        self._pool.abort()

    async def _transact(
        self,
        message: Message,
        recipients: Sequence[str],
        still_owned: Callable[[], bool],
        before_dot: OnRecord | None,
        fresh_tries: int,
    ) -> Transacted:
        if fault := await self._obstacle(message):
            return Transacted(fault=fault)
        try:
            connection = await self._pool.acquire(new=fresh_tries > 0, urgent=message.urgent)
        except NoConnectionError:
            # Without a fault there is merely one connection fewer: this message waits for another.
            return Transacted(fault=self._refusal() or self._health.fault)
        pauses = self._health.pauses
        grouped = self._grouping.allows(connection.features) and fresh_tries == 0
        try:
            done = await transact(
                connection,
                message,
                recipients,
                still_owned=still_owned,
                before_dot=before_dot,
                fresh_tries=fresh_tries,
                lend=partial(self._pool.lend, connection) if grouped else None,
            )
            # Learned before the release: whoever is next in line must not try what just failed.
            self._learn(done, connection, pauses)
            return done
        finally:
            self._pool.release(connection)

    async def _obstacle(self, message: Message) -> Fault | None:
        """Why `message` cannot go now. On probation the first one is the probe; the others wait for what it finds."""
        if refusal := self._refusal():
            return refusal
        if not self._health.failures or self._probe is message:
            return None
        if self._probe is None:
            self._probe = message
            if self.ask_probe is None or await self.ask_probe(self) or not self._health.failures:
                return self._refusal()
        return self._refusal() or self._health.fault

    def _learn(self, done: Transacted, connection: Connection, pauses: int) -> None:
        """What a transaction, begun when there had been so many `pauses`, says about the transport."""
        if done.alone and self._grouping.failed():
            log.warning("%s (%s): %s", self.name, self._where, ALONE)
        if done.fault and done.fault.scope is not Scope.STOPPING:
            done.fault = self._pause(done.fault, connection)
        elif done.fewer:
            self._fewer("it is busy")
        elif any(outcome.reply for outcome in done.outcomes.values()) and not done.denied:
            self._denials.clear()
            if self._slots.succeeded() and not self._health.failures:
                log.info("%s (%s): %d connections again", self.name, self._where, self._slots.count)
                self._pool.resize(self._slots.count)
            if pauses == self._health.pauses:
                self._recover()

    def _end_probe(self) -> None:
        """The next one may probe at once where this one learned nothing: refused before a word was said, say."""
        self._probe = None
        if self._health.failures and self.paused_for == 0:
            self._changed()

    def _recover(self) -> None:
        if not self._health.by_hand and self._health.succeeded():
            log.info("%s (%s) works again", self.name, self._where, extra=RESUMED | self._state)
            self._pool.resize(self._slots.count)
            self._changed()

    def _deny(self, done: Transacted, message: Message, attempt: int) -> None:
        """Everybody in `done` was denied: make it a fault of the configuration, or of this message, or wait and see."""
        said = next(str(outcome) for outcome in done.outcomes.values())
        fault = self._health.fault
        if self._denials.add(message) or (fault and fault.scope is not Scope.PAUSE):
            reason = f"{self._where}: every email is denied: {said}"
            done.outcomes.clear()
            done.fault = self._pause(Fault(Scope.CONFIG, reason, about_message=True))
            return
        if self._probe is message:  # the pause had another reason, and that is over: we were heard and answered
            self._recover()
        if attempt < FINAL_ATTEMPT:
            done.outcomes.update({r: o._replace(kind=Kind.DEFERRED, note=NOTE) for r, o in done.outcomes.items()})

    def _refusal(self) -> Fault | None:
        """Why nothing can be sent now."""
        if self._stopped:
            return Fault(Scope.STOPPING, STOPPING)
        return self._health.fault if self.paused_for > 0 else None

    def _pause(self, fault: Fault, on: Connection | None = None) -> Fault | None:
        """Pause for a `fault` that came up on a connection; the fault, or None where one connection fewer will do."""
        if self._stopped:
            return Fault(Scope.STOPPING, STOPPING)
        others = self._pool.alive(besides=on)
        # Of a server that takes no connection at all nobody knows how many it would take.
        if fault.fewer and not self._health.fault and (others or not fault.crowded):
            fewer = self._fewer(fault.reason)
            if fewer and fault.crowded:
                return None
        if self._health.failed(fault):
            self._hold_back()
            log.log(*announcement(self.name, fault, self.paused_for), extra=PAUSED | self._state)
            self._changed()
        return fault

    def _fewer(self, reason: str) -> bool:
        if not self._slots.fewer():
            return False
        log.info("%s (%s): only %d connections from now on: %s", self.name, self._where, self._slots.count, reason)
        if not self._health.failures:
            self._pool.resize(self._slots.count)
        return True

    def _hold_back(self) -> None:
        """Nobody who waits is served, and after the pause one at a time."""
        self._pool.limit = 1
        self._pool.dismiss()

    def _changed(self) -> None:
        if self.on_change:
            self.on_change(self)

    @property
    def _state(self) -> dict[str, object]:
        return {"transport": self.name, "reason": self.reason, "pause_seconds": self.paused_for}

    @property
    def _where(self) -> str:
        url = self._settings.smtp_url
        return f"{url.host}:{url.port}"

    def _opening_fault(self, error: OpeningError) -> Fault:
        judgement = judge(Situation(error.stage, failures=self._health.failures), error.what)
        said = f"{error.what} ({error.detail})" if error.detail else str(error.what)
        return fault_of(self._where, error.stage, judgement, said)

    async def _open_or_pause(self) -> Connection:
        try:
            return await self._opener.open()
        except OpeningError as error:
            self._pause(self._opening_fault(error))
            raise NoConnectionError from error
