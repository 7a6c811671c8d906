"""Finding the emails that can go now: for every transport as many as it can send soon, from the gates that are open.

Nothing here knows SQL or SMTP.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from outbox.core.claim import Claimed, Result
from outbox.core.message import MessageIds
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.store import Store
from outbox.gates import Gates, is_doubtful
from outbox.leases import Leases
from outbox.smtp.transport import Transport
from outbox.waiting import Waiting

SEARCH = 5.0
"""Seconds between searches for rows at gates that nobody knows."""

SORTED_TOGETHER = 500
"""Emails of one look at those that are not routed yet; what cannot go now is sent on to its gate, once."""

PROBED = 1.0
"""Seconds that an email waits for its own transport while that is being probed."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One claim to be made; `name` is the transport it is for, None where that is found out for each row."""

    gates: Sequence[str]
    limit: int
    name: str | None
    urgent: bool = False


@dataclass(slots=True, kw_only=True)
class Claiming:
    """Of one poller. `clock` is monotonic; `put` takes the rows that are given back."""

    poller: str
    store: Store
    transports: Mapping[str, Transport]
    gates: Gates
    waiting: Waiting
    leases: Leases
    lease: float
    clock: Callable[[], float]
    new_message_ids: Callable[[], MessageIds]
    put: Callable[[Iterable[Result]], None]
    _next_search: float = 0.0

    @property
    def room(self) -> bool:
        """Whether there is room for more than urgent emails."""
        return any(self.waiting.room(name) for name in self.transports)

    async def claim(self, *, thorough: bool) -> int:
        """Claim what there is room for, and have it wait for its turn; how many rows were taken. Raises
        DatabaseError."""
        if thorough or self.clock() >= self._next_search:
            await self.store.adopt_strays(self.gates.known)
            self._next_search = self.clock() + SEARCH
        taken = 0
        for look in self._looks():
            since = self.clock()
            rows = await self.store.claim(
                look.limit,
                poller=self.poller,
                lease=self.lease,
                message_ids=self.new_message_ids(),
                held=self.leases.ids,
                gates=look.gates,
                urgent=look.urgent,
                thorough=thorough,
            )
            taken += len(rows)
            if rows:
                self.leases.add(rows, since)
                self._place(rows, since, look.name)
        return taken

    async def next_due(self, within: float) -> float | None:
        """Seconds until the next row falls due that could go, if that is within so many. Raises DatabaseError."""
        open_ = {gate for name in self.transports if self.waiting.room(name) for gate in self.gates.of(name)}
        return await self.store.next_due(sorted({*open_, *self.gates.mixed}), within=within)

    def _looks(self) -> Iterator[_Look]:
        """Each is made before the next is asked for."""
        for name in self.transports:
            if room := self.waiting.room(name):
                yield _Look(self.gates.of(name), room, name)
            elif room := self.waiting.urgent_room(name):
                yield _Look(self.gates.of(name), room, name, urgent=True)
        if mixed := self.gates.mixed:
            if self.room:
                yield _Look(mixed, SORTED_TOGETHER, None)
            elif room := max(map(self.waiting.urgent_room, self.transports)):
                yield _Look(mixed, room, None, urgent=True)

    def _place(self, rows: Sequence[Claimed], since: float, claimed_for: str | None) -> None:
        for row in rows:
            row.way = self.gates.way(row, claimed_for)
        surplus = self.waiting.add((row, since) for row in rows)
        self.put(given_back(row, route=self._gate_for(row), delay=self._rest(row, claimed_for)) for row in surplus)

    def _gate_for(self, row: Claimed) -> str | None:
        """Where a row that cannot go now should wait, if not where it was."""
        return row.way if row.gate in self.gates.mixed else None

    def _rest(self, row: Claimed, claimed_for: str | None) -> float | None:
        """Seconds for which a row is left alone that must wait for a transport that others can stand in for."""
        if row.way == claimed_for or not is_doubtful(row):
            return None
        return self.transports[row.way].paused_for or PROBED


def given_back(row: Claimed, *, route: str | None = None, delay: float | None = None) -> Result:
    """Untried and not counted; with its place in the queue, due as long ago as it was when it was claimed, unless a
    `delay` in seconds is given."""
    verdict = Verdict(Status.PENDING, delay=-row.overdue if delay is None else delay, counted=False, route=route)
    return Result(row.id, row.claim_token, row.attempts, verdict)
