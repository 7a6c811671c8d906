"""The clock of the leases: whatever happens to the wall clock, it never goes back and never stands still."""

import time

import pytest

from outbox.leases import lease_clock


@pytest.fixture
def clocks(monkeypatch):
    """The boot clock and the wall clock, to be moved by hand."""
    at = {"boot": 100.0, "wall": 1_000_000.0}
    monkeypatch.setattr(time, "clock_gettime", lambda _: at["boot"])
    monkeypatch.setattr(time, "time", lambda: at["wall"])
    return at


def test_it_counts_a_suspension_that_only_the_wall_clock_saw(clocks):
    clock = lease_clock()
    clocks["boot"] += 1
    clocks["wall"] += 600
    assert clock() == 600


def test_a_wall_clock_that_was_set_forward_and_back_does_not_make_it_stand_still(clocks):
    clock = lease_clock()
    clocks["wall"] += 3600
    assert clock() == 3600
    clocks["boot"] += 5
    clocks["wall"] -= 3595
    assert clock() == 3605
    clocks["boot"] += 60
    clocks["wall"] += 60
    assert clock() == 3665
