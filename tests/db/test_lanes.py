"""How a claim is shared between priorities."""

from hypothesis import given
from hypothesis import strategies as st

from outbox.db.lanes import LANES, Lanes, lane_shares


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3), st.integers(0, 100), st.integers(0, 1000))
def test_every_place_is_used_and_none_is_given_twice(due, limit, turn):
    shares = lane_shares(due, limit, turn)
    assert sum(shares) == min(limit, sum(due))
    assert all(0 <= share <= waiting for share, waiting in zip(shares, due, strict=True))


@given(st.integers(3, 100), st.integers(0, 1000))
def test_every_lane_has_its_share_of_a_full_claim(limit, turn):
    urgent, normal, bulk = lane_shares([100, 100, 100], limit, turn)
    assert normal >= max(1, limit // 4)
    assert bulk >= max(1, limit // 8)
    assert urgent >= normal >= bulk


@given(st.integers(1, 2))
def test_small_claims_take_turns(limit):
    taken = [lane_shares([9, 9, 9], limit, turn) for turn in range(8)]
    urgent, normal, bulk = (sum(lane) for lane in zip(*taken, strict=True))
    assert urgent > normal > bulk > 0


def take(lanes, waiting, limit):
    """One claim of `limit` rows from what is `waiting`; how many it took, and in how many looks."""
    sharing, taken, looks = lanes.sharing(limit), 0, 0
    while shares := sharing.next():
        found = [min(share, rows) for share, rows in zip(shares, waiting, strict=True)]
        for lane in LANES:
            waiting[lane] -= found[lane]
        sharing.found(found)
        taken, looks = taken + sum(found), looks + 1
    return taken, looks


@given(st.lists(st.integers(0, 200), min_size=3, max_size=3), st.integers(1, 100))
def test_claims_without_counting_take_everything_and_never_too_much(waiting, limit):
    lanes = Lanes()
    while sum(waiting):
        before = sum(waiting)
        taken, looks = take(lanes, waiting, limit)
        assert min(before, limit) / 2 <= taken <= limit
        assert looks <= 2 * len(LANES)


def test_a_single_busy_lane_is_claimed_in_one_look_nearly_full():
    lanes, waiting = Lanes(), [0, 10_000, 0]
    take(lanes, waiting, 40)
    assert [take(lanes, waiting, 40) for _ in range(10)] == [(36, 1)] * 10


def test_a_lane_that_was_empty_is_noticed_by_the_next_claim_and_served_by_the_one_after():
    lanes, waiting = Lanes(), [0, 10_000, 0]
    take(lanes, waiting, 40)
    waiting[0] = 30
    take(lanes, waiting, 40)
    take(lanes, waiting, 40)
    assert waiting[0] == 0


@given(st.lists(st.integers(0, 100), min_size=6, max_size=6), st.integers(1, 60))
def test_gates_share_a_lane_and_take_what_others_cannot_fill(waiting, limit):
    lanes = Lanes(2)
    while sum(waiting):
        before, sharing, taken = list(waiting), lanes.sharing(limit), 0
        while shares := sharing.next():
            found = [min(share, rows) for share, rows in zip(shares, waiting, strict=True)]
            waiting = [rows - took for rows, took in zip(waiting, found, strict=True)]
            sharing.found(found)
            taken += sum(found)
        assert min(sum(before), limit) / 2 <= taken <= limit


def test_two_busy_gates_are_served_alike():
    lanes, taken = Lanes(2), [0, 0]
    for _ in range(10):
        sharing = lanes.sharing(30)
        while shares := sharing.next():
            sharing.found(shares)
            taken = [taken[0] + sum(shares[:3]), taken[1] + sum(shares[3:])]
    assert abs(taken[0] - taken[1]) <= 10


def test_an_urgent_claim_takes_urgent_rows_only():
    assert Lanes(2).sharing(10, urgent=True).next() == [5, 0, 0, 5, 0, 0]
