"""`outbox resolve`: a person has found out, or decides, what became of an email that is in doubt."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, case, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.core.address import parse_list
from outbox.core.errors import AddressError, NotFoundError, StatusError
from outbox.core.outcome import Kind
from outbox.core.status import Status
from outbox.core.text import clean_text
from outbox.db.models import Attempt, Email
from outbox.db.types import UtcNow, as_text
from outbox.db.wake import call

SENT = "declared sent by hand"
RESEND = "resend requested by hand"

Last = Mapping[str, Row[str, int, str, str | None]]
"""Of every recipient on record the last outcome; an accepted one stays accepted."""


async def declare_sent(engine: AsyncEngine, id: int) -> Status:  # noqa: A002  # the column's name
    """Whoever is in doubt has got it: `sent`, or `partial` where others have not. Raises NotFoundError, StatusError."""
    async with engine.begin() as connection:
        row = await _in_doubt(connection, id)
        last = await _last_outcomes(connection, id)
        everyone = list(dict.fromkeys((*_listed(row), *last)))
        # Where nobody is in doubt on record, the row itself is: then everybody without an outcome is meant.
        doubtful = _of(Kind.IN_DOUBT, last) or [
            r for r in everyone if r not in last or last[r].outcome == Kind.DEFERRED
        ]
        await _append(connection, row, last, doubtful, Kind.ACCEPTED, SENT)
        without = [r for r in everyone if r not in doubtful and (r not in last or last[r].outcome != Kind.ACCEPTED)]
        status = Status.PARTIAL if without else Status.SENT
        ended = {"status": status, "finished_at": UtcNow(), "claim_token": None, "last_error": _why(without, last)}
        await connection.execute(update(Email).where(Email.id == id).values(ended))
    return status


async def resend(engine: AsyncEngine, id: int) -> None:  # noqa: A002  # the column's name
    """Make it due now, with all its attempts, for those who are in doubt or wait; Message-ID and Date stay. Raises
    NotFoundError, and StatusError where it is not in doubt or its content has been erased."""
    async with engine.begin() as connection:
        row = await _in_doubt(connection, id)
        if row.erased:
            why = " because it is sensitive" if row.sensitive else ""
            raise StatusError(
                f"email {id} cannot be sent again: its content was erased{why}; `outbox resolve {id} --sent` closes it"
            )
        last = await _last_outcomes(connection, id)
        await _append(connection, row, last, _of(Kind.IN_DOUBT, last), Kind.DEFERRED, RESEND)
        over = case((Email.expires_at <= UtcNow(), null()), else_=Email.expires_at)  # whoever asks for it wants it sent
        due = {"status": Status.PENDING, "due_at": UtcNow(), "attempts": 0, "finished_at": None, "claim_token": None}
        due["route"] = None  # whichever server may have it, it is to be sent
        await connection.execute(update(Email).where(Email.id == id).values(**due, expires_at=over))
        await connection.run_sync(call)


async def _in_doubt(connection: AsyncConnection, id: int) -> Row[*tuple[Any, ...]]:  # noqa: A002  # the column's name
    """The row, locked until the transaction ends: of two people who resolve it, one comes too late."""
    state = (Email.id, Email.status, Email.sensitive, Email.erased, Email.attempts)
    columns = (*state, Email.to_addrs, Email.cc_addrs, Email.bcc_addrs)
    row = (await connection.execute(select(*columns).where(Email.id == id).with_for_update())).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no email {id}")
    if row.status != Status.IN_DOUBT:
        raise StatusError(f"email {id} is {row.status}, not in_doubt: there is nothing to resolve")
    return row


async def _last_outcomes(connection: AsyncConnection, id: int) -> Last:  # noqa: A002  # the column's name
    tried = select(Attempt.recipient, Attempt.attempt, Attempt.outcome, Attempt.reply).where(Attempt.outbox_id == id)
    last: dict[str, Row[str, int, str, str | None]] = {}
    for row in await connection.execute(tried.order_by(Attempt.id)):
        before = last.get(row.recipient)
        if before is None or before.outcome != Kind.ACCEPTED:
            last[row.recipient] = row
    return last


def _listed(row: Row[*tuple[Any, ...]]) -> list[str]:
    """The recipients of its lists, as far as these can be read."""
    found = []
    for text in (row.to_addrs, row.cc_addrs, row.bcc_addrs):
        try:
            found += [mailbox.address for mailbox in parse_list(as_text(text) or "").mailboxes]
        except AddressError:
            continue  # a poller would have failed the row for it
    return found


def _of(kind: Kind, last: Last) -> list[str]:
    return [recipient for recipient, row in last.items() if row.outcome == kind]


async def _append(
    connection: AsyncConnection,
    row: Row[*tuple[Any, ...]],
    last: Last,
    recipients: Collection[str],
    kind: Kind,
    reply: str,
) -> None:
    """The record is only ever added to; the next attempt reads there whom to skip."""
    rows = [
        {
            "outbox_id": row.id,
            "attempt": last[recipient].attempt if recipient in last else max(row.attempts, 1),
            "recipient": recipient,
            "outcome": kind.value,
            "reply": reply,
        }
        for recipient in recipients
    ]
    if rows:
        await connection.execute(insert(Attempt), rows)


def _why(without: Collection[str], last: Last) -> str | None:
    """The row's last error: who has not got it."""
    for recipient in without:
        said = (as_text(last[recipient].reply) or last[recipient].outcome) if recipient in last else "not tried"
        more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        return clean_text(f"{recipient}: {said}{more}")
    return None
