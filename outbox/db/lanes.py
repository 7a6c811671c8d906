"""How a claim is shared between the priorities: a lower number goes first, and none starves. Pure."""

from collections.abc import Sequence

LANES = (0, 1, 2)
"""The priorities: urgent, normal, bulk."""

_TURNS = (0, 1, 0, 2, 0, 1, 0, 0)
"""Who comes first when there are too few places to give everyone one: normal every fourth time, bulk every eighth."""


def lane_shares(due: Sequence[int], limit: int, turn: int) -> list[int]:
    """How many of `limit` rows to take from each lane, where `due` rows wait; `turn` counts claims.

    Normal mail is guaranteed a quarter of the places and bulk an eighth. What a lane cannot fill goes to the others,
    the most urgent first.
    """
    guaranteed = [0, 0, 0]
    if limit < len(LANES):
        guaranteed[_TURNS[turn % len(_TURNS)]] = min(limit, 1)
    else:
        guaranteed[1:] = max(1, limit // 4), max(1, limit // 8)
    shares = [min(waiting, places) for waiting, places in zip(due, guaranteed, strict=True)]
    for lane in LANES:
        shares[lane] += max(0, min(due[lane] - shares[lane], limit - sum(shares)))
    return shares


class Lanes:
    """What one poller remembers from claim to claim: whose turn it is, and which lanes had more than was taken."""

    def __init__(self) -> None:
        self._turn = 0
        self._full = [True for _ in LANES]

    def sharing(self, limit: int) -> "Sharing":
        """For one claim of up to `limit` rows."""
        self._turn += 1
        return Sharing(limit, self._turn, self._full)


class Sharing:
    """The shares of one claim. Nothing is counted beforehand: the first look goes by what the last claims left, and
    where it finds much less than there is room for, another one follows in the lanes that may have more."""

    def __init__(self, limit: int, turn: int, full: list[bool]) -> None:
        probe = max(1, limit // 16)  # of a lane that had nothing left, where others had
        self._room = self._limit = limit
        self._turn = turn
        self._full = full
        self._may_have = [limit if one or not any(full) else probe for one in full]
        self._shares: list[int] = []

    def next(self) -> list[int] | None:
        """How many rows to take from each lane now, None where that is enough."""
        if self._room * 2 <= self._limit:
            return None
        self._shares = lane_shares(self._may_have, self._room, self._turn)
        return self._shares if any(self._shares) else None

    def found(self, counts: Sequence[int]) -> None:
        """So many rows were taken."""
        self._room -= sum(counts)
        for lane, (count, share) in enumerate(zip(counts, self._shares, strict=True)):
            if share:
                self._full[lane] = count == share
                self._may_have[lane] = self._limit if count == share else 0
