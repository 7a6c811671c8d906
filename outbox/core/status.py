"""The statuses of an email and the changes between them. `docs/state_machine.md` draws this table."""

from enum import StrEnum


class Status(StrEnum):
    """Where an email stands; the values of `email_outbox.status`."""

    PENDING = "pending"  # waits for `due_at`
    SENDING = "sending"  # claimed by a poller until `due_at` (the end of its lease)
    SENT = "sent"  # every recipient accepted
    PARTIAL = "partial"  # finished: some recipients accepted, some refused
    FAILED = "failed"  # finished: nobody accepted
    EXPIRED = "expired"  # `expires_at` passed before it could be sent
    CANCELLED = "cancelled"  # by a person or the application, before it was sent
    IN_DOUBT = "in_doubt"  # `on_doubt = 'hold'` and nobody knows whether it went out


FINAL = frozenset({Status.SENT, Status.PARTIAL, Status.FAILED, Status.EXPIRED, Status.CANCELLED, Status.IN_DOUBT})
"""Statuses in which the poller never looks at the row again."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.SENDING, Status.EXPIRED, Status.CANCELLED}),
    Status.SENDING: frozenset(
        {Status.SENDING, Status.PENDING, Status.SENT, Status.PARTIAL, Status.FAILED, Status.EXPIRED, Status.IN_DOUBT}
    ),
    # From here on only a person moves a row.
    Status.SENT: frozenset(),
    Status.PARTIAL: frozenset({Status.PENDING}),
    Status.FAILED: frozenset({Status.PENDING}),
    Status.EXPIRED: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset({Status.PENDING}),
    Status.IN_DOUBT: frozenset({Status.PENDING, Status.SENT, Status.PARTIAL}),
}
"""Which status may follow which. `sending → sending` is the take-over of an expired lease."""

RETRYABLE = frozenset({s for s in FINAL if Status.PENDING in TRANSITIONS[s]} - {Status.IN_DOUBT})
"""Statuses that `outbox retry` takes. A row in doubt may have been sent, so it is not tried again in passing."""


def may_become(old: Status, new: Status) -> bool:
    """Whether a row may go from `old` to `new`."""
    return new in TRANSITIONS[old]
