"""The composition root: the only place that builds engine, store, transports and poller."""

import asyncio
import logging
import random
import secrets
import socket
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from outbox.attempt_log import AttemptLog
from outbox.claiming import Rules
from outbox.core.errors import DatabaseError
from outbox.core.logs import LogFormat
from outbox.core.message import MessageIds
from outbox.core.observer import Observer, Observers
from outbox.core.retry import drop, hold
from outbox.db.engine import create_engine
from outbox.db.flood import FloodGuard
from outbox.db.guard import open_guard
from outbox.db.limits import SharedLimits
from outbox.db.registry import Registry
from outbox.db.schema import require_schema
from outbox.db.store import open_store
from outbox.db.transports import Transports
from outbox.db.wake import subscribe
from outbox.db.watch import FileWatch
from outbox.delivery import Delivery
from outbox.gates import Gates
from outbox.leases import lease_clock
from outbox.mail.composer import Composer
from outbox.maintenance import Maintenance, Retention
from outbox.pauses import Pauses
from outbox.poller import Pace, PollLoop
from outbox.settings import Settings
from outbox.smtp.transport import Transport
from outbox.takeover import Takeover

if TYPE_CHECKING:
    from outbox.metrics import Metrics

log = logging.getLogger("outbox")

LOCK_PATIENCE = 5.0
"""Seconds to wait for another writer of a SQLite file. Everything is tried again, and a stop should not take long."""

FLUSH_BOUND = 5.0
"""Seconds for the last results to be written on the way out. What is not written then is sent again after its lease:
a copy, never a loss."""


def poller_name() -> str:
    """New at every start: a reused name would hide the rows of the one who had it before."""
    return f"{socket.gethostname()}-{secrets.token_hex(4)}"


