"""The flood guard: no recipient gets more than was said, in any window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.flood import Recent, admit
from outbox.core.rate import Rate


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=60))
def test_no_window_holds_more_than_the_limit_for_one_recipient(count, gaps):
    recent, now, gone = {"ada": Recent()}, 1000.0, []
    for id_, gap in enumerate(gaps):
        now += gap
        if not admit([(id_, ["ada"])], recent, Rate(count, 60), now):
            gone.append(now)
        recent = {"ada": Recent.read(recent["ada"].write())}
    for first in gone:
        assert sum(first <= time < first + 60 for time in gone) <= count


def test_an_email_that_is_tried_again_is_counted_once():
    recent, limit = {"ada": Recent()}, Rate(1, 3600)
    assert admit([(1, ["ada"])], recent, limit, 0.0) == {}
    assert admit([(1, ["ada"]), (2, ["ada"])], recent, limit, 10.0) == {2: "ada"}


def test_an_email_to_several_goes_to_all_or_to_none_and_is_counted_for_those_it_goes_to():
    recent, limit = {"ada": Recent(), "bob": Recent()}, Rate(1, 3600)
    assert admit([(1, ["bob"]), (2, ["ada", "bob"]), (3, ["ada"])], recent, limit, 0.0) == {2: "bob"}


@pytest.mark.parametrize("state", [None, "", "[]", "nonsense", '{"a": 1}', '{"1": null}', f'{{"1": 1{"0" * 400}}}'])
def test_a_state_that_cannot_be_read_is_begun_anew(state):
    assert Recent.read(state) == Recent()


def test_a_clock_that_was_set_back_holds_nobodys_mail_for_longer_than_a_window():
    recent, limit = {"ada": Recent({1: 1e9})}, Rate(1, 60)
    assert admit([(2, ["ada"])], recent, limit, 1000.0) == {2: "ada"}
    assert admit([(3, ["ada"])], recent, limit, 1060.0) == {}
