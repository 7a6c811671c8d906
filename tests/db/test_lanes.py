"""How a claim is shared between priorities."""

from hypothesis import given
from hypothesis import strategies as st

from outbox.db.lanes import lane_shares


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
