"""Limits: never more in any window than was said, and as much as that where there is enough to send."""

from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.rate import AHEAD, PARTS, Meter, Rate, parse_rate

RATES = st.builds(Rate, st.integers(1, 200), st.sampled_from([1.0, 60.0, 3600.0, 86400.0]))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("14/s", Rate(14, 1)),
        (" 30 / min ", Rate(30, 60)),
        ("500/hour", Rate(500, 3600)),
        ("10000/day", Rate(10000, 86400)),
    ],
)
def test_rates_are_read_as_people_write_them(text, rate):
    assert parse_rate(text) == rate
    assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "14", "0/s", "-1/s", "1.5/s", "14/week", "s/14", None, 14, "9999999999/s"])
def test_whatever_is_no_rate_is_told_what_one_is(text):
    with pytest.raises(ValueError, match="is not a rate; write it like 14/s"):
        parse_rate(text)


def send_all(meter: Meter, asked: list[float]) -> list[float]:
    """The times at which emails may go that are asked for at these times; those that are refused ask no more."""
    gone = []
    for now in asked:
        if meter.wait(now) == 0:
            gone.append(now + meter.take(now))
        meter = Meter.read(meter.rates, meter.write())
    return gone


@given(RATES, st.lists(st.floats(0, 5), min_size=1, max_size=300), st.floats(0, 1e9))
def test_no_window_holds_more_than_the_rate_allows(rate, gaps, start):
    asked = [start + sum(gaps[: n + 1]) * rate.seconds / 100 for n in range(len(gaps))]
    gone = send_all(Meter([rate]), asked)
    for first, time in enumerate(gone):
        inside = bisect_right(gone, time + rate.seconds * (1 - 1e-6)) - first
        assert inside <= rate.count


@given(st.integers(1, 200), st.sampled_from([1.0, 60.0]))
def test_a_pace_is_used_whole_and_spread_evenly(count, seconds):
    meter, now = Meter([Rate(count, seconds)]), 1000.0
    gone: list[float] = []
    while len(gone) < 50:
        now += meter.wait(now)
        gone.append(now + meter.take(now))
    gaps = [later - earlier for earlier, later in pairwise(gone)]
    assert gaps == pytest.approx([seconds / count] * 49)


def test_a_quota_may_be_used_at_once_and_comes_back_when_its_window_has_passed():
    meter = Meter([parse_rate("10/day")])
    assert len(send_all(meter, [5.0] * 20)) == 10
    meter = Meter([parse_rate("10/day")])
    for _ in range(10):
        assert meter.take(5.0) == 0
    wait = meter.wait(5.0)
    assert 86400 <= wait <= 86400 * (1 + 2 / PARTS)
    assert meter.wait(5.0 + wait) == 0


def test_of_several_rates_the_one_that_allows_less_decides():
    meter = Meter([parse_rate("1/s"), parse_rate("3/hour")])
    times = []
    for _ in range(3):
        assert meter.wait(0.0) == 0
        times.append(meter.take(0.0))
    assert times == [0.0, 1.0, 2.0]
    assert meter.wait(10.0) > 3000
    assert meter.next(10.0) == meter.wait(10.0)


def test_slots_are_given_ahead_but_not_far():
    meter = Meter([parse_rate("10/s")])
    slots = []
    while meter.wait(0.0) == 0:
        slots.append(meter.take(0.0))
    assert slots[-1] <= AHEAD < slots[-1] + 0.1 + 1e-9
    assert meter.wait(1.0) == 0


NONSENSE = [
    *(None, "", "nonsense", "[]", '{"slot": "x"}', '{"used": {"a": 1}}', '{"used": 5}', "[" * 100_000),
    *('{"slot": Infinity}', '{"slot": NaN}', '{"slot": 1e999}', f'{{"slot": 1{"0" * 400}}}'),
    *('{"used": {"86400": {"5": Infinity}}}', '{"used": {"86400": {"0": -50}}}'),
]


@pytest.mark.parametrize("state", NONSENSE)
def test_a_state_that_cannot_be_read_is_begun_anew(state):
    meter = Meter.read([parse_rate("1/s"), parse_rate("1/day")], state)
    assert meter.wait(7.0) == 0
    assert meter.take(7.0) == 0
    assert meter.wait(7.0) > 0, "nothing is left over of what was there"


@pytest.mark.parametrize("late", [3600.0, 1e9, 1e300])
def test_a_clock_that_was_set_back_stops_a_pace_no_longer_than_a_slot_and_a_quota_no_longer_than_its_window(late):
    pace = Meter([parse_rate("2/s")], slot=late)
    assert pace.wait(1000.0) <= 0.5
    quota = Meter([parse_rate("2/hour")], used={3600.0: {int(late): 2}})
    assert 0 < quota.wait(1000.0) <= 3600 * (1 + 3 / PARTS)


def test_two_quotas_of_one_window_count_an_email_once():
    meter = Meter([parse_rate("4/hour"), parse_rate("3/hour")])
    assert len(send_all(meter, [5.0] * 10)) == 3


def test_a_quota_that_only_others_have_is_kept_and_counts_what_goes_without_it():
    with_quota, without = [parse_rate("5/day")], [parse_rate("30/min")]
    state: str | None = None
    for rates in (with_quota, without, with_quota, without, with_quota):
        meter = Meter.read(rates, state)
        assert meter.wait(1000.0) == 0
        meter.take(1000.0)
        state = meter.write()
    assert Meter.read(with_quota, state).wait(1010.0) > 86000
    assert Meter.read(without, state).wait(1010.0) == 0


def test_the_slots_of_a_pace_that_only_others_have_are_left_to_them():
    meter = Meter([parse_rate("1/min")])
    meter.take(1000.0)
    other = Meter.read([parse_rate("5/day")], meter.write())
    assert (other.wait(1000.0), other.take(1000.0)) == (0, 0)
    assert Meter.read(meter.rates, other.write()).wait(1000.0) == meter.wait(1000.0) > 50


def test_what_was_not_tried_is_put_back_into_its_quota_once():
    meter = Meter([parse_rate("10/s"), parse_rate("3/hour")])
    taken = [1000.0 + meter.take(1000.0) for _ in range(3)]
    assert meter.wait(1001.0) > 3000
    meter.put_back(meter.counted(taken[2]))
    assert meter.wait(1001.0) == 0
    for at in (*taken, *taken, 5.0):
        meter.put_back(meter.counted(at))
    assert len(send_all(meter, [1001.0 + n for n in range(10)])) == 3


def test_what_is_put_back_is_missing_in_no_quota_that_came_up_since():
    hour, day = Rate(10, 3600.0), Rate(1, 86400.0)
    before = Meter([hour])
    untried = before.counted(1e9 + before.take(1e9))
    others = Meter.read([hour, day], before.write())
    others.take(1e9)
    late = Meter.read([hour], others.write())
    late.put_back(untried)
    assert Meter.read([day], late.write()).wait(1e9) > 0
