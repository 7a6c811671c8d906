"""The verdict: from the outcomes of an attempt to what happens to the row. Pure; randomness comes in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from outbox.core.outcome import Kind, Outcome, Report, Scope
from outbox.core.status import Status

JITTER = 0.2
"""Every delay varies by ±20 %, also the last and longest one, so that an outage's backlog does not return in step."""

STUBBORN = 30
"""Times an email may be the one at which a transport that is well otherwise fails, until it is held against it."""

MAX_WAIT = 86400.0
"""Seconds a server can make us wait by its own words."""


EXPIRED = "expired before it was sent"
"""The reason on record of every expired row."""

MAY_HAVE_LEFT = "its poller died or lost the database when the final dot may have left"
"""The reason on record of a row on hold that was found so."""


HELD = 7900 * 365.25 * 86400.0
"""Seconds for which a row is held, unless a person releases it: until the year 9926."""

HELD_FROM = datetime(9000, 1, 1, tzinfo=UTC)
"""What is due then or later is held."""


class Random(Protocol):
    """The part of `random.Random` that is used."""

    def uniform(self, a: float, b: float, /) -> float:
        """A float between `a` and `b`."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again; seconds throughout."""

    schedule: tuple[float, ...] = (60, 300, 900, 1800, 3600, 7200, 14400)  # the last one repeats
    max_attempts: int = 16
    doubt_delay: float = 300.0  # no earlier retry after an outcome in doubt (RFC 5321 §4.5.3.2.6)


class Verdict(NamedTuple):
    """What happens to the row."""

    status: Status
    delay: float | None = None  # seconds to the next attempt, exactly when `status` is pending
    counted: bool = True  # False: the attempt is given back
    reason: str | None = None  # one readable line, None when everything went well
    route: str | None = None  # the gate it waits at from now on; None: where it was
    held: bool | None = None  # True: it waits for a person; None: as it was
    due_at: str | None = None  # the place in the queue that it had, which it takes again instead of a delay


def backoff(attempt: int, policy: RetryPolicy, random: Random) -> float:
    """Seconds to wait after the `attempt`-th attempt (from 1) failed."""
    step = policy.schedule[min(max(attempt, 1), len(policy.schedule)) - 1]
    return step * random.uniform(1 - JITTER, 1 + JITTER)


class Standing(NamedTuple):
    """What is known of a row when its attempt ends."""

    recipients: Collection[str]  # everyone it is for
    settled: Mapping[str, Kind]  # accepted or refused in earlier attempts
    attempt: int  # this one's number, from 1
    max_attempts: int | None = None  # the row's own bound
    hold: bool = False  # on_doubt = 'hold'
    doubt: bool = False  # the last outcome on record of somebody who waits is in doubt
    bounces: int = 0  # times that this email was the one at which a transport that is well otherwise failed


def settle(standing: Standing, policy: RetryPolicy, *, expired: bool = False) -> Verdict | None:
    """The verdict on a claimed row that must not be sent, or None where it may be. No attempt is counted for it."""
    if all(standing.settled.get(r) is Kind.ACCEPTED for r in standing.recipients):
        return Verdict(Status.SENT, counted=False)
    if standing.hold and standing.doubt:
        return Verdict(Status.IN_DOUBT, counted=False, reason=MAY_HAVE_LEFT)
    if expired:
        return Verdict(Status.EXPIRED, counted=False, reason=EXPIRED)
    if standing.attempt > _limit(standing, policy):
        reason = _gave_up(standing._replace(attempt=standing.attempt - 1), "its poller died or hung in the last one")
        return Verdict(_status(standing.recipients, standing.settled), counted=False, reason=reason)
    return None


def blamed(report: Report, recipients: Collection[str], bounces: int) -> Report:
    """`report`, with its fault held against the message where that has bounced too often: a deferral of everybody."""
    fault = report.fault
    if fault is None or fault.scope is not Scope.PAUSE or not fault.about_message or bounces < STUBBORN:
        return report
    deferred = Outcome(Kind.DEFERRED, note=fault.reason)
    return Report({r: report.outcomes.get(r, deferred) for r in recipients})


