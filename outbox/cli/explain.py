"""Why an email is not sent, and when something happens next: the sentence that `show` and `send --wait` end with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from outbox.cli.output import moment_text
from outbox.cli.pausing import pause_text
from outbox.core.duration import format_duration
from outbox.core.status import RETRYABLE, Status

if TYPE_CHECKING:
    from outbox.db.models import Email
    from outbox.db.operations import Operations
    from outbox.settings import Settings


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What beside the row itself decides when it is sent."""

    now: datetime
    alive_pollers: Collection[str]
    paused: Mapping[str, str]
    """Paused transports, each with the words that say until when and why."""
    default_transport: str | None


async def look_around(operations: "Operations", settings: "Settings") -> Circumstances:
    """The circumstances as they are now."""
    texts = {transport.name: pause_text(transport) for transport in await operations.transports()}
    return Circumstances(
        now=datetime.now(UTC),
        alive_pollers={poller.name for poller in await operations.pollers() if poller.alive},
        paused={name: text for name, text in texts.items() if text},
        default_transport=settings.default_transport if settings.transports else None,
    )


def why_not_sent(row: "Email", around: Circumstances) -> str | None:
    """One sentence, or None where every recipient was accepted."""
    match Status(row.status):
        case Status.SENT:
            return None
        case Status.PENDING:
            return _why_pending(row, around)
        case Status.SENDING:
            return _why_sending(row, around)
        case Status.IN_DOUBT:
            once_more = "" if row.erased else f", `outbox resolve {row.id} --resend` sends it once more"
            closes = f"`outbox resolve {row.id} --sent` closes it"
            return f"nobody knows whether it went out: {_said(row)}; {closes}{once_more}"
    again = f"; `outbox retry {row.id}` tries again" if row.status in RETRYABLE and not row.erased else ""
    return f"{_said(row)}{again}"


def _why_pending(row: "Email", around: Circumstances) -> str:
    if row.due_at and row.due_at > around.now:
        when = f"{moment_text(row.due_at)} (in {format_duration((row.due_at - around.now).total_seconds())})"
        if row.last_error:
            return f"will be tried again at {when} after: {row.last_error}"
        return f"scheduled for {when}"
    late = format_duration((around.now - row.due_at).total_seconds()) if row.due_at else "0s"
    return f"due for {late}: {_obstacle(row, around) or 'a poller will take it next'}"


def _why_sending(row: "Email", around: Circumstances) -> str:
    lease = f"its lease ends at {moment_text(row.due_at)}"
    if row.claimed_by in around.alive_pollers:
        return f"being sent by {row.claimed_by} (attempt {row.attempts}); {lease}"
    then = "another will take it over then" if around.alive_pollers else "then it waits, because no poller is alive"
    return f"claimed by {row.claimed_by}, which is not alive any more; {lease}, {then}"


def _obstacle(row: "Email", around: Circumstances) -> str | None:
    if not around.alive_pollers:
        return "no poller is alive; start `outbox run`"
    transport = row.transport or around.default_transport
    paused = around.paused.get(transport) if transport else None
    return f"transport {transport} is paused{paused}" if paused else None


def _said(row: "Email") -> str:
    return row.last_error or f"it is {row.status}"
