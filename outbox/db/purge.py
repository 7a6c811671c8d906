"""Deleting emails that ended long ago, or only their content: a few at a time, the oldest first, with pauses.

Only final rows are touched, found by an index that holds no others, and nobody waits for us: rows that somebody else
works on are left for the next time, and a pause is longer than what it follows.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, literal, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from outbox.core.retention import Rule
from outbox.core.status import FINAL
from outbox.db.erase import erase
from outbox.db.models import Attachment, Attempt, Blob, Email
from outbox.db.store import Store
from outbox.db.types import checked, later

REST, QUIET_REST = 6.0, 1.0
"""A batch is followed by a pause of so many times as long as it took, while mail flows or not: then a seventh of one
connection's time is ours."""

LATELY = 2.0
"""Seconds since an email ended for which mail flows."""

LONGEST = 0.02
"""Seconds that the statements of one batch should take; on SQLite nobody else can write meanwhile."""

FEWEST, MOST = 25, 1000
"""Emails of one batch."""


class Pace:
    """How many emails to take at once, so that it takes as long as it may."""

    def __init__(self) -> None:
        self.size = 100

    def took(self, seconds: float, found: int) -> None:
        """So long for so many."""
        if seconds > 2 * LONGEST:
            self.size = max(FEWEST, self.size // 2)
        elif seconds < LONGEST / 2 and found == self.size:
            self.size = min(MOST, self.size * 2)


@dataclass(slots=True)
class Found:
    """Emails that a batch may take, and where the next one goes on."""

    ids: Sequence[int]
    last: tuple[Any, int]
    rest: float  # how many times as long as the batch took


async def until(store: Store, age: float) -> datetime:
    """So many seconds ago, by the database's clock."""
    async with store.read() as connection:
        return (await connection.execute(select(later(literal(-age))))).scalar_one()


async def count(store: Store, rule: Rule, until: datetime) -> int:
    """How many emails there are for `purge`."""
    wanted = select(func.count()).select_from(Email).where(*_ended(rule, until), Email.erased.in_(_erased(rule)))
    async with store.read() as connection:
        return int((await connection.execute(wanted)).scalar_one())


async def purge(store: Store, rule: Rule, until: datetime) -> AsyncIterator[int]:
    """Delete the emails that ended in the status of `rule`, or erase their content, if they ended at `until` or before.
    Gives how many of each batch, once that is committed. Raises DatabaseError."""
    pace = Pace()
    for erased in _erased(rule):
        found = await _next(store, rule, until, erased=erased, behind=None, limit=pace.size)
        while found:
            done, seconds = await _take(store, rule, until, found.ids)
            pace.took(seconds, len(found.ids))
            yield done
            await asyncio.sleep(found.rest * seconds)
            found = await _next(store, rule, until, erased=erased, behind=found.last, limit=pace.size)


async def release_blobs(store: Store) -> AsyncIterator[int]:
    """Delete blobs that nobody uses; how many of each batch. Usually they go with their last user, but where two users
    are deleted at once, neither transaction sees that it is the last. Raises DatabaseError."""
    last = 0
    while True:
        used = select(literal(1)).where(Attachment.blob_id == Blob.id).exists()
        some = select(Blob.id, used).where(Blob.id > last).order_by(Blob.id).limit(MOST)
        async with store.read() as connection:
            rows = (await connection.execute(some)).all()
        if not rows:
            return
        began = time.monotonic()
        unused = [id_ for id_, is_used in rows if not is_used]
        yield await _release(store, unused) if unused else 0
        await asyncio.sleep(REST * (time.monotonic() - began))
        last = rows[-1].id


def _erased(rule: Rule) -> tuple[bool, ...]:
    # Those without content last: others may be emptied, by a daemon, while they are deleted.
    return (False,) if rule.content_only else (False, True)


def _ended(rule: Rule, until: datetime) -> list[ColumnElement[bool]]:
    return [Email.status == rule.status.value, Email.finished_at <= until]


async def _next(
    store: Store, rule: Rule, until: datetime, *, erased: bool, behind: tuple[Any, int] | None, limit: int
) -> Found | None:
    """Behind the last batch, so that what was deleted, and is not vacuumed yet, is not passed again. Finding that there
    is nothing takes no lock."""
    wanted = [*_ended(rule, until), Email.erased.is_(erased)]
    # As it is stored: on SQLite a fraction may have any number of digits, and text has to equal itself.
    end = type_coerce(Email.finished_at, NullType()).label("end")
    if behind:
        wanted.append(tuple_(end.element, Email.id) > tuple_(literal(behind[0], NullType()), literal(behind[1])))
    oldest = select(Email.id, end).where(*wanted).order_by(Email.finished_at, Email.id).limit(limit)
    ended_lately = [Email.status.in_(FINAL), Email.erased.in_((False, True)), Email.finished_at > later(-LATELY)]
    async with store.read() as connection:
        rows = (await connection.execute(oldest)).all()
        flows = (await connection.execute(select(literal(1)).where(*ended_lately).limit(1))).first() is not None
    return Found([row.id for row in rows], (rows[-1].end, rows[-1].id), REST if flows else QUIET_REST) if rows else None


async def _take(store: Store, rule: Rule, until: datetime, ids: Sequence[int]) -> tuple[int, float]:
    """Those of them that are still as they were found; how many, and the seconds it took."""
    still = select(Email.id).where(Email.id.in_(ids), checked(*_ended(rule, until))).order_by(Email.id)
    still = still.with_for_update(skip_locked=True)

    def write(connection: Connection) -> tuple[int, float]:
        began = time.monotonic()
        ours = connection.scalars(still).all()
        if rule.content_only:
            erase(connection, ours)
        else:
            _delete(connection, ours)
        return len(ours), time.monotonic() - began

    return await store.write(write)


def _delete(connection: Connection, ids: Sequence[int]) -> None:
    """What belongs to them first, in one statement each; the database would do it email by email."""
    connection.execute(delete(Attachment).where(Attachment.outbox_id.in_(ids)))
    connection.execute(delete(Attempt).where(Attempt.outbox_id.in_(ids)))
    connection.execute(delete(Email).where(Email.id.in_(ids)))


async def _release(store: Store, ids: Sequence[int]) -> int:
    lock = select(Blob.id).where(Blob.id.in_(ids)).with_for_update(skip_locked=True)

    def write(connection: Connection) -> int:
        ours = connection.scalars(lock).all()
        # In a statement of its own, which sees what was committed before the lock; since then nobody can attach them.
        used = select(literal(1)).where(Attachment.blob_id == Blob.id).exists()
        return connection.execute(delete(Blob).where(Blob.id.in_(ours), ~used)).rowcount

    return await store.write(write)
