"""Why an email is not sent, in a sentence."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.cli.explain import Circumstances, why_not_sent
from outbox.core.status import Status
from outbox.db.models import Email

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


def email(status: Status, *, due: float | None = None, **columns: Any) -> Email:
    row = Email(to="ada@example.org", text="x", sensitive=columns.pop("sensitive", False))
    row.id, row.status, row.attempts = 7, status, columns.pop("attempts", 0)
    row.due_at = None if due is None else NOW + timedelta(seconds=due)
    for name, value in columns.items():
        setattr(row, name, value)
    return row


def around(*, alive: Iterable[str] = ("poller-1",), paused: dict[str, str] | None = None) -> Circumstances:
    return Circumstances(now=NOW, alive_pollers=set(alive), paused=paused or {}, default_transport="default")


def test_a_sent_email_needs_no_explanation():
    assert why_not_sent(email(Status.SENT), around()) is None


def test_a_later_due_at_is_a_schedule():
    why = why_not_sent(email(Status.PENDING, due=300), around())
    assert why == "scheduled for 2030-01-31 12:05:00 UTC (in 5m)"


def test_a_later_due_at_after_a_failure_is_a_retry_and_says_after_what():
    why = why_not_sent(email(Status.PENDING, due=60, attempts=1, last_error="450 4.7.1 greylisted"), around())
    assert why == "will be tried again at 2030-01-31 12:01:00 UTC (in 1m) after: 450 4.7.1 greylisted"


def test_due_mail_without_a_poller_says_what_to_start():
    assert why_not_sent(email(Status.PENDING, due=-90), around(alive=())) == (
        "due for 1m 30s: no poller is alive; start `outbox run`"
    )


@pytest.mark.parametrize("own", [None, "default"])
def test_due_mail_of_a_paused_transport_says_until_when_and_why(own):
    paused = {"default": " until noon: connection refused"}
    why = why_not_sent(email(Status.PENDING, due=-5, transport=own), around(paused=paused))
    assert why == "due for 5s: transport default is paused until noon: connection refused"


def test_the_pause_of_another_transport_is_no_reason():
    why = why_not_sent(email(Status.PENDING, due=-5, transport="bulk"), around(paused={"default": ": x"}))
    assert why == "due for 5s: a poller will take it next"


def test_a_claimed_email_names_its_poller():
    why = why_not_sent(email(Status.SENDING, due=30, claimed_by="poller-1", attempts=2), around())
    assert why == "being sent by poller-1 (attempt 2); its lease ends at 2030-01-31 12:00:30 UTC"


def test_a_claimed_email_of_a_dead_poller_says_what_happens_then():
    dead = email(Status.SENDING, due=30, claimed_by="poller-0")
    assert "another will take it over" in str(why_not_sent(dead, around()))
    assert "no poller is alive" in str(why_not_sent(dead, around(alive=())))


def test_a_failure_says_why_and_how_to_try_again():
    why = why_not_sent(email(Status.FAILED, last_error="550 5.1.1 no such user"), around())
    assert why == "550 5.1.1 no such user; `outbox retry 7` tries again"


def test_a_sensitive_failure_cannot_be_tried_again_because_its_content_is_gone():
    why = why_not_sent(email(Status.FAILED, last_error="550 5.1.1 no such user", sensitive=True, erased=True), around())
    assert why == "550 5.1.1 no such user"


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_an_answer(status):
    due = 5 if status in {Status.PENDING, Status.SENDING} else None
    assert (why_not_sent(email(status, due=due), around()) is None) == (status is Status.SENT)
