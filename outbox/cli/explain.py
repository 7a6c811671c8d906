"""Why an email is not sent, and when something happens next: what `show` and `send --wait` end with.

The code is for programs, the sentence for people; docs/operations.md has a table of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from outbox.cli.output import moment_text
from outbox.cli.ways import Ways
from outbox.core.duration import format_duration
from outbox.core.status import RETRYABLE, Status

if TYPE_CHECKING:
    from outbox.db.models import Attempt, Email
    from outbox.db.operations import Operations, PollerFacts
    from outbox.settings import Settings

SILENT = 20.0
"""Seconds after which a poller that counts as alive should have been seen again, twice."""

FOR_A_PERSON = frozenset({"paused_by_hand", "paused_configuration", "not_configured"})
"""Obstacles that no time and no poller clears away: they are told beside whatever else it waits for."""


class Why(NamedTuple):
    """The answer."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What beside the row itself decides when it is sent."""

    now: datetime
    """By the database's clock."""
    pollers: "Sequence[PollerFacts]"
    ways: Ways

    @property
    def alive(self) -> "list[PollerFacts]":
        """The pollers that are, as far as anybody can tell."""
        return [poller for poller in self.pollers if poller.alive]

    def seen(self, pollers: "Sequence[PollerFacts]") -> str:
        """Who was seen last, and how long ago."""
        last = max(pollers, key=lambda poller: poller.seen_at)
        return f"{last.name} on {last.host} was last seen {format_duration(self.silence(pollers))} ago"

    def silence(self, pollers: "Sequence[PollerFacts]") -> float:
        """Seconds since any of them was seen."""
        return min((self.now - poller.seen_at).total_seconds() for poller in pollers)


async def look_around(operations: "Operations", settings: "Settings") -> Circumstances:
    """The circumstances as they are now."""
    transports = {transport.name: transport for transport in await operations.transports()}
    ways = Ways(settings, transports, await operations.limits())
    return Circumstances(now=await operations.now(), pollers=await operations.pollers(), ways=ways)


def why_not_sent(row: "Email", attempts: "Sequence[Attempt]", around: Circumstances) -> Why | None:
    """One sentence, or None where every recipient was accepted."""
    explain: Mapping[Status, Callable[[], Why | None]] = {
        Status.SENT: lambda: None,
        Status.PENDING: lambda: _why_pending(row, attempts, around),
        Status.SENDING: lambda: _why_sending(row, around),
        Status.IN_DOUBT: lambda: _why_in_doubt(row),
    }
    status = Status(row.status)
    if status in explain:
        return explain[status]()
    again = f"; `outbox retry {row.id}` tries again" if status in RETRYABLE and not row.erased else ""
    return Why(status.value, f"{_said(row)}{again}")


def _why_pending(row: "Email", attempts: "Sequence[Attempt]", around: Circumstances) -> Why:
    if row.expires_at and row.expires_at <= around.now:
        return Why("expired", f"expired at {moment_text(row.expires_at)}; a poller will finish it, and not send it")
    if row.held:
        ways_on = f"`outbox release {row.id}` lets it go, `outbox cancel {row.id}` drops it"
        return Why("held", f"held: {row.last_error or 'no reason given'}; {ways_on}")
    on_its_way = around.ways.obstacle(row, attempts, around.now)
    besides = f"; and {on_its_way[1]}" if on_its_way and on_its_way[0] in FOR_A_PERSON else ""
    if row.due_at and row.due_at > around.now:
        code, text = _why_later(row, row.due_at, around)
        return Why(code, f"{text}{besides}")
    late = format_duration((around.now - row.due_at).total_seconds()) if row.due_at else "0s"
    if of_pollers := _of_pollers(around):
        code, text = of_pollers
        return Why(code, f"due for {late}: {text}{besides}")
    code, text = on_its_way or ("next", "a poller will take it next")
    return Why(code, f"due for {late}: {text}")


def _why_later(row: "Email", due_at: datetime, around: Circumstances) -> Why:
    when = f"{moment_text(due_at)} (in {format_duration((due_at - around.now).total_seconds())})"
    if row.last_error:
        return Why("deferred", f"will be tried again at {when} after: {row.last_error}")
    return Why("scheduled", f"scheduled for {when}")


def _why_sending(row: "Email", around: Circumstances) -> Why:
    lease = f"its lease ends at {moment_text(row.due_at)}"
    if row.claimed_by in {poller.name for poller in around.alive}:
        return Why("sending", f"being sent by {row.claimed_by} (attempt {row.attempts}); {lease}")
    then = "another will take it over then" if around.alive else "then it waits, because no poller is alive"
    return Why("poller_gone", f"claimed by {row.claimed_by}, which is not alive any more; {lease}, {then}")


def _why_in_doubt(row: "Email") -> Why:
    once_more = "" if row.erased else f", `outbox resolve {row.id} --resend` sends it once more"
    closes = f"`outbox resolve {row.id} --sent` closes it"
    return Why("in_doubt", f"nobody knows whether it went out: {_said(row)}; {closes}{once_more}")


def _of_pollers(around: Circumstances) -> tuple[str, str] | None:
    if not around.alive:
        seen = f" ({around.seen(around.pollers)})" if around.pollers else ""
        return "no_poller", f"no poller is alive{seen}; start `outbox run`"
    if around.silence(around.alive) > SILENT:
        return "poller_silent", f"{around.seen(around.alive)}; if it hangs, restart it"
    return None


def _said(row: "Email") -> str:
    return row.last_error or f"it is {row.status}"