def decide(standing: Standing, report: Report, policy: RetryPolicy, random: Random) -> Verdict:
    """The verdict on a row after an attempt whose outcomes are in `report`."""
    kinds = dict(standing.settled) | {r: o.kind for r, o in report.outcomes.items()}
    waiting = [r for r in standing.recipients if kinds.get(r) not in {Kind.ACCEPTED, Kind.REFUSED}]
    doubtful = any(kinds.get(r) is Kind.IN_DOUBT for r in waiting)
    reason = _reason(report)
    if doubtful and standing.hold:
        return Verdict(Status.IN_DOUBT, reason=reason)
    if not waiting:
        return Verdict(_status(standing.recipients, kinds), reason=reason)
    if report.fault and not doubtful:
        # A transport that is well but for this email would be paused by it again and again.
        delay = _step_back(standing.bounces, random) if standing.bounces else 0.0
        return Verdict(Status.PENDING, delay=delay, counted=False, reason=reason)
    if standing.attempt >= _limit(standing, policy):
        # Nobody knows whether a doubtful one arrived, so "failed" would be a guess.
        status = Status.IN_DOUBT if doubtful else _status(standing.recipients, kinds)
        return Verdict(status, reason=_gave_up(standing, reason or "not tried"))
    return Verdict(Status.PENDING, delay=_delay(standing, report, policy, random, doubtful=doubtful), reason=reason)


def _step_back(bounces: int, random: Random) -> float:
    return min(2.0 ** min(bounces, 6), 60.0) * random.uniform(1 - JITTER, 1 + JITTER)


def give_up(standing: Standing, reason: str) -> Verdict:
    """The verdict on a row that no attempt can send (its content is broken)."""
    return Verdict(_status(standing.recipients, standing.settled), reason=reason)


def postpone(standing: Standing, reason: str, policy: RetryPolicy, random: Random) -> Verdict:
    """The verdict on a row that could not be tried for a reason of ours: like a deferral of everybody."""
    if standing.attempt >= _limit(standing, policy):
        return give_up(standing, _gave_up(standing, reason))
    return Verdict(Status.PENDING, delay=backoff(standing.attempt, policy, random), reason=reason)


def hold(reason: str) -> Verdict:
    """The verdict on a row that waits for a person."""
    return Verdict(Status.PENDING, delay=HELD, counted=False, reason=reason, held=True)


def drop(reason: str) -> Verdict:
    """The verdict on a row that is not to be sent at all."""
    return Verdict(Status.FAILED, counted=False, reason=f"dropped: {reason}")


def _limit(standing: Standing, policy: RetryPolicy) -> int:
    return standing.max_attempts or policy.max_attempts


def _gave_up(standing: Standing, reason: str) -> str:
    return f"gave up after {standing.attempt} attempt{'s' if standing.attempt != 1 else ''}: {reason}"


def _status(recipients: Collection[str], kinds: Mapping[str, Kind]) -> Status:
    """The final status that tells who got it."""
    accepted = sum(kinds.get(r) is Kind.ACCEPTED for r in recipients)
    if accepted and accepted == len(recipients):
        return Status.SENT
    return Status.PARTIAL if accepted else Status.FAILED


def _delay(standing: Standing, report: Report, policy: RetryPolicy, random: Random, *, doubtful: bool) -> float:
    asked = [o.reply.wait for o in report.outcomes.values() if o.kind is Kind.DEFERRED and o.reply and o.reply.wait]
    delay = max([backoff(standing.attempt, policy, random), *(min(wait, MAX_WAIT) for wait in asked)])
    return max(delay, policy.doubt_delay) if doubtful else delay


def _reason(report: Report) -> str | None:
    """The worst that happened, named with its recipient: what a person wants to read first."""
    for kind in (Kind.IN_DOUBT, Kind.REFUSED, Kind.DEFERRED):
        said = [(r, o) for r, o in report.outcomes.items() if o.kind is kind]
        if said:
            more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
            return f"{said[0][0]}: {_say(said[0][1])}{more}"
    return report.fault.reason if report.fault else None


def _say(outcome: Outcome) -> str:
    return str(outcome) or outcome.kind.value
