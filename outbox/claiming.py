"""Finding the emails that can go now: for every transport as many as it can send soon, from the gates that are open.

Nothing here knows SQL or SMTP.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from outbox.core.claim import NOWHERE, Claimed, Result
from outbox.core.errors import DatabaseError
from outbox.core.message import MessageIds
from outbox.core.observer import Attempted, Observer
from outbox.core.rate import LONGEST_PACE, Counted
from outbox.core.retry import Verdict, hold
from outbox.core.status import Status
from outbox.db.flood import FloodGuard
from outbox.db.limits import Passage, SharedLimits
from outbox.db.store import STRAYS, Store
from outbox.delivery import lost_before
from outbox.gates import Gates
from outbox.leases import Leases
from outbox.line import Waits
from outbox.looks import Looks
from outbox.smtp.transport import Transport
from outbox.waiting import Waiting

SEARCH = 5.0
"""Seconds between searches for rows at gates that nobody knows, and for which a row rests that another poller routed
differently: it may be routed back."""

SELDOM = 60.0
"""Seconds between two searches, at most. They become rarer with each that finds something, until none has for so long:
another poller, with other settings, may know these gates, and put back whatever is taken from there."""

PROBED = 1.0
"""Seconds that an email waits for its own transport while that is being probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides, beside the queue, which emails go: where they wait, what all pollers let through together, and what
    is too much for a recipient; `flooded` is the verdict on that."""

    gates: Gates
    limits: SharedLimits
    guard: FloodGuard | None = None
    flooded: Callable[[str], Verdict] = hold


@dataclass(slots=True, kw_only=True)
class Claiming:
    """Of one poller. `clock` is monotonic; `put` takes the rows that are given back, `begin` is called when some
    wait."""

    poller: str
    store: Store
    transports: Mapping[str, Transport]
    rules: Rules
    waiting: Waiting
    leases: Leases
    lease: float
    clock: Callable[[], float]
    new_message_ids: Callable[[], MessageIds]
    put: Callable[[Iterable[Result]], None]
    begin: Callable[[], None]
    observer: Observer
    _next_search: float = 0.0
    _search_rest: float = field(default_factory=lambda: SEARCH)
    _last_find: float = 0.0
    _first_finds: set[int] = field(default_factory=set)  # of searches without a pause: found again, they were put back
    _rested: float = -SELDOM  # when a row was last given back to rest that only has others before it
    _untried: list[Mapping[str, Counted]] = field(default_factory=list)  # the quotas of emails that were not tried
    _looks: Looks = field(init=False)

    def __post_init__(self) -> None:
        self._looks = Looks(self.transports, self.rules.gates, self.waiting, self.clock)

    @property
    def room(self) -> bool:
        """Whether there is room for more than urgent emails."""
        return self._looks.room

    def rest(self, most: float) -> float:
        """Seconds for which there is nothing to look for, unless something happens; `most`, or less."""
        return self._looks.rest(most)

    def opens_in(self) -> float | None:
        """Seconds until a limit lets something through again; None where none is closed."""
        return self.rules.gates.opens_in(self.clock())

    async def claim(self, *, thorough: bool) -> int:
        """Claim what there is room for, and have it wait for its turn; how many rows were taken. Raises
        DatabaseError."""
        await self.put_back()
        if thorough or self.clock() >= self._next_search:
            await self._search()
        if unsure := self._looks.unsure:
            self._looks.fill(await self.store.filled(unsure, thorough=thorough))
        taken = 0
        for look in self._looks.all():
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
            self._looks.found(look, len(rows))
            if rows:
                self.observer.claimed(len(rows), self.clock() - since)
                self.leases.add(rows, since)
                await self._place(rows, since, look.name)
                self.begin()
        return taken

    def untried(self, row: Claimed) -> None:
        """It was let through and yet not tried: the next claim has no quota count it."""
        if row.quotas:
            self._untried.append(row.quotas)
            row.quotas = NOWHERE

    async def put_back(self) -> None:
        """Tell the limits of emails that were not tried: once, since whether a write was done can be unknown, and they
        may count too many, but never too few. Raises DatabaseError."""
        if not self._untried:
            return
        untried, self._untried = self._untried, []
        waits = await self.rules.limits.put_back(untried)
        now = self.clock()
        for limit, wait in waits.items():
            self.rules.gates.close(limit, now + wait)

    async def next_due(self, within: float) -> float | None:
        """Seconds until the next row falls due that could go, if that is within so many. Raises DatabaseError."""
        return await self.store.next_due(self._looks.open, within=within)

    async def due(self) -> bool:
        """Whether anything is due that could go, or could if its limit were open. Raises DatabaseError."""
        due = await self.store.next_due(self.rules.gates.known)
        return due is not None and due <= 0

    async def resting(self) -> bool:
        """Whether something falls due soon, perhaps what had to rest. Raises DatabaseError."""
        if self.clock() - self._rested > 2 * SEARCH:
            return False
        return await self.store.next_due(self.rules.gates.known, within=SEARCH) is not None

    async def _search(self) -> None:
        """Have rows at gates that nobody knows routed anew."""
        adopted, now = await self.store.adopt_strays(self.rules.gates.known), self.clock()
        if len(adopted) == STRAYS and self._first_finds.isdisjoint(adopted):  # there may be more
            self._first_finds = self._first_finds or adopted
            self._next_search = now
            return
        if adopted:
            self._search_rest, self._last_find = min(self._search_rest * 2, SELDOM), now
        elif now - self._last_find >= SELDOM:
            self._search_rest = SEARCH
        self._first_finds = set()
        self._next_search = now + self._search_rest

    async def _place(self, rows: Sequence[Claimed], since: float, claimed_for: str | None) -> None:
        """Have rows wait for their turn, or give them back."""
        if self.rules.guard is not None:
            rows = await self._guarded(rows, since)
        for row in rows:
            self.rules.gates.direct(row, claimed_for)
        rows = await self._noted(rows)
        limited = {row.id: limits for row in rows if (limits := self.rules.gates.limits_of(row))}
        surplus = self.waiting.add(Waits(row, since) for row in rows if row.id not in limited)
        if limited:
            surplus += await self._admit([row for row in rows if row.id in limited], limited, since, claimed_for)
        self.put(self._turned_away(row, None, claimed_for) for row in surplus)

    async def _noted(self, rows: Sequence[Claimed]) -> Sequence[Claimed]:
        """Those of which it is on record over which server they go: whoever takes them over, if we are killed, has to
        ask that one. The others, which somebody has locked or taken, go back."""
        noting = [row for row in rows if row.to_note]
        noted: set[int] = set()
        try:
            for way in dict.fromkeys(row.way for row in noting):
                noted |= await self.store.reroute([(row.id, row.claim_token) for row in noting if row.way == way], way)
        except DatabaseError:
            self.put(map(given_back, rows))
            raise
        self.put(given_back(row) for row in noting if row.id not in noted)
        return [row for row in rows if not row.to_note or row.id in noted]

    async def _guarded(self, rows: Sequence[Claimed], since: float) -> Sequence[Claimed]:
        """Those that are not too many for their recipients. What becomes of the others is told as of any attempt."""
        try:
            refused = await self.rules.guard.check(rows) if self.rules.guard else {}
        except DatabaseError:
            self.put(map(given_back, rows))
            raise
        for row in rows:
            if row.id in refused:
                verdict = self.rules.flooded(refused[row.id])
                result = Result(row.id, row.claim_token, row.attempts, verdict)
                self.put([result])
                since_due = row.overdue + self.clock() - since
                self.observer.attempted(Attempted(row, result, self.poller, 0.0, since_due))
        return [row for row in rows if row.id not in refused]

    async def _admit(
        self, rows: Sequence[Claimed], limited: Mapping[int, list[str]], since: float, claimed_for: str | None
    ) -> list[Claimed]:
        """Ask the limits for those rows that have a place; those that have none come back."""
        asking: list[Claimed] = []
        surplus: list[Claimed] = []
        counted: Counter[str] = Counter()
        for row in rows:
            if (limit := self._exhausted(limited[row.id], counted)) is not None:
                self.put([self._turned_away(row, limit, claimed_for)])
            elif self.waiting.has_place(row, besides=sum(one.way == row.way for one in asking)):
                asking.append(row)
                counted.update(limited[row.id])
            else:
                surplus.append(row)
        if not asking:
            return surplus
        try:
            passages, waits = await self.rules.limits.admit([limited[row.id] for row in asking])
        except DatabaseError:
            self.put(map(given_back, [*asking, *surplus]))
            raise
        now = self.clock()
        for limit, wait in waits.items():
            self.rules.gates.close(limit, now + wait)
        for row, passage in zip(asking, passages, strict=True):
            if passage.limit is None:
                surplus += self._let_through(row, since, passage, now)
            else:
                self.put([self._turned_away(row, passage.limit, claimed_for)])
        return surplus

    def _exhausted(self, limits: Sequence[str], counted: Mapping[str, int]) -> str | None:
        """The first limit that is known to let none of these through, or not so many at once."""
        now = self.clock()
        for limit in limits:
            share = self.rules.gates.share(limit)
            if not self.rules.gates.is_open(limit, now) or (share is not None and counted[limit] >= share):
                return limit
        return None

    def _let_through(self, row: Claimed, since: float, passage: Passage, now: float) -> list[Claimed]:
        """Have it wait for its time; it comes back where its transport has broken down meanwhile."""
        own = [slot for limit, slot in passage.slots.items() if limit != row.way and self.rules.gates.interval(limit)]
        row.quotas = passage.quotas
        surplus = self.waiting.add([Waits(row, since, now + max(own) if own else None)])
        if surplus:
            self.untried(row)
        elif self.rules.gates.interval(row.way):
            self.waiting.give(row.way, [now + passage.slots[row.way]])
        return surplus

    def _turned_away(self, row: Claimed, limit: str | None, claimed_for: str | None) -> Result:
        """It has to wait: for `limit`, at the gate of that, or for a place."""
        route = self.rules.gates.moved(row, limit)
        delay = self._rest(row, route, limit, claimed_for)
        if delay is not None and self._goes_soon(row, limit):
            self._rested = self.clock()
        return given_back(row, route=route, delay=delay)

    def _goes_soon(self, row: Claimed, limit: str | None) -> bool:
        """Whether nothing but others before it is in its way."""
        closed = 0.0 if limit is None else self.rules.gates.closed_for(limit, self.clock())
        return self.transports[row.way].capacity > 0 and closed <= LONGEST_PACE

    def _rest(self, row: Claimed, route: str | None, limit: str | None, claimed_for: str | None) -> float | None:
        """Seconds for which a row is left alone that others would take again at once: those who route it differently,
        or those whose transport stands in for the one it must wait for, or does not wait for its limit."""
        if route in self.transports and row.gate in self.transports:
            return SEARCH
        if not row.is_doubtful:
            return None
        if route is None and limit is not None and limit != row.way:
            return min(max(self.rules.gates.closed_for(limit, self.clock()), PROBED), SELDOM)
        if row.way == claimed_for:
            return None
        return min(self.transports[row.way].paused_for or PROBED, SELDOM)  # by hand it is paused without end


def given_back(row: Claimed, *, route: str | None = None, delay: float | None = None) -> Result:
    """Untried and not counted; with its place in the queue, unless a `delay` in seconds is given."""
    due_at = row.due_at if delay is None else None
    route = row.returns_to if route is None else route
    verdict = Verdict(Status.PENDING, delay=delay or 0.0, counted=False, route=route, due_at=due_at)
    return Result(row.id, row.claim_token, row.attempts, verdict, lost=lost_before(row))
