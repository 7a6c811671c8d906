"""The verdict on a row."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.outcome import Fault, Kind, Outcome, Report, Scope
from outbox.core.reply import Reply
from outbox.core.retry import JITTER, MAX_WAIT, RetryPolicy, Standing, backoff, decide, give_up, settle
from outbox.core.status import FINAL, Status, may_become

POLICY = RetryPolicy()
NAMES = ["a@x.org", "b@x.org", "c@x.org"]
REPLIES = st.none() | st.builds(
    Reply, st.integers(200, 599), st.sampled_from(["", "try again in 92 seconds", "5.1.1 no"])
)
OUTCOMES = st.dictionaries(st.sampled_from(NAMES), st.builds(Outcome, st.sampled_from(Kind), REPLIES))
FAULTS = st.none() | st.builds(Fault, st.sampled_from(Scope), st.just("connection refused"))
STANDINGS = st.builds(
    Standing,
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([Kind.ACCEPTED, Kind.REFUSED])),
    st.integers(1, 20),
    st.none() | st.integers(1, 20),
    st.booleans(),
    doubt=st.booleans(),
    bounces=st.just(0),
)
RANDOMS = st.integers().map(random.Random)


def verdict(*outcomes: Outcome, attempt=1, max_attempts=None, hold=False, settled=None, fault=None):
    """The verdict where these came of the recipients, one after the other."""
    report = Report(dict(zip(NAMES, outcomes, strict=False)), fault)
    recipients = NAMES[: max(len(outcomes), len(settled or ()), 1)]
    standing = Standing(recipients, settled or {}, attempt, max_attempts, hold)
    return decide(standing, report, POLICY, random.Random(1))


ACCEPTED = Outcome(Kind.ACCEPTED, Reply(250, "ok"))
REFUSED = Outcome(Kind.REFUSED, Reply(550, "5.1.1 no such user"))
DEFERRED = Outcome(Kind.DEFERRED, Reply(450, "4.2.1 greylisted"))
IN_DOUBT = Outcome(Kind.IN_DOUBT, note="connection lost after the final dot")
FAULT = Fault(Scope.PAUSE, "connection refused")


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([ACCEPTED], Status.SENT),
        ([ACCEPTED, ACCEPTED], Status.SENT),
        ([ACCEPTED, REFUSED], Status.PARTIAL),
        ([REFUSED, REFUSED], Status.FAILED),
        ([ACCEPTED, DEFERRED], Status.PENDING),
        ([REFUSED, DEFERRED], Status.PENDING),
        ([IN_DOUBT], Status.PENDING),
    ],
)
def test_the_status_follows_from_the_outcomes(outcomes, status):
    assert verdict(*outcomes).status is status


def test_the_last_attempt_ends_the_row():
    assert verdict(DEFERRED, attempt=16).status is Status.FAILED
    assert verdict(ACCEPTED, DEFERRED, attempt=16).status is Status.PARTIAL
    assert verdict(IN_DOUBT, attempt=16).status is Status.IN_DOUBT
    assert verdict(DEFERRED, attempt=15).status is Status.PENDING


def test_the_bound_of_the_row_wins():
    assert verdict(DEFERRED, attempt=2, max_attempts=2).status is Status.FAILED
    assert verdict(DEFERRED, attempt=16, max_attempts=17).status is Status.PENDING


def test_a_fault_of_the_transport_costs_no_attempt():
    found = verdict(fault=FAULT, attempt=99)
    assert (found.status, found.delay, found.counted) == (Status.PENDING, 0.0, False)
    assert found.reason == "connection refused"


def test_hold_stops_at_the_first_doubt():
    assert verdict(IN_DOUBT, hold=True).status is Status.IN_DOUBT
    assert verdict(IN_DOUBT, hold=True, fault=FAULT).status is Status.IN_DOUBT


def test_doubt_waits_at_least_the_doubt_delay():
    assert verdict(IN_DOUBT).delay == POLICY.doubt_delay
    assert verdict(DEFERRED).delay < POLICY.doubt_delay


def test_a_server_that_asks_for_time_gets_it_within_reason():
    assert verdict(Outcome(Kind.DEFERRED, Reply(450, "try again in 2 hours"))).delay == 7200
    assert verdict(Outcome(Kind.DEFERRED, Reply(450, "try again in 9000 hours"))).delay == MAX_WAIT


def test_the_reason_names_the_worst_and_whom_it_hit():
    assert verdict(DEFERRED, REFUSED, REFUSED).reason == "b@x.org: 550 5.1.1 no such user (and 1 more)"
    assert verdict(ACCEPTED).reason is None


def test_giving_up_tells_how_often_it_was_tried():
    assert verdict(DEFERRED, attempt=16).reason == "gave up after 16 attempts: a@x.org: 450 4.2.1 greylisted"


@pytest.mark.parametrize(("settled", "status"), [({}, Status.FAILED), ({NAMES[0]: Kind.ACCEPTED}, Status.PARTIAL)])
def test_broken_content_ends_the_row_with_what_was_reached(settled, status):
    found = give_up(Standing(NAMES, settled, 3), "welcome.html line 3: 'order' is undefined")
    assert (found.status, found.reason) == (status, "welcome.html line 3: 'order' is undefined")


@pytest.mark.parametrize(
    ("standing", "flags", "status"),
    [
        (Standing(NAMES, {}, 1), {}, None),
        (Standing(NAMES, {}, 16), {}, None),
        (Standing(NAMES, {}, 2, doubt=True), {}, None),
        (Standing(NAMES, {}, 2, hold=True), {}, None),
        (Standing(NAMES, dict.fromkeys(NAMES, Kind.ACCEPTED), 2), {"expired": True}, Status.SENT),
        (Standing(NAMES, {}, 1), {"expired": True}, Status.EXPIRED),
        (Standing(NAMES, {}, 2, hold=True, doubt=True), {"expired": True}, Status.IN_DOUBT),
        (Standing(NAMES, {}, 17), {}, Status.FAILED),
        (Standing(NAMES, {NAMES[0]: Kind.ACCEPTED}, 17), {}, Status.PARTIAL),
    ],
)
def test_a_row_that_must_not_be_sent_is_settled_before(standing, flags, status):
    found = settle(standing, POLICY, **flags)
    assert (found and found.status) is status


@settings(deadline=None)
@given(STANDINGS, OUTCOMES, FAULTS, RANDOMS)
def test_a_verdict_is_always_a_legal_next_status_with_a_delay_exactly_when_pending(standing, outcomes, fault, rng):
    found = decide(standing, Report(outcomes, fault), POLICY, rng)
    assert may_become(Status.SENDING, found.status)
    assert (found.delay is not None) is (found.status is Status.PENDING)
    assert found.delay is None or found.delay >= 0
    assert found.status is Status.PENDING or found.status in FINAL
    assert found.counted or (fault is not None and found.delay == 0)


@settings(deadline=None)
@given(STANDINGS, RANDOMS)
def test_a_row_that_was_accepted_for_everyone_is_never_tried_again(standing, rng):
    outcomes = {r: ACCEPTED for r in standing.recipients if standing.settled.get(r) is not Kind.ACCEPTED}
    assert decide(standing, Report(outcomes), POLICY, rng).status is Status.SENT


@settings(deadline=None)
@given(STANDINGS, OUTCOMES, FAULTS, RANDOMS)
def test_a_row_is_sent_exactly_when_everyone_was_accepted(standing, outcomes, fault, rng):
    last = {**standing.settled, **{r: outcome.kind for r, outcome in outcomes.items()}}
    found = decide(standing, Report(outcomes, fault), POLICY, rng)
    assert (found.status is Status.SENT) is all(last.get(r) is Kind.ACCEPTED for r in standing.recipients)


@settings(deadline=None)
@given(st.integers(1, 1000), st.lists(st.floats(0.001, 1e6), min_size=1).map(tuple), RANDOMS)
def test_backoff_stays_within_the_jitter_of_its_step(attempt, schedule, rng):
    step = schedule[min(attempt, len(schedule)) - 1]
    delay = backoff(attempt, RetryPolicy(schedule), rng)
    assert step * (1 - JITTER) * 0.999 <= delay <= step * (1 + JITTER) * 1.001


def test_the_last_step_varies_too():
    assert len({backoff(99, POLICY, random.Random(seed)) for seed in range(10)}) == 10


def test_an_email_at_which_a_healthy_transport_fails_steps_back_and_keeps_its_attempt():
    report = Report(fault=Fault(Scope.CONFIG, "every email is denied", about_message=True))
    standing = Standing(["a@example.org"], {}, 3)
    verdicts = [decide(standing._replace(bounces=n), report, RetryPolicy(), random.Random(1)) for n in (0, 1, 3, 99)]
    assert {(verdict.status, verdict.counted) for verdict in verdicts} == {(Status.PENDING, False)}
    assert [round(verdict.delay or 0) for verdict in verdicts] == pytest.approx([0, 2, 8, 60], rel=0.25)
