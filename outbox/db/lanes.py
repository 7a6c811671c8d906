"""How a claim is shared between priorities and gates: a lower number goes first, and none starves. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

LANES = (0, 1, 2)
"""The priorities: urgent, normal, bulk."""

TURNS = (0, 1, 0, 2, 0, 1, 0, 0)
"""Who comes first when there are too few places to give everyone one: normal every fourth time, bulk every eighth."""

MOST = 500
"""Choices of gates of which something is remembered. There can be as many as there are limits that open and close."""

T = TypeVar("T")


class ByGates(dict[tuple[str, ...], T]):
    """What claims from the same gates remember, `new` for so many gates. Whatever is forgotten is found out again."""

    def __init__(self, new: Callable[[int], T]) -> None:
        super().__init__()
        self._new = new

    def __missing__(self, gates: tuple[str, ...]) -> T:
        if len(self) >= MOST:
            self.clear()
        self[gates] = self._new(len(gates))
        return self[gates]


def lane_shares(due: Sequence[int], limit: int, turn: int) -> list[int]:
    """How many of `limit` rows to take from each lane, where `due` rows wait; `turn` counts claims.

    Normal mail is guaranteed a quarter of the places and bulk an eighth. What a lane cannot fill goes to the others,
    the most urgent first.
    """
    guaranteed = [0, 0, 0]
    if limit < len(LANES):
        guaranteed[TURNS[turn % len(TURNS)]] = min(limit, 1)
    else:
        guaranteed[1:] = max(1, limit // 4), max(1, limit // 8)
    shares = [min(waiting, places) for waiting, places in zip(due, guaranteed, strict=True)]
    for lane in LANES:
        shares[lane] += max(0, min(due[lane] - shares[lane], limit - sum(shares)))
    return shares


def _split(share: int, may_have: Sequence[int], turn: int) -> list[int]:
    """`share` rows of one lane, from gates that may have so many each: the same number from each, if they have it."""
    parts = [0 for _ in may_have]
    order = [(place + turn) % len(parts) for place in range(len(parts))]
    for place, gate in enumerate(order):
        fair = -(-(share - sum(parts)) // (len(parts) - place))
        parts[gate] = min(may_have[gate], fair)
    for gate in order:
        parts[gate] += min(may_have[gate] - parts[gate], share - sum(parts))
    return parts


class Lanes:
    """What one poller remembers from claim to claim of the same `gates`: whose turn it is, and where there was more
    than was taken. Cells are counted gate by gate, each with all its lanes."""

    def __init__(self, gates: int = 1) -> None:
        self._turn = 0
        self._full = [True for _ in range(gates * len(LANES))]

    def sharing(self, limit: int, *, urgent: bool = False) -> "Sharing":
        """For one claim of up to `limit` rows; `urgent`: of the first lane only."""
        self._turn += 1
        return Sharing(limit, self._turn, self._full, urgent=urgent)


class Sharing:
    """The shares of one claim. Nothing is counted beforehand: the first look goes by what the last claims left, and
    where it finds much less than there is room for, another one follows in the cells that may have more."""

    def __init__(self, limit: int, turn: int, full: list[bool], *, urgent: bool = False) -> None:
        probe = max(1, limit // 16)  # of a cell that had nothing left, where others had
        self._room = self._limit = limit
        self._turn = turn
        self._full = full
        self._may_have = [limit if one or not any(full) else probe for one in full]
        if urgent:
            self._may_have = [0 if cell % len(LANES) else limit for cell in range(len(full))]
        self._shares: list[int] = []

    def next(self) -> list[int] | None:
        """How many rows to take of each cell now, None where that is enough."""
        if self._room * 2 <= self._limit:
            return None
        lanes = [self._may_have[lane :: len(LANES)] for lane in LANES]
        self._shares = [0 for _ in self._may_have]
        for lane, share in enumerate(lane_shares([sum(cells) for cells in lanes], self._room, self._turn)):
            self._shares[lane :: len(LANES)] = _split(share, lanes[lane], self._turn)
        return self._shares if any(self._shares) else None

    def found(self, counts: Sequence[int]) -> None:
        """So many rows were taken."""
        self._room -= sum(counts)
        for cell, (count, share) in enumerate(zip(counts, self._shares, strict=True)):
            if share:
                self._full[cell] = count == share
                self._may_have[cell] = self._limit if count == share else 0
