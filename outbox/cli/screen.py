"""What `top` shows: one frame, from what is known at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from outbox.cli.output import STYLES, moment_text, one_line
from outbox.cli.pausing import state_words
from outbox.core.duration import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from outbox.db.operations import PollerFacts, TransportFacts
    from outbox.db.sight import Failure, Flow, Lane

LANES = ("urgent", "normal", "bulk")
RATES = ("accepted", "deferred", "refused", "in_doubt")
"""Outcomes that have a column."""

REPLY = 160
"""Characters of a reply that are shown."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that one frame tells."""

    where: str
    now: datetime
    lanes: "Sequence[Lane]"
    flow: "Sequence[Flow]"
    failures: "Sequence[Failure]"
    pollers: "Sequence[PollerFacts]"
    transports: "Sequence[TransportFacts]"
    limits: Mapping[str, datetime]


def frame(view: View, hint: str, trouble: str | None = None) -> "RenderableType":
    """The whole of it; `trouble` is what is wrong with looking, so that it may be out of date."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble(("outbox ", "bold"), one_line(view.where), "  ", moment_text(view.now), "  ", (hint, "dim"))
    parts: list[RenderableType] = [head]
    if trouble:
        parts.append(Text(one_line(trouble), "red"))
    parts += [_lanes(view), _transports(view), _pollers(view), _failures(view)]
    return Group(*(part for one in parts for part in (one, Text())))


def _lanes(view: View) -> "Table":
    table = _table("lane", ">due", ">oldest due", ">later", ">held")
    for lane in view.lanes:
        oldest = lane.oldest_due_seconds
        counts = (f"{count}{'+' if lane.more and count else ''}" for count in (lane.due, lane.later, lane.held))
        due, later, held = counts
        _add(table, LANES[lane.priority], due, "" if oldest is None else format_duration(oldest), later, held)
    return table


def _transports(view: View) -> "Table":
    table = _table("transport", "state", "next try", *(f">{outcome}/s" for outcome in RATES), "reason")
    names = {transport.name: transport for transport in view.transports}
    for name in [*names, *sorted({one.transport or "" for one in view.flow} - names.keys())]:
        rates = {one.outcome: one.per_second for one in view.flow if (one.transport or "") == name}
        state, next_try = state_words(names[name]) if name in names else ("", "")
        if name in view.limits and not next_try:
            state, next_try = "at its limit", moment_text(view.limits[name])
        reason = names[name].reason if name in names else ""
        _add(table, name or "(none)", state, next_try, *(f"{rates.get(outcome, 0):.1f}" for outcome in RATES), reason)
    return table


def _pollers(view: View) -> "Table":
    table = _table("poller", "host", ">pid", "version", "seen", "alive")
    for poller in view.pollers:
        ago = format_duration(max((view.now - poller.seen_at).total_seconds(), 0.0))
        alive = "yes" if poller.alive else "no"
        _add(table, poller.name, poller.host, poller.pid, poller.version, f"{ago} ago", alive)
    if not view.pollers:
        _add(table, "none")
    return table


def _failures(view: View) -> "Table":
    from rich.text import Text

    table = _table("latest failures", ">email", "recipient", "outcome", "reply")
    for failure in view.failures:
        reply = " ".join(str(part) for part in (failure.code, failure.reply) if part)
        table.add_row(
            f"{format_duration(max(failure.seconds_ago, 0.0))} ago",
            str(failure.email),
            Text(one_line(failure.recipient)),
            Text(failure.outcome, STYLES.get(failure.outcome, "")),
            Text(one_line(reply, REPLY)),
        )
    if not view.failures:
        _add(table, "none")
    return table


def _table(*columns: str) -> "Table":
    """`>` before a name: numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    return table


def _add(table: "Table", *cells: object) -> None:
    from rich.text import Text

    # Text, not str: rich would take "[bold]" in a reason for its markup.
    table.add_row(*(Text(one_line(cell, REPLY)) for cell in cells))
