"""What commands and people do with the outbox: look at it, retry, cancel, pause. Never on the way of an email."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Row, case, func, insert, null, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import defer

from outbox.core.errors import NotFoundError
from outbox.core.outcome import Kind
from outbox.core.status import RETRYABLE, Status
from outbox.db import sight
from outbox.db.engine import read_only
from outbox.db.erase import erase
from outbox.db.models import Attachment, Attempt, Blob, Email, LimitState, PollerState, TransportState
from outbox.db.transports import pause_by_hand, paused_by_hand, resume
from outbox.db.types import SecondsUntil, UtcNow, checked
from outbox.db.wake import call

ALIVE = 30.0
"""A poller counts as alive when it was seen so many seconds ago, or less."""

BATCH = 500
"""Rows changed in one transaction, at most: pollers write in between."""


@dataclass(frozen=True, slots=True)
class PollerFacts:
    """A poller, as it last reported."""

    name: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class TransportFacts:
    """What is on record about a transport. With a reason and not `paused` it is on probation."""

    name: str
    paused_until: datetime | None
    reason: str | None
    paused: bool
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class AttachmentFacts:
    """An attachment without its bytes; `size` counts them."""

    filename: str
    content_type: str | None
    cid: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Changed:
    """Which emails an operation changed, and for each of the others why not."""

    done: list[int] = field(default_factory=list)
    unchanged: dict[int, str] = field(default_factory=dict)


class Operations:
    """All of it over one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = read_only(engine)

    async def counts(self, *, unfinished_only: bool = False) -> dict[str, int]:
        """How many emails there are of every status. The finished ones are counted in their index, all of it; where
        only the unfinished are asked for, none of the others is read."""
        async with self._reader.connect() as connection:
            found = await sight.unfinished(connection)
            return found if unfinished_only else found | await sight.finished(connection)

    async def due(self) -> int:
        """How many emails are due now. Reads all of those that wait."""
        async with self._reader.connect() as connection:
            counted = select(func.count()).select_from(Email).where(Email.due_at <= UtcNow())
            return int((await connection.execute(counted)).scalar_one())

    async def oldest_due_seconds(self) -> float | None:
        """How long the most overdue email has waited past its `due_at`; None where none is overdue."""
        async with self._reader.connect() as connection:
            return await sight.oldest_due(connection)

    async def pollers(self) -> list[PollerFacts]:
        """All that reported within a day and did not sign off, the longest running first."""
        alive = (SecondsUntil(PollerState.seen_at) >= -ALIVE).label("alive")
        async with AsyncSession(self._reader) as session:
            found = await session.execute(select(PollerState, alive).order_by(PollerState.started_at, PollerState.name))
            return [
                PollerFacts(p.name, p.host, p.pid, p.version, p.started_at, p.seen_at, bool(alive))
                for p, alive in found
            ]

    async def transports(self) -> list[TransportFacts]:
        """All that were ever paused, by name."""
        paused = (func.coalesce(SecondsUntil(TransportState.paused_until), 0) > 0).label("paused")
        by_hand = paused_by_hand().label("by_hand")
        async with AsyncSession(self._reader) as session:
            found = await session.execute(select(TransportState, paused, by_hand).order_by(TransportState.name))
            return [
                TransportFacts(t.name, t.paused_until, t.reason, bool(paused), bool(by_hand))
                for t, paused, by_hand in found
            ]

    async def limits(self) -> dict[str, datetime]:
        """When the shared limits let the next email go, where that is not now: by transport, or `@domain`."""
        states = (TransportState, LimitState)
        async with self._reader.connect() as connection:
            found = [
                (await connection.execute(select(of.name, of.next_send_at).where(of.next_send_at > UtcNow()))).all()
                for of in states
            ]
        return {row.name: row.next_send_at for rows in found for row in rows}

    async def now(self) -> datetime:
        """By the database's clock."""
        async with self._reader.connect() as connection:
            return (await connection.execute(select(UtcNow()))).scalar_one()

    async def pause(self, names: Collection[str]) -> set[str]:
        """Pause transports until somebody resumes them; those that were not paused by hand before."""
        async with self._engine.begin() as connection:
            return await pause_by_hand(connection, names)

    async def resume(self, names: Collection[str]) -> set[str]:
        """End the pauses of transports, whoever made them; those that were not well before."""
        async with self._engine.begin() as connection:
            return await resume(connection, names)

    async def emails(
        self, status: str | None = None, to: str | None = None, tag: str | None = None, limit: int = 50
    ) -> list[Email]:
        """The newest emails first, without bodies and context. `to` is part of any recipient, in any case."""
        wanted: list[ColumnElement[bool]] = [true()]
        if status is not None:
            wanted.append(Email.status == status)
        if tag is not None:
            wanted.append(Email.tag == tag)
        if to is not None:
            columns = (Email.to_addrs, Email.cc_addrs, Email.bcc_addrs)
            wanted.append(or_(*(func.lower(column).contains(to.lower(), autoescape=True) for column in columns)))
        content = (defer(column, raiseload=True) for column in (Email.body_text, Email.body_html, Email.context))
        newest = select(Email).where(*wanted).order_by(Email.id.desc()).limit(limit).options(*content)
        async with AsyncSession(self._reader) as session:
            return list((await session.scalars(newest)).all())

    async def email(self, id: int) -> Email:  # noqa: A002  # the column's name
        """One email with everything but its attachments. Raises NotFoundError."""
        async with AsyncSession(self._reader) as session:
            found = (await session.scalars(select(Email).where(Email.id == id))).one_or_none()
        if found is None:
            raise NotFoundError(f"there is no email {id}")
        return found

    async def attempts(self, id: int) -> list[Attempt]:  # noqa: A002  # the column's name
        """Every outcome on record for one email, the oldest first."""
        async with AsyncSession(self._reader) as session:
            found = await session.scalars(select(Attempt).where(Attempt.outbox_id == id).order_by(Attempt.id))
            return list(found.all())

    async def attachment_facts(self, id: int) -> list[AttachmentFacts]:  # noqa: A002  # the column's name
        """What is attached to one email, in its order."""
        size = func.length(func.coalesce(Attachment.inline, Blob.content))
        files = select(Attachment.filename, Attachment.content_type, Attachment.cid, size)
        files = files.outerjoin(Blob, Blob.id == Attachment.blob_id).where(Attachment.outbox_id == id)
        async with self._reader.connect() as connection:
            found = await connection.execute(files.order_by(Attachment.position, Attachment.id))
            return [AttachmentFacts(*row) for row in found]

    async def retry(self, ids: Collection[int]) -> Changed:
        """Make finished emails due again, with all their attempts. Who has accepted one is not sent it again."""
        changed = Changed()
        for batch in _batches(ids):
            async with self._engine.begin() as connection:
                done = await _requeue(connection, batch)
                await _forgive(connection, done)
                await connection.run_sync(call)
                changed.done.extend(done)
                changed.unchanged.update(await _why_not(connection, set(batch) - set(done)))
        return changed

    async def retry_status(self, status: str) -> AsyncIterator[int]:
        """`retry` for all emails of a status that have their content; how many of each batch. Raises ValueError where
        that status is not one to retry."""
        if status not in RETRYABLE:
            raise ValueError(f"status {status!r} cannot be retried; one of {', '.join(sorted(RETRYABLE))} can")
        last = 0
        while True:
            some = select(Email.id).where(Email.status == status, Email.erased.is_(False), Email.id > last)
            async with self._reader.connect() as connection:
                ids = (await connection.scalars(some.order_by(Email.id).limit(BATCH))).all()
            if not ids:
                return
            began = time.monotonic()
            yield len((await self.retry(ids)).done)
            await asyncio.sleep(time.monotonic() - began)  # as long for others
            last = ids[-1]

    async def retryable(self, status: str) -> tuple[int, int]:
        """How many emails of a status have their content, and how many do not. Reads the whole table."""
        erased = case((Email.erased, 1), else_=0)
        counted = select(func.count(), func.coalesce(func.sum(erased), 0)).where(Email.status == status)
        async with self._reader.connect() as connection:
            all_, without = (await connection.execute(counted)).one()
        return all_ - without, without

    async def cancel(self, ids: Collection[int]) -> Changed:
        """Finish emails that nobody has begun to send."""
        changed = Changed()
        ended = {"status": Status.CANCELLED, "due_at": None, "finished_at": UtcNow()}
        for batch in _batches(ids):
            pending = update(Email).where(Email.id.in_(batch), Email.status == Status.PENDING).values(ended)
            async with self._engine.begin() as connection:
                rows = (await connection.execute(pending.returning(Email.id, Email.sensitive))).all()
                await connection.run_sync(erase, [row.id for row in rows if row.sensitive])
                done = sorted(row.id for row in rows)
                changed.done.extend(done)
                changed.unchanged.update(await _why_not(connection, set(batch) - set(done)))
        return changed


