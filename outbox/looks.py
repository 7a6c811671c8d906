"""Which claims a poller makes, and in which order: how many rows of each transport there is room for, and at which
gates any may wait. Nothing here knows SQL or SMTP.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from outbox.gates import Gates
from outbox.waiting import Waiting

SORTED_TOGETHER = 500
"""Emails of one look at those that are not routed yet; what cannot go now is sent on to its gate, once."""

URGENT_EVERY = 0.02
"""Seconds between looks at urgent emails where there is no room for others: every commit is a reason to look."""

TOGETHER = 50
"""Gates of one claim, at most: SQLite takes no more than 500 terms in a statement, of which each gate needs three."""


@dataclass(frozen=True, slots=True)
class Look:
    """One claim to be made; `name` is the transport it is for, None where that is found out for each row."""

    gates: Sequence[str]
    limit: int
    name: str | None
    urgent: bool = False


class Looks:
    """Of one poller, over `transports`. `clock` is monotonic."""

    def __init__(self, transports: Collection[str], gates: Gates, waiting: Waiting, clock: Callable[[], float]) -> None:
        self._transports = transports
        self._gates = gates
        self._waiting = waiting
        self._clock = clock
        self._looked: dict[str, float] = {}  # when, by transport
        self._skipped: set[str] = set()  # transports where it was too early for another look
        self._mixed_first = False
        self._filled: set[str] = set()

    @property
    def room(self) -> bool:
        """Whether there is room for more than urgent emails."""
        return any(map(self._room, self._transports))

    def rest(self, most: float) -> float:
        """Seconds for which there is nothing to look for, unless something happens; `most`, or less."""
        opens_in = self._gates.opens_in(self._clock())
        return min([most, *map(self._urgent_rest, self._skipped), *([] if opens_in is None else [opens_in])])

    @property
    def open(self) -> list[str]:
        """The gates whose rows could go now."""
        own = {gate for name in self._transports if self._room(name) for gate in self._gates.of(name)}
        return sorted({*own, *self._gates.mixed(self._clock())})

    @property
    def unsure(self) -> list[str]:
        """The gates of which a question should tell whether anything is due there: there are many, and seldom is."""
        domains = self._gates.domains
        return domains if len(domains) > 1 else []

    def fill(self, gates: Collection[str]) -> None:
        """Something is due at these."""
        self._filled.update(gates)

    def found(self, look: Look, count: int) -> None:
        """So many rows were taken. Where that was less than all there was room for, no more is due there."""
        if count < look.limit and not look.urgent:
            self._filled.difference_update(look.gates)

    def all(self) -> Iterator[Look]:
        """Each is made before the next is asked for. Whoever comes first may take all the room, so they take turns; but
        what has a pace takes little, and has to be in time for its slots."""
        unsure = {*self.unsure} - self._filled
        mixed = [gate for gate in self._gates.mixed(self._clock()) if gate not in unsure]
        paced = [gate for gate in mixed if self._gates.share(gate)]
        others = [gate for gate in mixed if gate not in paced]
        self._mixed_first = not self._mixed_first
        yield from self._mixed([*paced, *(others if self._mixed_first else ())])
        yield from self._of_transports()
        if not self._mixed_first:
            yield from self._mixed(others)

    def _of_transports(self) -> Iterator[Look]:
        for name in self._transports:
            if room := self._room(name):
                yield Look(self._gates.of(name), room, name)
            elif room := self._urgent_room(name):
                if self._urgent_rest(name):
                    self._skipped.add(name)
                    continue
                yield Look(self._gates.of(name), room, name, urgent=True)
            self._skipped.discard(name)
            self._looked[name] = self._clock()

    def _mixed(self, gates: Sequence[str]) -> Iterator[Look]:
        if self.room:
            for gate in gates:
                if self._gates.is_open(gate, self._clock()):
                    # Of a paced limit no more than it will soon let through: the rest would be taken for nothing.
                    yield Look([gate], self._gates.share(gate) or SORTED_TOGETHER, None)
        elif gates and (room := max(map(self._urgent_room, self._transports))):
            for start in range(0, len(gates), TOGETHER):
                yield Look(gates[start : start + TOGETHER], room, None, urgent=True)

    def _room(self, name: str) -> int:
        """Rows of transport `name` that may be claimed now; where it has a pace, no more than will soon have a slot."""
        if not self._gates.is_open(name, self._clock()):
            return 0
        share = self._gates.share(name)
        if share is None:
            return self._waiting.room(name)
        if self._waiting.is_busy(name):  # its slots would be lost
            return 0
        return min(self._waiting.space(name), share) if self._waiting.waiting(name) < share else 0

    def _urgent_room(self, name: str) -> int:
        return self._waiting.urgent_room(name) if self._gates.is_open(name, self._clock()) else 0

    def _urgent_rest(self, name: str) -> float:
        """Seconds for which transport `name` needs no look at urgent emails alone."""
        return max(self._looked.get(name, -URGENT_EVERY) + URGENT_EVERY - self._clock(), 0.0)
