"""SharedLimits that all pollers share: one short transaction lets a whole claim through, or as much of it as may go.

Those of transports are kept in `email_transport`, those of recipient domains, whose names begin with `@`, in
`email_limit`. The database's clock decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from outbox.core.claim import NOWHERE
from outbox.core.rate import APART, Counted, Meter, Rate
from outbox.db.conflict import conflict_insert
from outbox.db.models import LimitState, TransportState
from outbox.db.store import Store
from outbox.db.types import ClockTime, later

KEPT = 2 * 86400.0
"""Seconds for which the state of a limit is kept that is not used: longer than any window."""

TOGETHER = 500
"""Limits that are looked up in one statement."""

Table = type[TransportState] | type[LimitState]


class Passage(NamedTuple):
    """Whether an email may go: `slots` are the seconds until its time by each of its limits, or `limit` is the one that
    does not let it through for another `wait` seconds. `quotas` are those of its limits that count it."""

    slots: Mapping[str, float]
    limit: str | None = None
    wait: float = 0.0
    quotas: Mapping[str, Counted] = NOWHERE


class Admitted(NamedTuple):
    """What came of asking: `passages` in the order of the emails, and for every limit that was asked the seconds until
    it lets another one through."""

    passages: list[Passage]
    waits: Mapping[str, float]


class SharedLimits:
    """`rates` are those of each limit, by name. Everything raises DatabaseError where the database fails."""

    def __init__(self, store: Store, rates: Mapping[str, Sequence[Rate]]) -> None:
        self._store = store
        self._rates = rates

    async def admit(self, emails: Sequence[Sequence[str]]) -> Admitted:
        """Of each email, in this order, the limits that it needs to pass: whether it may go, and when."""
        names = sorted({name for needed in emails for name in needed})
        return await self._store.write(lambda connection: self._admit(connection, names, emails))

    async def put_back(self, emails: Sequence[Mapping[str, Counted]]) -> Mapping[str, float]:
        """Count these emails no more, which were not tried: of each the quotas that count it. For each of these
        limits the seconds until it lets another one through."""
        names = sorted({name for quotas in emails for name in quotas})

        def write(connection: Connection) -> Mapping[str, float]:
            with self._metered(connection, names) as (meters, now):
                for quotas in emails:
                    for name, counted in quotas.items():
                        meters[name].put_back(counted)
                return {name: meter.wait(now) for name, meter in meters.items()}

        return await self._store.write(write)

    def _admit(self, connection: Connection, names: Sequence[str], emails: Sequence[Sequence[str]]) -> Admitted:
        with self._metered(connection, names) as (meters, now):
            passages = [_pass(meters, needed, now) for needed in emails]
            waits = {name: meter.wait(now) for name, meter in meters.items()}
        for passage in passages:
            if passage.limit is not None:
                waits[passage.limit] = max(waits[passage.limit], passage.wait)
        return Admitted(passages, waits)

    @contextmanager
    def _metered(self, connection: Connection, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Meter], float]]:
        """Where these limits stand now, and what time it is; at the end they stand where they have been brought."""
        tables = {table: [name for name in names if _table_of(name) is table] for table in (LimitState, TransportState)}
        states = {name: state for table, own in tables.items() for name, state in lock(connection, table, own).items()}
        meters = {name: Meter.read(self._rates[name], state) for name, state in states.items()}
        now: datetime = connection.execute(select(ClockTime())).scalar_one()
        yield meters, now.timestamp()
        for table, own in tables.items():
            remember(connection, table, {name: _standing(meters[name], now) for name in own}, now)


def lock(connection: Connection, table: Table, names: Sequence[str]) -> dict[str, str | None]:
    """The states of these limits, which nobody else changes now. In one order everywhere, so that nobody waits in a
    circle."""
    found: dict[str, str | None] = {}
    ordered = sorted(names)
    for some in (ordered[start : start + TOGETHER] for start in range(0, len(ordered), TOGETHER)):
        rows = select(table.name, table.rate_state).where(table.name.in_(some)).order_by(table.name).with_for_update()
        locked = {row.name: row.rate_state for row in connection.execute(rows)}
        if missing := [{"name": name} for name in some if name not in locked]:
            connection.execute(conflict_insert(table, connection.dialect.name).on_conflict_do_nothing(), missing)
            locked = {row.name: row.rate_state for row in connection.execute(rows)}
        found |= locked
    return found


def remember(
    connection: Connection, table: Table, states: Mapping[str, tuple[str, datetime | None]], now: datetime
) -> None:
    """Write the state of each limit, and when the next email may go."""
    if not states:
        return
    rows = [{"limit": name, "state": state, "at": at, "now": now} for name, (state, at) in states.items()]
    values: dict[str, Any] = {"rate_state": bindparam("state"), "next_send_at": bindparam("at")}
    if table is LimitState:
        values["used_at"] = bindparam("now")
    connection.execute(update(table).where(table.name == bindparam("limit")).values(values), rows)


def _standing(meter: Meter, now: datetime) -> tuple[str, datetime]:
    return meter.write(), now + timedelta(seconds=meter.next(now.timestamp()))


def _pass(meters: Mapping[str, Meter], needed: Sequence[str], now: float) -> Passage:
    waits = {name: meters[name].wait(now) for name in needed}
    longest = max(waits, key=lambda name: waits[name], default=None)
    if longest is not None and waits[longest] > 0:
        return Passage({}, longest, waits[longest])
    slots = {name: slot for name in needed if (slot := meters[name].next_slot(now)) is not None}
    last = max(slots, key=lambda name: slots[name], default=None)
    if last is None:
        return _take(meters, needed, {}, now)
    # A transport's slot is there for any of its emails, but lost where this one alone waits, for a later one elsewhere.
    own = [slot for name, slot in slots.items() if _table_of(name) is TransportState]
    early = slots[last] - APART - min(own or slots.values())
    if early > 0:
        return Passage({}, last, early)
    at = {name: slots[last] if slots[last] - slot > APART else slot for name, slot in slots.items()}
    return _take(meters, needed, at, now)


def _take(meters: Mapping[str, Meter], needed: Sequence[str], at: Mapping[str, float], now: float) -> Passage:
    slots = {name: meters[name].take(now, at.get(name, now)) for name in needed}
    return Passage(slots, quotas={n: meters[n].counted(now + slot) for n, slot in slots.items() if meters[n].used})


def _table_of(name: str) -> Table:
    return LimitState if name.startswith("@") else TransportState


async def forget_unused(store: Store) -> int:
    """Delete the states of limits that nobody has asked in a while, at most TOGETHER; how many they were."""
    unused = select(LimitState.name).where(LimitState.used_at < later(-KEPT)).order_by(LimitState.used_at)
    unused = unused.limit(TOGETHER)
    async with store.read() as connection:
        if (await connection.execute(unused.limit(1))).first() is None:
            return 0

    def write(connection: Connection) -> int:
        names = connection.scalars(unused.with_for_update(skip_locked=True)).all()
        return connection.execute(delete(LimitState).where(LimitState.name.in_(names))).rowcount

    return await store.write(write)