class Poller:
    """Sends email for as long as it is entered: `async with Poller(settings):`, e.g. in an ASGI lifespan.

    Entering raises SettingsError or DatabaseError where it cannot work. Leaving drains: it stops claiming, finishes
    what is in flight within `drain_timeout`, gives the rest back. With `drain`, it also ends by itself when nothing
    is due any more; wait for that with `finished()`.
    """

    def __init__(self, settings: Settings | None = None, *, drain: bool = False) -> None:
        self._settings = settings or Settings.load()
        self._drain = drain
        self.name = poller_name()
        self._transports: dict[str, Transport] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics: Metrics | None = None
        self._hurried = False
        self._leaving = False

    async def __aenter__(self) -> Self:
        self._build()
        try:
            await require_schema(self._engine)
            if self._metrics:  # before it signs on: who cannot listen does not poll, and should not be on record
                self._metrics.start(self._loop.leases, self._transports)
            await self._guard.hold(self.name)
            await self._takeover.look()  # first, since signing on forgets those who are long gone, and their guards
            await self._maintenance.round()
            await self._pauses.round()
        except BaseException:
            if self._metrics:
                await self._metrics.stop()
            await self._guard.release()
            await self._engine.dispose()
            raise
        self._start("poll", self._loop.run(drain=self._drain))
        self._start("record", self._loop.recorder.run())
        self._start("renew", self._loop.leases.keep())
        self._start("takeover", self._takeover.run())
        self._start("maintenance", self._maintenance.run())
        self._start("retention", self._retention.run())
        self._start("pauses", self._pauses.run())
        self._start("watch", self._watch())
        if self._metrics:
            self._start("metrics", self._metrics.run(self._store))
        self._unsubscribe = subscribe(self._wake_from_any_thread)
        log.info("%s polls %r", self.name, self._engine.url, extra={"event": "poller_started", "poller": self.name})
        for warning in self._settings.elsewhere.warnings():
            log.warning("%s", warning)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        # A server that loses patience cancels more than once; what is half closed would go on showing life.
        self._leaving = True
        closing = asyncio.create_task(self._close(), name="outbox-close")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            self.hurry()
            await asyncio.wait([closing])
            raise

    async def finished(self) -> None:
        """Until a drain has nothing left to do. Raises what ended any part of the poller against its will."""
        poll = self._tasks[0]
        while not poll.done():
            await asyncio.wait([task for task in self._tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    task.result()
        poll.result()

    async def left_behind(self) -> bool:
        """Whether something is still due; after a drain that means that it could not be sent."""
        due = await self._store.next_due()
        return due is not None and due <= 0

    @property
    def rounds(self) -> int:
        """How often it looked for email: while that goes up, it is alive."""
        return self._loop.rounds

    @property
    def leaving(self) -> bool:
        """Whether it is being left: what it does now has its own bound."""
        return self._leaving

    @property
    def status(self) -> str:
        """How it is, in one line."""
        faults = [f"{name} is paused: {one.reason}" for name, one in self._transports.items() if one.paused_for > 0]
        return "; ".join([f"{self.name} polls, {len(self._loop.leases)} emails in hand", *faults])

    def look(self) -> None:
        """Have it look for email at once."""
        self._loop.wake.set()

    def hurry(self) -> None:
        """Break off what is in flight, now: what was not tried is given back, what may have arrived is in doubt."""
        self._hurried = True
        self._composer.abort()
        self._loop.hurry()
        for transport in self._transports.values():
            transport.abort()

    def _build(self) -> None:
        settings = self._settings
        sender = settings.default_sender
        chance = random.Random()  # noqa: S311  # jitter, not secrets
        self._asyncio_loop = asyncio.get_running_loop()
        self._engine = create_engine(settings.database_url.get_secret_value(), patience=LOCK_PATIENCE)
        self._store = open_store(self._engine)
        self._guard = open_guard(self._engine)
        self._registry = Registry(self._store)
        observer = self._observer()
        self._maintenance = Maintenance(self.name, self._store, self._registry, observer)
        self._retention = Retention(self._store, settings.retention.rules)
        for name, transport_settings in settings.transports.items():
            self._transports[name] = Transport(name, transport_settings, clock=time.monotonic, random=chance)
        self._composer = Composer.configured(settings)
        delivery = Delivery(
            composer=self._composer,
            elsewhere=settings.elsewhere,
            transports=self._transports,
            load_content=partial(self._store.whole, most=settings.max_message_size),
            size_of_files=partial(self._store.size_of_attachments, most=settings.max_message_size),
            load_files=self._store.attachments,
            mark=partial(self._store.mark, poller=self.name),
            policy=settings.retry_policy,
            random=chance,
        )
        self._loop = PollLoop(
            self.name,
            self._store,
            delivery,
            self._rules(sender.domain),
            new_message_ids=lambda: MessageIds.new(datetime.now(UTC), sender.domain),
            pace=Pace(lease=settings.lease, poll_interval=settings.poll_interval, clock=lease_clock(), random=chance),
            observer=observer,
        )
        self._takeover = Takeover(self.name, self._registry, self._guard, self._loop.leases, time.monotonic)
        self._share_pauses()

    def _rules(self, sender_domain: str) -> Rules:
        settings, flood = self._settings, self._settings.flood_guard
        gates = Gates(
            self._transports,
            settings.default_transport,
            sender_domain=sender_domain,
            routes=[one.route for one in settings.routes],
            instead={name: one.failover for name, one in settings.transports.items()},
            limits=settings.limits,
        )
        return Rules(
            gates=gates,
            limits=SharedLimits(self._store, settings.limits),
            guard=FloodGuard(self._store, flood.limit, flood.per) if flood else None,
            flooded=drop if flood and flood.action == "drop" else hold,
        )

    def _observer(self) -> Observer:
        log_of_attempts = AttemptLog(every=self._settings.log_format is LogFormat.JSON)
        if self._settings.metrics_port is None:
            return log_of_attempts
        from outbox.metrics import Metrics  # with prometheus_client, which not everybody has

        self._metrics = Metrics(self._settings.metrics_host, self._settings.metrics_port)
        return Observers(log_of_attempts, self._metrics)

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=f"outbox-{name}")
        task.add_done_callback(_report_death)
        self._tasks.append(task)

    def _share_pauses(self) -> None:
        self._pauses = Pauses(Transports(self._store), self._transports, self._loop.wake.set)
        for transport in self._transports.values():
            transport.on_change = self._transport_changed
            transport.ask_probe = self._pauses.may_probe

    def _transport_changed(self, transport: Transport) -> None:
        self._pauses.changed(transport)
        self._loop.wake.set()

    def _wake_from_any_thread(self) -> None:
        self._asyncio_loop.call_soon_threadsafe(self._loop.wake.set)

    async def _watch(self) -> None:
        """Wake the loop when somebody else commits."""
        if self._engine.dialect.name == "sqlite":
            await self._watch_file()
        elif self._settings.listen:
            from outbox.db.listen import Listener  # with asyncpg, which not everybody has

            await Listener(self._engine, self._loop.wake.set).run()

    async def _watch_file(self) -> None:
        watch = FileWatch(str(self._engine.url.database), self._committed)
        try:
            await asyncio.Event().wait()
        finally:
            watch.close()

    def _committed(self) -> None:
        self._loop.wake.set()
        self._pauses.hint()

    async def _close(self) -> None:
        poll, end = self._tasks[0], time.monotonic() + self._settings.drain_timeout
        self._unsubscribe()
        self._loop.stop()
        await asyncio.wait([poll], timeout=FLUSH_BOUND)
        await self._loop.finish(max(0.0, end - time.monotonic()), self.hurry)
        left = FLUSH_BOUND if self._hurried else max(FLUSH_BOUND, end - time.monotonic())
        await _bounded(self._loop.recorder.written(), left, "the last results could not be written")
        await _bounded(self._loop.settled(), FLUSH_BOUND, "the limits could not be told what was not sent")
        await _bounded(self._pauses.close(), FLUSH_BOUND, "the state of the transports could not be told")
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        if self._metrics:
            await self._metrics.stop()
        await asyncio.gather(self._composer.close(), *(transport.close() for transport in self._transports.values()))
        await _bounded(self._registry.sign_off(self.name), FLUSH_BOUND, "signing off failed")
        await self._guard.release()
        await self._store.close()
        await self._engine.dispose()
        lost = self._loop.leases.lost
        said = f"; lease_lost: {lost} in all" if lost else ""
        log.info("%s stopped%s", self.name, said, extra={"event": "poller_stopped", "poller": self.name})


async def _bounded(work: Coroutine[None, None, None], seconds: float, otherwise: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except (DatabaseError, TimeoutError) as error:
        log.warning("%s within %.0f s%s", otherwise, seconds, f": {error}" if str(error) else "")


def _report_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        log.critical("%s died: mail is not moving properly; restart", task.get_name(), exc_info=task.exception())
