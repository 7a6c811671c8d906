"""Everything a poller does with the database after the INSERT. The database's clock decides, never ours.

Every write is one short transaction, and every result is written only by the claim that still owns the row. What
differs between databases is in `sqlite` and `postgresql`.
"""

import asyncio
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

from sqlalchemy import Connection, LargeBinary, Text, cast, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.core.claim import INLINE, AttachedFile, Claimed, Result
from outbox.core.message import MessageIds, check_size
from outbox.core.retry import EXPIRED
from outbox.core.status import Status, may_become
from outbox.db.attempts import as_rows, lines
from outbox.db.engine import read_only
from outbox.db.erase import erase
from outbox.db.failure import told
from outbox.db.lanes import LANES
from outbox.db.models import Attachment, Attempt, Blob, Email
from outbox.db.types import JsonEach, SecondsUntil, UtcNow, as_text, later

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for one transaction. A connection that died without a word must not stop a poller for ever."""

STRAYS = 500
"""Rows at gates that nobody knows which are looked after in one transaction."""

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
    gates: Sequence[str] = ("",)
    urgent: bool = False
    thorough: bool = False


class Store(ABC):
    """The poller's side of the tables. Open one with `open_store`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = read_only(engine)

    async def claim(
        self,
        limit: int,
        *,
        poller: str,
        lease: float,
        message_ids: MessageIds,
        held: Collection[int] = (),
        gates: Sequence[str] = ("",),
        urgent: bool = False,
        thorough: bool = False,
    ) -> list[Claimed]:
        """Up to `limit` due rows, taken for `lease` seconds: pending ones, and those whose last owner's lease ended.

        The attempt is counted and the Message-ID fixed here, before anything is sent. The most urgent come first.
        Rows `held` are not taken over by the poller that holds them: it renews them. Where nothing else is due, one
        suspect may be taken by a poller that holds nothing. Only rows at `gates` are looked at, and only `urgent` ones
        if so asked. None at all means that nothing is due only where the look was `thorough`: else what came late may
        be found by one of the next.
        """
        token = uuid.uuid4().hex
        rows = await self._claim(limit, Claim(token, poller, lease, message_ids, held, gates, urgent, thorough))
        return sorted(rows, key=attrgetter("priority"))

    @abstractmethod
    async def _claim(self, limit: int, claim: Claim) -> list[Claimed]:
        """Take up to `limit` due rows, those of a lane in the order in which they fell due. Where there are none, no
        lock is taken: an idle poller disturbs nobody."""

    @abstractmethod
    async def filled(self, gates: Sequence[str], *, thorough: bool = False) -> set[str]:
        """Those of `gates` where rows are due, by one statement, however many they are. Where the look is not
        `thorough`, what came late may be found by one of the next."""

    @abstractmethod
    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """Extend the leases of `claims` (id, token) to `lease` seconds from now; the ids of those extended. A row that
        somebody's transaction has locked is not waited for, since all the others would wait as well."""

    async def owned(self, claims: Collection[tuple[int, str]]) -> set[int]:
        """The ids of the `claims` (id, token) that still own their row."""
        sending = select(Email.id, Email.claim_token).where(Email.id.in_([id_ for id_, _ in claims]))
        async with self.read() as connection:
            found = await connection.execute(sending.where(Email.status == Status.SENDING))
            return {row.id for row in found if (row.id, row.claim_token) in claims}

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
        return await self._record(results, poller)

    @abstractmethod
    async def _record(self, results: Sequence[Result], poller: str) -> set[int]:
        """Write them where the row is still owned; the ids of those rows."""

    async def mark(self, result: Result, *, poller: str) -> tuple[int, ...]:
        """Put outcomes on record before the result is written, which replaces them: whatever happens to this poller,
        nobody will take these recipients for untried. They replace `result.marks`. Their ids, in the order of
        `result.outcomes`; none where the lease was lost.
        """
        owned = select(Email.id).where(Email.id == result.id, Email.claim_token == result.claim_token)
        owned = owned.where(Email.status == Status.SENDING).with_for_update()

        def write(connection: Connection) -> tuple[int, ...]:
            if connection.execute(owned).first() is None:
                return ()
            connection.execute(delete(Attempt).where(Attempt.id.in_(result.marks)))
            marks = insert(Attempt).returning(Attempt.id, sort_by_parameter_order=True)
            return tuple(connection.scalars(marks, as_rows(lines(result, poller))).all())

        return await self.write(write)

    async def reroute(self, claims: Collection[tuple[int, str]], route: str) -> set[int]:
        """Note that the rows of `claims` (id, token) wait at the gate `route` from now on; the ids of those noted. Not
        those that were lost, nor those that somebody's transaction has locked, for which no other waits."""
        tokens = {token for _, token in claims}
        ours = select(Email.id).where(Email.id.in_([id_ for id_, _ in claims]), Email.claim_token.in_(tokens))
        ours = ours.where(Email.status == Status.SENDING).with_for_update(skip_locked=True)

        def write(connection: Connection) -> set[int]:
            ids = set(connection.scalars(ours).all())
            connection.execute(update(Email).where(Email.id.in_(ids)).values(route=route))
            return ids

        return await self.write(write)

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

    async def size_of_attachments(
        self,
        id: int,  # noqa: A002  # the column's name
        *,
        most: int,
    ) -> int:
        """The bytes of the files of one email. Raises ContentError where they are more than `most`."""
        size = func.coalesce(func.length(Attachment.inline), func.length(Blob.content))  # which reads no content
        sizes = select(func.sum(size)).outerjoin(Blob, Blob.id == Attachment.blob_id).where(Attachment.outbox_id == id)
        async with self.read() as connection:
            found = int((await connection.execute(sizes)).scalar_one() or 0)
        check_size(found, most)
        return found

    async def attachments(
        self,
        id: int,  # noqa: A002  # the column's name
    ) -> list[AttachedFile]:
        """The files of one email, in their order."""
        content = cast(func.coalesce(Attachment.inline, Blob.content), LargeBinary)  # SQLite may hold text here
        files = select(Attachment.filename, content, Attachment.content_type, Attachment.cid)
        files = files.outerjoin(Blob, Blob.id == Attachment.blob_id).where(Attachment.outbox_id == id)
        async with self.read() as connection:
            rows = await connection.execute(files.order_by(Attachment.position, Attachment.id))
            return [AttachedFile(as_text(row[0]) or "", row[1], as_text(row[2]), as_text(row[3])) for row in rows]

    async def next_due(self, gates: Sequence[str] | None = None, *, within: float | None = None) -> float | None:
        """Seconds until the earliest `due_at`, 0 or less where it has passed; None where nothing waits. Of rows at
        `gates`, or of all. With `within`, of those that fall due from now on and in so many seconds; who asks often
        does not look at the whole queue."""
        soon = [Email.due_at > UtcNow(), Email.due_at <= later(within)] if within is not None else []
        if gates is None:
            found = select(SecondsUntil(func.min(Email.due_at))).where(Email.due_at.isnot(None), *soon)
            async with self.read() as connection:
                return (await connection.execute(found)).scalar_one()
        one = JsonEach(json.dumps(list(gates))).table_valued("value")
        heads = [
            select(Email.due_at)
            .where(Email.gate == one.c.value, Email.priority == lane, Email.due_at.isnot(None), *soon)
            .order_by(Email.due_at)
            .limit(1)
            .scalar_subquery()
            for lane in LANES
        ]
        async with self.read() as connection:
            seconds = (await connection.execute(select(*(SecondsUntil(func.min(head)) for head in heads)))).one()
        return min((head for head in seconds if head is not None), default=None)

    async def adopt_strays(self, known: Collection[str], limit: int = STRAYS) -> set[int]:
        """Have due rows at gates that nobody knows (of a transport that is not configured any more) wait to be routed,
        at most `limit`; their ids. They are found from one gate to the next by the index, whatever there is at
        each."""
        lowest = select(func.min(Email.gate).label("gate")).where(Email.due_at.isnot(None)).cte("found", recursive=True)
        above = select(func.min(Email.gate)).where(Email.due_at.isnot(None), Email.gate > lowest.c.gate)
        found = lowest.union_all(select(above.scalar_subquery()).where(lowest.c.gate.isnot(None)))
        unknown = select(found.c.gate).where(found.c.gate.isnot(None), found.c.gate.not_in(sorted(known)))
        strays = select(Email.id).where(Email.due_at <= UtcNow(), Email.gate.in_(unknown)).limit(limit)
        async with self.read() as connection:
            if (await connection.execute(strays.limit(1))).first() is None:
                return set()

        def write(connection: Connection) -> set[int]:
            ids = set(connection.scalars(strays.with_for_update(skip_locked=True, of=Email)).all())
            connection.execute(update(Email).where(Email.id.in_(ids)).values(route=""))
            return ids

        return await self.write(write)

    async def expire(self, limit: int = 500) -> int:
        """Finish pending rows whose `expires_at` has passed, at most `limit`; how many they were."""
        over = select(Email.id).where(Email.expires_at <= UtcNow(), Email.due_at.isnot(None))
        over = over.where(Email.status == Status.PENDING).order_by(Email.expires_at).limit(limit)
        async with self.read() as connection:
            if (await connection.execute(over.limit(1))).first() is None:
                return 0
        ended = {"status": Status.EXPIRED, "due_at": None, "finished_at": UtcNow(), "last_error": EXPIRED}

        def write(connection: Connection) -> int:
            ids = connection.scalars(over.with_for_update(skip_locked=True)).all()
            changed = update(Email).where(Email.id.in_(ids), Email.status == Status.PENDING).values(ended)
            rows = connection.execute(changed.returning(Email.id, Email.sensitive)).all()
            erase(connection, [row.id for row in rows if row.sensitive])
            return len(rows)

        return await self.write(write)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """For single reads: no transaction, no lock. Raises DatabaseError for whatever the database fails at."""
        with told(self._engine.url):
            async with asyncio.timeout(PATIENCE), self._reader.connect() as connection:
                yield connection

    @abstractmethod
    async def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, which is one short transaction. Raises DatabaseError for whatever the database fails
        at."""


def open_store(engine: AsyncEngine) -> Store:
    """The store for the database of `engine`."""
    if engine.dialect.name == "sqlite":
        from outbox.db.sqlite import SqliteStore

        return SqliteStore(engine)
    from outbox.db.postgresql import PostgresqlStore

    return PostgresqlStore(engine)
