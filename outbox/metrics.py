"""Prometheus metrics of one poller, served by a thread of their own (docs/metrics.md names all of them).

What happens on the way of an email is counted as it happens; what a poller is like right now is looked up when
somebody asks; what waits in the database is sampled, seldom enough to cost nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from outbox.core.errors import DatabaseError, SettingsError
from outbox.core.observer import Attempted, Observer
from outbox.core.status import FINAL, Status
from outbox.db import sight
from outbox.db.store import Store
from outbox.leases import Leases
from outbox.smtp.transport import Transport

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    from outbox.scrapes import ScrapeServer  # with prometheus_client too
except ImportError as error:
    raise SettingsError("metrics_port needs prometheus_client: install email-outbox[metrics]") from error

log = logging.getLogger("outbox.metrics")

SAMPLE_INTERVAL = 15.0
"""Seconds between two looks at the queue, at least; a look that takes long is followed by a longer pause."""

SHARE = 100
"""A look is followed by this many times as long without one."""

LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics(Observer):
    """Owns a registry and an HTTP server. `start`, `run` while there is a poller, `stop`. Port 0 takes a free one."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.registry = registry = CollectorRegistry()
        self._outcomes = Counter(
            "outbox_attempts",
            "Outcomes of attempts, one for each recipient.",
            ("transport", "outcome", "code_class"),
            registry=registry,
        )
        self._finished = Counter("outbox_finished", "Emails that became final.", ("status",), registry=registry)
        for status in FINAL - {Status.CANCELLED}:  # which no poller makes an email
            self._finished.labels(status.value)  # from 0 on: who asks for the increase would miss the first one
        self._retries = Counter("outbox_retries", "Attempts that another one will follow.", registry=registry)
        self._given_back = Counter("outbox_given_back", "Emails given back untried.", registry=registry)
        self._accepted = Histogram(
            "outbox_accept_seconds",
            "From the commit, or the due_at asked for, until the server accepted it at the first attempt.",
            ("priority",),
            buckets=LATENCIES,
            registry=registry,
        )
        self._smtp = Histogram(
            "outbox_smtp_seconds",
            "From the ready message to its last answer.",
            ("transport",),
            buckets=DURATIONS,
            registry=registry,
        )
        self._claims = _sizes("outbox_claim_emails", "Emails in one claim.", registry)
        self._claim_seconds = _durations("outbox_claim_seconds", "Seconds of a claim that took something.", registry)
        self._writes = _sizes("outbox_write_results", "Results in one transaction.", registry)
        self._write_seconds = _durations("outbox_write_seconds", "Seconds of a transaction of results.", registry)
        self._queue = Gauge(
            "outbox_queue_emails", "Emails that wait, as sampled.", ("priority", "state"), registry=registry
        )
        self._oldest = Gauge(
            "outbox_oldest_due_seconds", "Age of the most overdue email.", ("priority",), registry=registry
        )
        self._sampled = Gauge("outbox_queue_sampled_timestamp_seconds", "When that was.", registry=registry)
        self._server: ScrapeServer | None = None

    @property
    def port(self) -> int | None:
        """Where they are served, if they are."""
        return self._server.server_port if self._server else None

    def claimed(self, rows: int, seconds: float) -> None:
        """See Observer."""
        self._claims.observe(rows)
        self._claim_seconds.observe(seconds)

    def attempted(self, attempted: Attempted) -> None:
        """See Observer."""
        result = attempted.result
        verdict, transport = result.verdict, result.transport or ""
        for outcome in result.outcomes.values():
            kind = f"{outcome.reply.code // 100}xx" if outcome.reply else "none"
            self._outcomes.labels(transport, outcome.kind.value, kind).inc()
        if result.smtp_seconds is not None:
            self._smtp.labels(transport).observe(result.smtp_seconds)
        if verdict.status in FINAL:
            self._finished.labels(verdict.status.value).inc()
        elif verdict.counted:
            self._retries.inc()
        else:
            self._given_back.inc()
        if verdict.status in {Status.SENT, Status.PARTIAL} and result.attempt == 1:
            self._accepted.labels(attempted.row.priority).observe(attempted.since_due)

    def written(self, results: int, seconds: float) -> None:
        """See Observer."""
        self._writes.observe(results)
        self._write_seconds.observe(seconds)

    def expired(self, emails: int) -> None:
        """See Observer."""
        self._finished.labels(Status.EXPIRED.value).inc(emails)

    def start(self, leases: Leases, transports: Mapping[str, Transport]) -> None:
        """Listen. Raises SettingsError where that is impossible."""
        self.registry.register(_Now(leases, transports))
        try:
            self._server = ScrapeServer(self._host, self._port, self.registry)
        except (OSError, ValueError) as error:  # the latter: no name of a host
            fault = error.strerror if isinstance(error, OSError) else "metrics_host is no name of a host"
            raise SettingsError(f"metrics_port: {self._host}:{self._port} cannot be listened on: {fault}") from error
        self._server.start()
        host = f"[{self._host}]" if ":" in self._host else self._host
        log.info("metrics on http://%s:%d/metrics", host, self._server.server_port)

    async def run(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Sample the queue until cancelled."""
        while True:
            began = clock()
            try:
                await self.sample(store)
            except DatabaseError as error:
                log.warning("the queue could not be looked at: %s", error)
            await asyncio.sleep(max(SAMPLE_INTERVAL, SHARE * (clock() - began)))

    async def sample(self, store: Store) -> None:
        """Look at the queue once. Raises DatabaseError."""
        async with store.read() as connection:
            lanes = await sight.lanes(connection)
        for lane in lanes:
            for state, emails in (("due", lane.due), ("later", lane.later), ("held", lane.held)):
                self._queue.labels(lane.priority, state).set(emails)
            self._oldest.labels(lane.priority).set(lane.oldest_due_seconds or 0.0)
        self._sampled.set_to_current_time()

    async def stop(self) -> None:
        """Free the port."""
        if self._server:
            server, self._server = self._server, None
            await asyncio.to_thread(server.stop)


class _Now:
    """What is so at the moment of a scrape. It is read by another thread, one value at a time."""

    def __init__(self, leases: Leases, transports: Mapping[str, Transport]) -> None:
        self._leases = leases
        self._transports = transports

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        lost = CounterMetricFamily("outbox_lease_lost", "Emails that another poller took over.")
        lost.add_metric((), self._leases.lost)
        held = GaugeMetricFamily("outbox_in_hand_emails", "Emails that this poller has claimed.")
        held.add_metric((), len(self._leases))
        yield from (lost, held, *self._of_transports())

    def _of_transports(self) -> list[Metric]:
        by_name = ("transport",)
        connections = GaugeMetricFamily(
            "outbox_connections", "Connections by what they do.", labels=("transport", "state")
        )
        waiting = GaugeMetricFamily("outbox_connections_waiting", "Emails that wait for one.", labels=by_name)
        usable = GaugeMetricFamily("outbox_connections_usable", "Connections that may be used now.", labels=by_name)
        paused = GaugeMetricFamily("outbox_transport_paused", "1 while it is paused.", labels=by_name)
        seconds = GaugeMetricFamily("outbox_transport_pause_seconds", "What is left of the pause.", labels=by_name)
        for name, transport in self._transports.items():
            usage = transport.usage._asdict()
            waiting.add_metric((name,), usage.pop("waiting"))
            for state, count in usage.items():
                connections.add_metric((name, state), count)
            left = transport.paused_for
            usable.add_metric((name,), transport.capacity)
            paused.add_metric((name,), 1.0 if left else 0.0)
            seconds.add_metric((name,), left)
        return [connections, waiting, usable, paused, seconds]


def _sizes(name: str, help_: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(name, help_, buckets=SIZES, registry=registry)


def _durations(name: str, help_: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(name, help_, buckets=DURATIONS, registry=registry)
