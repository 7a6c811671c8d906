"""Durations as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("60s", 60), ("1.5m", 90), (" 2h ", 7200), ("30 d", 2592000), (5, 5.0), (0.25, 0.25), ("0s", 0)],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-5s", "5 weeks", "1h 5m", "5S", "nan", True, None, [], "1e3s"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="write it like 500ms, 60s, 5m, 2h, 30d or 1y"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["4000d", -1, float("nan"), float("inf"), 1e12])
def test_a_senseless_length_is_refused(text):
    with pytest.raises(ValueError, match="between 0 and ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (1, "1s"), (60, "1m"), (65, "1m 5s"), (3605, "1h"), (3900, "1h 5m"), (90061, "1d 1h")],
)
def test_a_duration_is_shown_in_at_most_two_units(seconds, text):
    assert format_duration(seconds) == text


@settings(deadline=None)
@given(st.integers(1, 3650 * 86400))
def test_what_is_shown_never_loses_more_than_the_unit_below_the_first(seconds):
    shown = sum(parse_duration(part) for part in format_duration(seconds).split())
    assert 0 <= seconds - shown < max(60, seconds / 24)


@settings(deadline=None)
@given(st.integers(1, 23), st.sampled_from("smhd"))
def test_a_single_unit_is_read_back_as_it_was_shown(count, unit):
    assert format_duration(parse_duration(f"{count}{unit}")) == f"{count}{unit}"
