"""What there is to see, at a price that does not grow with the table: for monitoring, which looks again and again.

What waits is looked up gate by gate and lane by lane in the index of what is due, and counted up to a bound. Of
finished emails only those of a window of time are read, of attempts only the newest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import CTE, ColumnElement, FromClause, and_, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.core.outcome import Kind
from outbox.core.retry import HELD_FROM
from outbox.core.status import FINAL, Status
from outbox.db.lanes import LANES
from outbox.db.models import Attempt, Email
from outbox.db.types import SecondsUntil, UtcNow, later

MOST = 10_000
"""Emails counted at a gate and lane; where there are more, that there are more is all that is told."""

RECENT = 5_000
"""Attempts looked back at, at most, to tell how fast it goes."""

SPAN = 10.0
"""Seconds over which that is told."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits in one lane. Where `more`, the numbers are at least so many."""

    priority: int
    due: int
    """Somebody should be sending it."""
    later: int
    """Scheduled, to be tried again, or claimed until its lease ends."""
    held: int
    """A person decides."""
    more: bool
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class Flow:
    """Outcomes over a transport in the last SPAN."""

    transport: str | None
    outcome: str
    per_second: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A recipient who did not accept."""

    email: int
    recipient: str
    outcome: str
    code: int | None
    reply: str | None
    seconds_ago: float


async def lanes(connection: AsyncConnection, most: int = MOST) -> list[Lane]:
    """Every lane and what waits in it."""
    gate, lane = _gates(), _lanes()
    here = (Email.gate == gate.c.gate, Email.priority == lane.c.priority, Email.due_at.isnot(None))

    def count(*which: ColumnElement[bool]) -> ColumnElement[int]:
        some = select(literal(1)).where(*here, *which).order_by(Email.due_at).limit(most + 1)
        return select(func.count()).select_from(some.correlate(gate, lane).subquery()).scalar_subquery()

    soon = Email.due_at > UtcNow(), Email.due_at < HELD_FROM
    numbers = (count(Email.due_at <= UtcNow()), count(*soon), count(Email.due_at >= HELD_FROM))
    every = select(lane.c.priority, *numbers, _waited(here, gate, lane)).select_from(_all_of(gate, lane))
    found = (await connection.execute(every.where(gate.c.gate.isnot(None)))).all()
    at = {one: [(row[1], row[2], row[3], row[4]) for row in found if row[0] == one] for one in LANES}
    return [_lane(priority, gates, most) for priority, gates in at.items()]


async def oldest_due(connection: AsyncConnection, priority: int | None = None) -> float | None:
    """Seconds that the most overdue email, of one lane or of all, has waited past its `due_at`; None where none is
    overdue."""
    gate, lane = _gates(), _lanes()
    here = (Email.gate == gate.c.gate, Email.priority == lane.c.priority, Email.due_at.isnot(None))
    heads = select(_waited(here, gate, lane).label("waited")).select_from(_all_of(gate, lane))
    if priority is not None:
        heads = heads.where(lane.c.priority == priority)
    longest = (await connection.execute(select(func.max(heads.subquery().c.waited)))).scalar_one()
    return None if longest is None else max(longest, 0.0)


async def flow(connection: AsyncConnection) -> list[Flow]:
    """Outcomes per second; where the last SPAN had more than RECENT, over the time that these took."""
    recent = and_(Attempt.id > _newest() - RECENT, Attempt.attempted_at >= later(-SPAN))
    number, first = func.count().label("number"), func.max(-SecondsUntil(Attempt.attempted_at)).label("first")
    grouped = select(Attempt.transport, Attempt.outcome, number, first).where(recent)
    found = (await connection.execute(grouped.group_by(Attempt.transport, Attempt.outcome))).all()
    cut = sum(row.number for row in found) >= RECENT
    span = max((row.first for row in found), default=SPAN) if cut else SPAN
    return [Flow(row.transport, row.outcome, row.number / max(span, 0.001)) for row in found]


async def failures(connection: AsyncConnection, limit: int) -> list[Failure]:
    """The newest among the last RECENT attempts, at most `limit`."""
    columns = (Attempt.outbox_id, Attempt.recipient, Attempt.outcome, Attempt.code, Attempt.reply)
    found = select(*columns, -SecondsUntil(Attempt.attempted_at)).order_by(Attempt.id.desc()).limit(limit)
    found = found.where(Attempt.id > _newest() - RECENT, Attempt.outcome != Kind.ACCEPTED)
    return [Failure(*row) for row in await connection.execute(found)]


async def ended(connection: AsyncConnection, status: Status, within: float | None, most: int) -> int:
    """Emails that ended in `status`, within so many seconds if not None, counted up to `most`."""
    some = select(literal(1)).where(Email.finished_at.isnot(None), Email.status == status)
    if within is not None:
        some = some.where(Email.finished_at >= later(-within))
    counted = select(func.count()).select_from(some.limit(most).subquery())
    return int((await connection.execute(counted)).scalar_one())


async def unfinished(connection: AsyncConnection) -> dict[str, int]:
    """How many emails are pending and being sent. Reads the whole queue, and nothing that is finished."""
    counted = select(Email.status, func.count().label("number")).where(Email.due_at.isnot(None)).group_by(Email.status)
    found = {row.status: row.number for row in await connection.execute(counted)}
    return {status.value: found.get(status, 0) for status in (Status.PENDING, Status.SENDING)}


async def finished(connection: AsyncConnection) -> dict[str, int]:
    """How many emails are in each final status. Reads all of their index."""
    counted = select(Email.status, func.count().label("number")).where(Email.finished_at.isnot(None))
    found = {row.status: row.number for row in await connection.execute(counted.group_by(Email.status))}
    return {status.value: found.get(status, 0) for status in Status if status in FINAL}


def _gates() -> CTE:
    """The gates at which anything waits, found from one to the next by the index, whatever there is at each; then a
    null."""
    lowest = select(func.min(Email.gate).label("gate")).where(Email.due_at.isnot(None)).cte("gates", recursive=True)
    above = select(func.min(Email.gate)).where(Email.due_at.isnot(None), Email.gate > lowest.c.gate)
    return lowest.union_all(select(above.scalar_subquery()).where(lowest.c.gate.isnot(None)))


def _lanes() -> FromClause:
    return union_all(*(select(literal(lane).label("priority")) for lane in LANES)).subquery("lanes")


def _all_of(gate: FromClause, lane: FromClause) -> FromClause:
    return gate.join(lane, literal(1) == literal(1))


def _waited(here: Iterable[ColumnElement[bool]], gate: FromClause, lane: FromClause) -> ColumnElement[float]:
    """Seconds that the first in line has been overdue; null where it is not."""
    head = select(-SecondsUntil(Email.due_at)).where(*here, Email.due_at <= UtcNow(), Email.status == Status.PENDING)
    return head.order_by(Email.due_at).limit(1).correlate(gate, lane).scalar_subquery()


def _newest() -> ColumnElement[int]:
    return select(func.coalesce(func.max(Attempt.id), 0)).scalar_subquery()


def _lane(priority: int, gates: list[tuple[int, int, int, float | None]], most: int) -> Lane:
    due, soon, held = (sum(min(counts[which], most) for *counts, _ in gates) for which in range(3))
    more = any(count > most for *counts, _ in gates for count in counts)
    waits = [max(waited, 0.0) for *_, waited in gates if waited is not None]
    return Lane(priority, due, soon, held, more, max(waits, default=None))
