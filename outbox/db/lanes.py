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
