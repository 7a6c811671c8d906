"""The lines of `email_attempt` that a result leaves."""

from collections.abc import Sequence
from typing import Any

from outbox.core.claim import Result
from outbox.core.outcome import Kind, Outcome
from outbox.core.text import clean_text

COLUMNS = (*("outbox_id", "attempt", "recipient", "outcome", "code", "enhanced", "reply", "transport", "poller"),)

Line = tuple[int, int, str, str, int | None, str | None, str | None, str | None, str | None]
"""In the order of COLUMNS."""


def lines(result: Result, poller: str) -> list[Line]:
    """One for each outcome, those of a lost attempt first."""
    lost = [_line(result, result.attempt - 1, who, outcome, None, None) for who, outcome in result.lost.items()]
    tried = [
        _line(result, result.attempt, who, outcome, result.transport, poller)
        for who, outcome in result.outcomes.items()
    ]
    return lost + tried if lost else tried


def as_rows(found: Sequence[Line]) -> list[dict[str, Any]]:
    """As SQLAlchemy takes them."""
    return [dict(zip(COLUMNS, line, strict=True)) for line in found]


def history(outcomes: Sequence[tuple[str, str]]) -> dict[str, Kind]:
    """The last outcome of every recipient; an accepted one stays accepted."""
    last: dict[str, Kind] = {}
    for recipient, outcome in outcomes:
        if last.get(recipient) is not Kind.ACCEPTED:
            last[recipient] = Kind(outcome)
    return last


def _line(
    result: Result, attempt: int, recipient: str, outcome: Outcome, transport: str | None, poller: str | None
) -> Line:
    reply = outcome.reply
    if reply is None:
        return result.id, attempt, recipient, outcome.kind.value, None, None, _said(outcome), transport, poller
    said = _said(outcome)
    return result.id, attempt, recipient, outcome.kind.value, reply.code, reply.enhanced, said, transport, poller


def _said(outcome: Outcome) -> str | None:
    parts = (outcome.reply.text if outcome.reply else "", outcome.note)
    return clean_text(" — ".join(part for part in parts if part)) or None
