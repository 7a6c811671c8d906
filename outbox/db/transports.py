"""What all pollers, and people, know of the transports: paused until when, and why. The database's clock decides.

A row without a reason: all is well. With one: paused until `paused_until`, and after that on probation until a probe
succeeds. From the year 9999 on it is a pause by hand, which only `resume` ends.
"""

import math
from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, Update, false, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.core.outcome import Fault, Scope
from outbox.core.text import clean_text
from outbox.db.conflict import conflict_insert
from outbox.db.models import TransportState
from outbox.db.store import Store
from outbox.db.types import SecondsUntil, UtcNow, later

FOREVER = datetime(9999, 12, 30, tzinfo=UTC)
"""The end of a pause by hand."""

BY_HAND = datetime(9999, 1, 1, tzinfo=UTC)
"""A pause that ends then or later was made by hand."""

PROBE_WINDOW = 5.0
"""Seconds for which one poller may probe alone; it asks for more while its probe takes longer."""

_CONFIG = "configuration: "


class Transports:
    """A poller's side of `email_transport`. Everything raises DatabaseError where the database fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self) -> dict[str, Fault]:
        """The transports that are not well. `wait` is what is left of the pause, infinity where it has no end."""
        states = select(
            TransportState.name,
            TransportState.reason,
            SecondsUntil(TransportState.paused_until).label("seconds"),
            paused_by_hand().label("by_hand"),
        ).where(or_(TransportState.reason.isnot(None), TransportState.paused_until > UtcNow()))
        async with self._store.read() as connection:
            found = (await connection.execute(states)).all()
        return {row.name: _fault(row.reason, row.seconds, by_hand=bool(row.by_hand)) for row in found}

    async def pause(self, name: str, fault: Fault, *, shorten: bool) -> None:
        """Pause for `fault.wait` seconds from now: a longer pause stays unless `shorten`, one by hand always."""
        until = later(literal(fault.wait or 0.0))
        reason = clean_text((_CONFIG if fault.scope is Scope.CONFIG else "") + fault.reason)
        state = {"paused_until": until, "reason": reason}
        before = TransportState.paused_until
        less = or_(before.is_(None), before < (BY_HAND if shorten else until))

        def write(connection: Connection) -> None:
            new = conflict_insert(TransportState, connection.dialect.name).values(name=name, **state)
            connection.execute(new.on_conflict_do_update(index_elements=["name"], set_=state, where=less))

        await self._store.write(write)

    async def clear(self, name: str) -> None:
        """It works again. A pause by hand stays."""
        well = _change(name, ~paused_by_hand()).values(paused_until=None, reason=None)
        await self._store.write(lambda connection: connection.execute(well))

    async def win_probe(self, name: str) -> bool:
        """Whether the caller, of all pollers, may probe now; the others see it paused meanwhile."""
        over = or_(TransportState.paused_until.is_(None), TransportState.paused_until <= UtcNow())
        probing = _change(name, over, TransportState.reason.isnot(None)).values(paused_until=later(PROBE_WINDOW))
        return bool(await self._store.write(lambda connection: connection.execute(probing).rowcount))

    async def keep_probe(self, name: str) -> None:
        """Some seconds more for a probe under way."""
        more = _change(name, ~paused_by_hand(), TransportState.reason.isnot(None))
        longer = more.values(paused_until=later(PROBE_WINDOW))
        await self._store.write(lambda connection: connection.execute(longer))


async def pause_by_hand(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Pause until somebody resumes; those that were not paused by hand already."""
    changed: set[str] = set()
    now = (await connection.execute(select(UtcNow()))).scalar_one()
    state = {"paused_until": FOREVER, "reason": f"paused by hand since {now:%Y-%m-%d %H:%M:%S} UTC"}
    for name in sorted(names):
        new = conflict_insert(TransportState, connection.dialect.name).values(name=name, **state)
        new = new.on_conflict_do_update(index_elements=["name"], set_=state, where=~paused_by_hand())
        changed.update(await connection.scalars(new.returning(TransportState.name)))
    return changed


async def resume(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """End whatever pause there is; those that were paused or on probation."""
    unwell = or_(TransportState.reason.isnot(None), TransportState.paused_until.isnot(None))
    ended = update(TransportState).where(TransportState.name.in_(sorted(names)), unwell)
    changed = ended.values(paused_until=None, reason=None).returning(TransportState.name)
    return set(await connection.scalars(changed))


def paused_by_hand() -> ColumnElement[bool]:
    """The condition."""
    return func.coalesce(TransportState.paused_until >= BY_HAND, false())


def _change(name: str, *where: ColumnElement[bool]) -> Update:
    return update(TransportState).where(TransportState.name == name, *where)


def scope_of(reason: str | None, *, by_hand: bool) -> Scope:
    """What kind of a pause a row is, from what it says."""
    if by_hand:
        return Scope.BY_HAND
    return Scope.CONFIG if (reason or "").startswith(_CONFIG) else Scope.PAUSE


def _fault(reason: str | None, seconds: float | None, *, by_hand: bool) -> Fault:
    scope = scope_of(reason, by_hand=by_hand)
    said = (reason or "no reason given").removeprefix(_CONFIG if scope is Scope.CONFIG else "")
    return Fault(scope, said, math.inf if by_hand else max(seconds or 0.0, 0.0))