def _batches(ids: Collection[int]) -> list[Sequence[int]]:
    ordered = sorted(set(ids))
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]


async def _requeue(connection: AsyncConnection, ids: Sequence[int]) -> list[int]:
    over = case((Email.expires_at <= UtcNow(), null()), else_=Email.expires_at)  # whoever asks for it wants it sent
    due = {"status": Status.PENDING, "due_at": UtcNow(), "attempts": 0, "finished_at": None, "expires_at": over}
    due["held"] = False  # the flood guard lets it pass
    # Without its content it would go out empty.
    finished = update(Email).where(Email.id.in_(ids), checked(Email.status.in_(RETRYABLE), Email.erased.is_(False)))
    return sorted((await connection.scalars(finished.values(due).returning(Email.id))).all())


async def _forgive(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Put on record that the refused are to be tried again; the record is where the next attempt reads whom to skip."""
    tried = select(Attempt.outbox_id, Attempt.recipient, Attempt.attempt, Attempt.outcome)
    last: dict[tuple[int, str], Row[int, str, int, str]] = {}
    for row in await connection.execute(tried.where(Attempt.outbox_id.in_(ids)).order_by(Attempt.id)):
        before = last.get((row.outbox_id, row.recipient))
        if before is None or before.outcome != Kind.ACCEPTED:
            last[row.outbox_id, row.recipient] = row
    again = [
        {
            "outbox_id": row.outbox_id,
            "attempt": row.attempt,
            "recipient": row.recipient,
            "outcome": Kind.DEFERRED.value,
            "reply": "retry requested by hand",
        }
        for row in last.values()
        if row.outcome == Kind.REFUSED
    ]
    if again:
        await connection.execute(insert(Attempt), again)


async def _why_not(connection: AsyncConnection, ids: Collection[int]) -> dict[int, str]:
    if not ids:
        return {}
    standing = select(Email.id, Email.status, Email.sensitive, Email.erased).where(Email.id.in_(ids))
    found = {row.id: row for row in await connection.execute(standing)}
    return {id_: _obstacle(found[id_]) if id_ in found else "no such email" for id_ in ids}


def _obstacle(row: Row[int, str, bool, bool]) -> str:
    status = row.status
    if status == Status.SENDING:
        return "is being sent right now"
    if status == Status.IN_DOUBT:
        return "is in doubt: it may have been sent already; see `outbox resolve`"
    if row.erased and status in RETRYABLE:
        return f"is already {status}, and its content was erased{' because it is sensitive' * row.sensitive}"
    return f"is already {status}"
