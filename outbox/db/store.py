"""Everything a poller does with the database after the INSERT. The database's clock decides, never ours.

Every write is one short transaction, and every result is written only by the claim that still owns the row. What
differs between databases is in `sqlite` and `postgresql`.
"""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import URL, ColumnElement, LargeBinary, Text, cast, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.core.claim import INLINE, AttachedFile, Claimed, Result
from outbox.core.message import MessageIds, check_size
from outbox.core.outcome import Kind, Outcome
from outbox.core.retry import EXPIRED
from outbox.core.status import FINAL, Status, may_become
from outbox.core.text import clean_text
from outbox.db.engine import read_only
from outbox.db.erase import erase
from outbox.db.failure import FAILURES, database_error
from outbox.db.lanes import LANES, lane_shares
from outbox.db.models import Attachment, Attempt, Blob, Email
from outbox.db.types import SecondsUntil, UtcNow, as_text

PATIENCE = 60.0
"""Seconds for one transaction. A connection that died without a word must not stop a poller for ever."""

SUSPECT = 3
"""Attempts of a row that was lost in all of them, from which on it is claimed alone: it may be what kills its poller,
and nobody else's attempts should be spent on finding out."""

SUSPECT_WAIT = 60.0
"""Seconds after which a suspect is claimed like any other, where the poller never gets to it alone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim writes into its rows, and which it leaves alone."""

    token: str
    poller: str
    lease: float
    message_ids: MessageIds
    held: Collection[int] = ()
    without: Sequence[str] = ()  # transports


