"""Pauses: how long, how they grow, and how they end."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.outcome import Fault, Scope
from outbox.smtp.health import Health
from tests.fixtures.clock import Clock


def paused(scope: Scope, times: int, seed: int = 1, wait: float | None = None) -> Health:
    """After `times` faults, each just when the pause before was over."""
    clock = Clock()
    health = Health(clock, random.Random(seed))
    for _ in range(times):
        clock.now += health.paused_for
        assert health.failed(Fault(scope, "no", wait))
    return health


@given(st.integers(1, 60), st.integers())
def test_a_pause_doubles_from_a_second_to_five_minutes_give_or_take_a_fifth(times, seed):
    step = min(2.0 ** (times - 1), 300)
    assert 0.79 * step <= paused(Scope.PAUSE, times, seed).paused_for <= 1.21 * step


@given(st.integers(1, 60), st.integers())
def test_wrong_configuration_is_probed_every_five_to_fifteen_minutes(times, seed):
    assert 0.79 * 300 <= paused(Scope.CONFIG, times, seed).paused_for <= 1.21 * 900


def test_a_server_that_says_how_long_is_heard_within_reason():
    assert paused(Scope.PAUSE, 1, wait=92.0).paused_for == pytest.approx(92)
    assert paused(Scope.PAUSE, 1, wait=1e9).paused_for == pytest.approx(86400)


def test_connections_that_fail_together_are_one_failure():
    health = paused(Scope.PAUSE, 1)
    assert not health.failed(Fault(Scope.PAUSE, "no too"))
    assert health.failures == 1
    assert health.fault
    assert health.fault.reason == "no"


def test_a_worse_fault_during_a_pause_lengthens_it():
    health = paused(Scope.PAUSE, 1)
    assert health.failed(Fault(Scope.CONFIG, "wrong password"))
    assert health.paused_for > 200
    assert health.failures == 1


def test_success_ends_it_and_is_news_once():
    health = paused(Scope.PAUSE, 3)
    assert health.succeeded()
    assert not health.succeeded()
    assert (health.paused_for, health.failures, health.fault) == (0.0, 0, None)


def test_after_the_pause_it_is_on_probation():
    clock = Clock()
    health = Health(clock, random.Random(1))
    health.failed(Fault(Scope.PAUSE, "no"))
    clock.now += 10
    assert (health.paused_for, health.failures) == (0.0, 1)


def health_at(now: float = 1000.0) -> tuple[Health, Clock]:
    clock = Clock()
    clock.now = now
    return Health(clock, random.Random(1)), clock


def test_a_pause_that_others_found_is_kept_as_theirs_and_counts_as_a_failure():
    health, clock = health_at()
    assert health.adopt(Fault(Scope.PAUSE, "refused", wait=7.0))
    assert (health.paused_for, health.failures) == (7.0, 1)
    clock.now += 2
    assert not health.adopt(Fault(Scope.PAUSE, "refused", wait=5.0))
    assert (health.paused_for, health.failures) == (5.0, 1)
    clock.now += 5
    assert not health.adopt(Fault(Scope.PAUSE, "refused", wait=0.1)), "another clock, the same pause"
    assert health.failures == 1
    clock.now += 1
    assert not health.adopt(Fault(Scope.PAUSE, "refused", wait=5.0)), "somebody probes"
    assert (health.paused_for, health.failures) == (5.0, 2)


def test_a_pause_that_is_over_elsewhere_is_a_probation_here():
    health, _ = health_at()
    health.adopt(Fault(Scope.PAUSE, "refused", wait=0.0))
    assert (health.paused_for, health.failures) == (0.0, 1)


def test_what_was_cleared_elsewhere_ends_the_pause_here():
    health = paused(Scope.CONFIG, 3)
    assert health.adopt(None)
    assert not health.adopt(None)
    assert (health.paused_for, health.failures, health.fault) == (0.0, 0, None)


def test_a_pause_by_hand_has_no_end_and_no_fault_changes_it():
    health, clock = health_at()
    assert health.adopt(Fault(Scope.BY_HAND, "paused by hand", wait=float("inf")))
    clock.now += 1e9
    assert not health.failed(Fault(Scope.CONFIG, "wrong password"))
    assert (health.by_hand, health.paused_for) == (True, float("inf"))
    assert health.adopt(None)
    assert health.paused_for == 0
