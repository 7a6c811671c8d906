"""What `status --check` holds the outbox to: limits, and what is said where one is exceeded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from outbox.cli.output import moment_text
from outbox.cli.pausing import pause_text
from outbox.core.duration import format_duration

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from outbox.db.operations import PollerFacts, TransportFacts


@dataclass(frozen=True, slots=True)
class Limits:
    """As the options give them; None where nobody asks. Durations are in seconds."""

    max_wait: float
    max_wait_urgent: float | None = None
    max_failed: int | None = None
    window: float = 3600.0
    max_in_doubt: int | None = None
    max_held: int | None = None
    min_pollers: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What is compared with the limits. Counts go no further than one beyond theirs; None where nobody asks."""

    oldest_due_seconds: float | None
    pollers: "list[PollerFacts]"
    transports: "list[TransportFacts]"
    limits: Mapping[str, datetime] = field(default_factory=dict)
    """Rate limits that let nothing go before then, by transport or `@domain`."""
    urgent_seconds: float | None = None
    failed: int | None = None
    in_doubt: int | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """One line of the answer; the field names are the JSON keys."""

    code: str
    text: str


async def count(connection: "AsyncConnection", limits: Limits, measured: Measured) -> Measured:
    """With what only its option asks for. What is finished is read as far as it matters."""
    from outbox.core.status import Status
    from outbox.db import sight

    if limits.max_failed is not None:
        failed = await sight.ended(connection, Status.FAILED, limits.window, limits.max_failed + 1)
        measured = replace(measured, failed=failed)
    if limits.max_in_doubt is not None:
        in_doubt = await sight.ended(connection, Status.IN_DOUBT, None, limits.max_in_doubt + 1)
        measured = replace(measured, in_doubt=in_doubt)
    if limits.max_held is not None:
        lanes = await sight.lanes(connection, max(sight.MOST, limits.max_held + 1))
        measured = replace(measured, held=sum(lane.held for lane in lanes))
    if limits.max_wait_urgent is not None:
        measured = replace(measured, urgent_seconds=await sight.oldest_due(connection, priority=0))
    return measured


def breaches(measured: Measured, limits: Limits) -> list[Breach]:
    """In the order in which a person would look into them; none where mail moves."""
    return [*_of_transports(measured), *_of_waiting(measured, limits), *_of_counts(measured, limits)]


def _of_transports(measured: Measured) -> Iterator[Breach]:
    for transport in measured.transports:
        if paused := pause_text(transport):
            yield Breach("transport_paused", f"transport {transport.name} is paused{paused}")


def _of_waiting(measured: Measured, limits: Limits) -> Iterator[Breach]:
    alive = sum(poller.alive for poller in measured.pollers)
    if limits.min_pollers is not None and alive < limits.min_pollers:
        yield Breach("min_pollers", f"pollers alive: {alive}, fewer than {limits.min_pollers}")
    oldest, urgent = measured.oldest_due_seconds, measured.urgent_seconds
    if oldest is not None:
        closed = [f"{name} is at its limit until {moment_text(until)}" for name, until in measured.limits.items()]
        waits = "; ".join([f"mail has been due for {format_duration(oldest)}", *closed])
        if not alive:
            yield Breach("no_poller", f"{waits} and no poller is alive: start `outbox run`")
        elif oldest > limits.max_wait:
            yield Breach("max_wait", waits)
    if urgent is not None and limits.max_wait_urgent is not None and urgent > limits.max_wait_urgent:
        yield Breach("max_wait_urgent", f"urgent mail has been due for {format_duration(urgent)}")


def _of_counts(measured: Measured, limits: Limits) -> Iterator[Breach]:
    window = format_duration(limits.window)
    for code, found, most, what in (
        (
            "max_failed",
            measured.failed,
            limits.max_failed,
            f"failed in the last {window}: `outbox list --status failed`",
        ),
        ("max_in_doubt", measured.in_doubt, limits.max_in_doubt, "are in doubt: `outbox list --status in_doubt`"),
        ("max_held", measured.held, limits.max_held, "are held: `outbox release` lets them go"),
    ):
        if found is not None and most is not None and found > most:
            yield Breach(code, f"more than {most} emails {what}")