class Store(ABC):
    """The poller's side of the tables. Open one with `open_store`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = read_only(engine)
        self._turn = 0

    async def claim(
        self,
        limit: int,
        *,
        poller: str,
        lease: float,
        message_ids: MessageIds,
        held: Collection[int] = (),
        without: Sequence[str] = (),
    ) -> list[Claimed]:
        """Up to `limit` due rows, taken for `lease` seconds: pending ones, and those whose last owner's lease ended.

        The attempt is counted and the Message-ID fixed here, before anything is sent. The most urgent come first.
        Rows `held` are not taken over by the poller that holds them: it renews them. Where nothing else is due, one
        suspect may be taken by a poller that holds nothing. Rows of the transports `without` stay as they are; ''
        stands for rows that name none.
        """
        due = await self._due(limit, without)
        if not any(due):
            return []
        self._turn += 1
        claim = Claim(uuid.uuid4().hex, poller, lease, message_ids, held, without)
        async with self.write() as connection:
            rows = await self._take(connection, lane_shares(due, limit, self._turn), claim, suspects=False)
            for lane in () if held or rows else LANES:
                one = [int(lane == other) for other in LANES]
                rows = rows or await self._take(connection, one, claim, suspects=True)
            tried = [row for row, _ in rows if not row.message_id.startswith(message_ids.prefix)]
            await self._recall(connection, tried)
        rows.sort(key=lambda found: (found[0].priority, found[1], found[0].id))
        return [row for row, _ in rows]

    @abstractmethod
    async def _take(
        self, connection: AsyncConnection, shares: Sequence[int], claim: "Claim", *, suspects: bool
    ) -> list[tuple[Claimed, Any]]:
        """Take so many due rows of each lane, suspects or all others; each with the moment it was due."""

    async def _due(self, limit: int, without: Sequence[str]) -> list[int]:
        """The due rows of each lane, counted up to `limit`. No lock is taken: an idle poller disturbs nobody."""
        due = select(Email.id).where(Email.due_at <= UtcNow(), *_other_than(without)).limit(limit)
        counts = [
            select(func.count()).select_from(due.where(Email.priority == lane).subquery()).scalar_subquery()
            for lane in LANES
        ]
        async with self.read() as connection:
            return list((await connection.execute(select(*counts))).one())

    @staticmethod
    async def _recall(connection: AsyncConnection, rows: Sequence[Claimed]) -> None:
        """Fill in the history of rows that were tried before."""
        if not rows:
            return
        by_id = {row.id: row for row in rows}
        tried = select(Attempt.outbox_id, Attempt.recipient, Attempt.outcome)
        tried = tried.where(Attempt.outbox_id.in_(by_id)).order_by(Attempt.id)
        histories: dict[int, dict[str, Kind]] = {id_: {} for id_ in by_id}
        for id_, recipient, outcome in await connection.execute(tried):
            if histories[id_].get(recipient) is not Kind.ACCEPTED:
                histories[id_][recipient] = Kind(outcome)
        for id_, history in histories.items():
            by_id[id_].history = history

    @abstractmethod
    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """Extend the leases of `claims` (id, token) to `lease` seconds from now; the ids that are still owned."""

    async def record(self, results: Sequence[Result], *, poller: str) -> set[int]:
        """Write results, each of another row, all in one transaction; the ids written. The others' leases were lost,
        nothing is written."""
        for result in results:
            if not may_become(Status.SENDING, result.verdict.status):
                raise ValueError(f"email {result.id} cannot go from sending to {result.verdict.status}")
        if len({result.id for result in results}) < len(results):
            raise ValueError("two results of one email: which of them was written could not be told")
        if not results:
            return set()
        async with self.write() as connection:
            written = await self._finish(connection, results)
            final = {result.id for result in results if result.verdict.status in FINAL}
            await erase(connection, [id_ for id_, sensitive in written.items() if sensitive and id_ in final])
            kept = [result for result in results if result.id in written]
            if marks := [mark for result in kept for mark in result.marks]:
                await connection.execute(delete(Attempt).where(Attempt.id.in_(marks)))
            if attempts := [row for result in kept for row in _attempts(result, poller)]:
                await connection.execute(insert(Attempt), attempts)
        return set(written)

    async def mark(self, result: Result, *, poller: str) -> tuple[int, ...]:
        """Put outcomes on record before the result is written, which replaces them: whatever happens to this poller,
        nobody will take these recipients for untried. They replace `result.marks`. Their ids, in the order of
        `result.outcomes`; none where the lease was lost.
        """
        owned = select(Email.id).where(Email.id == result.id, Email.claim_token == result.claim_token)
        owned = owned.where(Email.status == Status.SENDING).with_for_update()
        async with self.write() as connection:
            if (await connection.execute(owned)).first() is None:
                return ()
            await connection.execute(delete(Attempt).where(Attempt.id.in_(result.marks)))
            marks = insert(Attempt).returning(Attempt.id, sort_by_parameter_order=True)
            return tuple((await connection.scalars(marks, _attempts(result, poller))).all())

    @abstractmethod
    async def _finish(self, connection: AsyncConnection, results: Sequence[Result]) -> dict[int, bool]:
        """Write the verdicts on rows still owned; for each of these whether it is sensitive."""

    async def whole(self, row: Claimed, *, most: int) -> Claimed:
        """`row` with what was too large to come with its claim. Raises ContentError where it is more than `most`."""
        if row.size <= INLINE:
            return row
        check_size(row.size, most)
        large = select(Email.body_text, Email.body_html, cast(Email.context, Text)).where(Email.id == row.id)
        async with self.read() as connection:
            found = (await connection.execute(large)).one()
        text, html, context = (as_text(value) for value in found)
        return replace(row, body_text=text, body_html=html, context=context)

    async def attachments(
        self,
        id: int,  # noqa: A002  # the column's name
        *,
        most: int | None = None,
    ) -> list[AttachedFile]:
        """The files of one email, in their order. Raises ContentError where they have more than `most` bytes."""
        content = cast(func.coalesce(Attachment.content, Blob.content), LargeBinary)  # SQLite may hold text here
        size = select(func.sum(func.length(content))).outerjoin(Blob, Blob.id == Attachment.blob_id)
        files = select(Attachment.filename, content, Attachment.content_type, Attachment.cid)
        files = files.outerjoin(Blob, Blob.id == Attachment.blob_id).where(Attachment.outbox_id == id)
        async with self.read() as connection:
            if most is not None:
                found = await connection.execute(size.where(Attachment.outbox_id == id))
                check_size(found.scalar_one() or 0, most)
            rows = await connection.execute(files.order_by(Attachment.position, Attachment.id))
            return [AttachedFile(as_text(row[0]) or "", row[1], as_text(row[2]), as_text(row[3])) for row in rows]

    async def next_due(self, *, without: Sequence[str] = ()) -> float | None:
        """Seconds until the earliest `due_at`, 0 or less where it has passed; None where nothing waits."""
        heads = [
            select(SecondsUntil(Email.due_at))
            .where(Email.priority == lane, Email.due_at.isnot(None), *_other_than(without))
            .order_by(Email.due_at)
            .limit(1)
            .scalar_subquery()
            for lane in LANES
        ]
        async with self.read() as connection:
            found = (await connection.execute(select(*heads))).one()
        return min((seconds for seconds in found if seconds is not None), default=None)

    async def expire(self, limit: int = 500) -> int:
        """Finish pending rows whose `expires_at` has passed, at most `limit`; how many they were."""
        over = select(Email.id).where(Email.expires_at <= UtcNow(), Email.due_at.isnot(None))
        over = over.where(Email.status == Status.PENDING).order_by(Email.expires_at).limit(limit)
        async with self.read() as connection:
            if (await connection.execute(over.limit(1))).first() is None:
                return 0
        ended = {"status": Status.EXPIRED, "due_at": None, "finished_at": UtcNow(), "last_error": EXPIRED}
        async with self.write() as connection:
            ids = (await connection.execute(over.with_for_update(skip_locked=True))).scalars().all()
            changed = update(Email).where(Email.id.in_(ids), Email.status == Status.PENDING).values(ended)
            rows = (await connection.execute(changed.returning(Email.id, Email.sensitive))).all()
            await erase(connection, [row.id for row in rows if row.sensitive])
        return len(rows)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For single reads: no transaction, no lock. Raises DatabaseError for whatever the database fails at."""
        async with _told(self._engine.url), asyncio.timeout(PATIENCE), self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One short transaction. Raises DatabaseError for whatever the database fails at."""
        async with _told(self._engine.url), asyncio.timeout(PATIENCE), self._engine.begin() as connection:
            yield connection


@asynccontextmanager
async def _told(url: URL) -> AsyncIterator[None]:
    try:
        yield
    except FAILURES as error:
        raise database_error(error, url) from error


def open_store(engine: AsyncEngine) -> Store:
    """The store for the database of `engine`."""
    if engine.dialect.name == "sqlite":
        from outbox.db.sqlite import SqliteStore

        return SqliteStore(engine)
    from outbox.db.postgresql import PostgresqlStore

    return PostgresqlStore(engine)


def _other_than(transports: Sequence[str]) -> list[ColumnElement[bool]]:
    # Without transports there is no condition, so that the index alone answers.
    return [func.coalesce(Email.transport, "").not_in(transports)] if transports else []


def _attempts(result: Result, poller: str) -> list[dict[str, Any]]:
    lost = [
        {"attempt": result.attempt - 1, **_outcome(recipient, outcome), "transport": None, "poller": None}
        for recipient, outcome in result.lost.items()
    ]
    tried = [
        {"attempt": result.attempt, **_outcome(recipient, outcome), "transport": result.transport, "poller": poller}
        for recipient, outcome in result.outcomes.items()
    ]
    return [{"outbox_id": result.id, **row} for row in (*lost, *tried)]


def _outcome(recipient: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "recipient": recipient,
        "outcome": outcome.kind.value,
        "code": outcome.reply.code if outcome.reply else None,
        "enhanced": outcome.reply.enhanced if outcome.reply else None,
        "reply": _said(outcome),
    }


def _said(outcome: Outcome) -> str | None:
    parts = (outcome.reply.text if outcome.reply else "", outcome.note)
    return clean_text(" — ".join(part for part in parts if part)) or None
