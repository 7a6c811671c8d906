"""A configured way out: sends messages over its pool, and rests when the server is in trouble.

`send` never raises for what a server does: everything is an outcome of a recipient or a fault of the transport.
"""

import asyncio
import logging
import random as stdlib_random
import ssl
import time
from collections.abc import Callable, Sequence

from outbox.core.classify import Situation, judge
from outbox.core.message import Message
from outbox.core.outcome import Fault, Report, Scope
from outbox.core.retry import Random
from outbox.core.smtp_url import Security
from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection, open_connection, tls_context
from outbox.smtp.failures import OpeningError, fault_of
from outbox.smtp.health import Health
from outbox.smtp.pool import NoConnectionError, Pool
from outbox.smtp.tokens import TokenSource, token_from_command
from outbox.smtp.transaction import STOPPING, BeforeDot, Transacted, transact

log = logging.getLogger("outbox.smtp")


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
        """Called when the transport was paused, or works again."""
        self._settings = settings
        self._clock = clock
        self._health = Health(clock, random or stdlib_random.Random())  # noqa: S311  # jitter, not secrets
        self._pool = Pool(self._open_or_pause, settings, clock)
        self._context: ssl.SSLContext | None = None
        self._context_lock = asyncio.Lock()
        self._tokens = TokenSource(self._fetch_token) if settings.oauth else None
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Transport {self.name} {self._where} {self._pool!r}>"

    @property
    def paused_for(self) -> float:
        """Seconds until it may be tried again; 0 where it may be used now."""
        return self._health.paused_for

    @property
    def reason(self) -> str | None:
        """What was wrong last, until it works again."""
        return self._health.fault.reason if self._health.fault else None

    @property
    def capacity(self) -> int:
        """How many sends at a time make sense now: none while paused, one as a probe, else as many as connections."""
        if self._stopped or self.paused_for > 0:
            return 0
        return 1 if self._health.failures else self._settings.max_connections

    async def send(
        self,
        message: Message,
        *,
        still_owned: Callable[[], bool] = lambda: True,
        before_dot: BeforeDot | None = None,
    ) -> Report:
        """Offer `message` to its recipients. Those without an outcome in the report were not tried.

        While paused it connects to nobody and returns the fault at once. `still_owned` is asked before the message
        begins and just before its final dot, `before_dot` is awaited when all but the dot has left, with the outcomes
        if it leaves and nobody learns more; where either says no, the message is not sent.
        """
        report = Report()
        fresh_tries = 0
        most = self._settings.max_recipients
        while (left := [r for r in message.recipients if r not in report.outcomes]) and report.fault is None:
            # An ASCII recipient must not depend on every server down the road knowing SMTPUTF8.
            alike = [r for r in left if r.isascii() == left[0].isascii()][:most]
            done = await self._transact(message, alike, still_owned, before_dot, fresh_tries)
            report.outcomes.update(done.outcomes)
            report.fault = done.fault
            if done.fresh:
                fresh_tries += 1
            elif 0 < len(done.outcomes) < len(alike):
                most = len(done.outcomes)  # no more than this server took at once
        return report

    async def check(self) -> str | Fault:
        """Connect, encrypt and log in, without mail: what was found, or what is wrong."""
        try:
            connection = await self._open()
        except OpeningError as error:
            return self._opening_fault(error)
        features = connection.features
        user = self._settings.smtp_url.user
        found = [
            connection.tls or "no TLS",
            f"logged in as {user}" if user else "no login",
            f"SIZE {features.size}" if features.size else "",
            "PIPELINING" if features.pipelining else "",
            "SMTPUTF8" if features.smtputf8 else "",
        ]
        await connection.close()
        return ", ".join(part for part in found if part)

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
        before_dot: BeforeDot | None,
        fresh_tries: int,
    ) -> Transacted:
        if refusal := self._refusal():
            return Transacted(fault=refusal)
        try:
            connection = await self._pool.acquire(new=fresh_tries > 0)
        except NoConnectionError:
            return Transacted(fault=self._refusal() or self._health.fault)
        try:
            # Learned before the release: whoever is next in line must not try what just failed.
            done = await transact(
                connection,
                message,
                recipients,
                still_owned=still_owned,
                before_dot=before_dot,
                fresh_tries=fresh_tries,
            )
            return self._learn(done)
        finally:
            self._pool.release(connection)

    def _learn(self, done: Transacted) -> Transacted:
        """What a transaction says about the transport."""
        if done.fault and done.fault.scope is not Scope.STOPPING:
            done.fault = self._pause(done.fault)
        elif any(outcome.reply for outcome in done.outcomes.values()) and self._health.succeeded():
            log.info("%s (%s) works again", self.name, self._where)
            self._pool.widen()
            self._changed()
        return done

    def _refusal(self) -> Fault | None:
        """Why nothing can be sent now."""
        if self._stopped:
            return Fault(Scope.STOPPING, STOPPING)
        return self._health.fault if self.paused_for > 0 else None

    def _pause(self, fault: Fault) -> Fault:
        if self._stopped:
            return Fault(Scope.STOPPING, STOPPING)
        if self._health.failed(fault):
            self._pool.limit = 1
            self._pool.dismiss()
            log.warning("%s is paused for %.0f s: %s", self.name, self.paused_for, fault.reason)
            self._changed()
        return fault

    def _changed(self) -> None:
        if self.on_change:
            self.on_change(self)

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
            return await self._open()
        except OpeningError as error:
            self._pause(self._opening_fault(error))
            raise NoConnectionError from error

    async def _open(self) -> Connection:
        context = None if self._settings.smtp_url.security is Security.PLAIN else await self._tls()
        return await open_connection(self._settings, context=context, tokens=self._tokens, clock=self._clock)

    async def _tls(self) -> ssl.SSLContext:
        """Built once: it costs tens of milliseconds of processor time, and connections come in bursts."""
        async with self._context_lock:
            if self._context is None:
                self._context = await asyncio.to_thread(tls_context, self._settings)
            return self._context

    async def _fetch_token(self) -> str:
        if self._settings.oauth_token:
            return await self._settings.oauth_token()
        return await token_from_command(self._settings.oauth_command, self._settings.timeouts.command)
