"""The log of attempts: one line for each, with what happened as fields for a log that is read by programs."""

import logging
from typing import Any

from outbox.core.observer import Attempted, Observer
from outbox.core.retry import Verdict
from outbox.core.status import Status

log = logging.getLogger("outbox.attempts")


class AttemptLog(Observer):
    """Tells at INFO what did not end `sent`, at DEBUG what did; with `every`, everything at INFO."""

    def __init__(self, *, every: bool = False) -> None:
        self._sent = logging.INFO if every else logging.DEBUG

    def attempted(self, attempted: Attempted) -> None:
        """See Observer."""
        row, verdict = attempted.row, attempted.result.verdict
        level = self._sent if verdict.status is Status.SENT else logging.INFO
        if log.isEnabledFor(level):
            reason = f" ({verdict.reason})" if verdict.reason else ""
            fields = fields_of(attempted)
            log.log(level, "email %d: %s%s%s", row.id, verdict.status, _next(verdict), reason, extra=fields)


def _next(verdict: Verdict) -> str:
    """What comes next, where anything does."""
    if verdict.held:
        return ", held"
    return f", next attempt in {verdict.delay:.0f} s" if verdict.delay and verdict.delay > 0 else ""


def fields_of(attempted: Attempted) -> dict[str, Any]:
    """The event of one attempt. Envelope and replies, never content."""
    row, result = attempted.row, attempted.result
    verdict = result.verdict
    return {
        "event": "attempt",
        "email": row.id,
        "attempt": result.attempt,
        "counted": verdict.counted,
        "status": verdict.status.value,
        "reason": verdict.reason,
        "next_attempt_in": None if verdict.held else verdict.delay,  # a person decides
        "recipients": [
            {
                "recipient": recipient,
                "outcome": outcome.kind.value,
                "code": outcome.reply.code if outcome.reply else None,
                "enhanced": outcome.reply.enhanced if outcome.reply else None,
                "reply": str(outcome) or None,
            }
            for recipient, outcome in result.outcomes.items()
        ],
        "transport": result.transport,
        "poller": attempted.poller,
        "priority": row.priority,
        "tag": row.tag,
        "message_id": row.message_id,
        "seconds": round(attempted.seconds, 6),
        "smtp_seconds": None if result.smtp_seconds is None else round(result.smtp_seconds, 6),
        "since_due": round(attempted.since_due, 6),
    }
