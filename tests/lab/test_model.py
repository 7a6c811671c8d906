"""Anything in any order, by several pollers at once: see tests.lab.model."""

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lab.model import OutboxMachine

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "15"))
STEPS = 25 if EXAMPLES < 100 else 60


def test_no_order_of_events_breaks_a_promise(database):
    class Machine(OutboxMachine):
        def __init__(self):
            super().__init__(database)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
