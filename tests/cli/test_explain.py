"""Why an email is not sent, in a sentence and a code."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outbox.cli.explain import Circumstances, Why, why_not_sent
from outbox.cli.ways import Ways
from outbox.core.status import Status
from outbox.db.models import Attempt, Email
from outbox.db.operations import PollerFacts, TransportFacts
from outbox.settings import Settings

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
URL = {"url": "smtp://127.0.0.1:25"}
LIMITED = {**URL, "rate": "14/s, 500/hour"}


def email(status: Status, *, due: float | None = None, **columns: Any) -> Email:
    row = Email(to="ada@example.org", text="x", priority=1, sensitive=columns.pop("sensitive", False))
    row.id, row.status, row.attempts = 7, status, columns.pop("attempts", 0)
    row.due_at = None if due is None else NOW + timedelta(seconds=due)
    for name, value in columns.items():
        setattr(row, name, value)
    return row


def poller(name: str = "poller-1", ago: float = 3.0) -> PollerFacts:
    return PollerFacts(name, "web1", 1, "1.0", NOW, NOW - timedelta(seconds=ago), alive=ago <= 30)


def paused(name: str = "default", reason: str | None = "connection refused", **how: Any) -> TransportFacts:
    return TransportFacts(name, NOW + timedelta(seconds=60), reason, how.pop("paused", True), **how)


def around(
    *transports: TransportFacts,
    pollers: Sequence[PollerFacts] = (poller(),),
    limits: dict[str, datetime] | None = None,
    **settings: Any,
) -> Circumstances:
    known = Settings(**{"transports": {"default": URL, "bulk": URL}, **settings})
    return Circumstances(NOW, pollers, Ways(known, {one.name: one for one in transports}, limits or {}))


def why(row: Email, here: Circumstances, attempts: Sequence[Attempt] = ()) -> Why:
    found = why_not_sent(row, attempts, here)
    assert found
    return found


def test_a_sent_email_needs_no_explanation():
    assert why_not_sent(email(Status.SENT), (), around()) is None


def test_a_later_due_at_is_a_schedule():
    assert why(email(Status.PENDING, due=300), around()) == (
        "scheduled",
        "scheduled for 2030-01-31 12:05:00 UTC (in 5m)",
    )


def test_a_later_due_at_after_a_failure_is_a_retry_and_says_after_what():
    row = email(Status.PENDING, due=60, attempts=1, last_error="ada@example.org: 450 4.7.1 greylisted")
    assert why(row, around()) == (
        "deferred",
        "will be tried again at 2030-01-31 12:01:00 UTC (in 1m) after: ada@example.org: 450 4.7.1 greylisted",
    )


def test_due_mail_without_a_poller_says_what_to_start():
    assert why(email(Status.PENDING, due=-90), around(pollers=())) == (
        "no_poller",
        "due for 1m 30s: no poller is alive; start `outbox run`",
    )


def test_a_poller_that_is_gone_is_named_with_its_last_sign_of_life():
    assert why(email(Status.PENDING, due=-90), around(pollers=[poller(ago=95), poller("old", ago=9000)])).text == (
        "due for 1m 30s: no poller is alive (poller-1 on web1 was last seen 1m 35s ago); start `outbox run`"
    )


def test_a_poller_that_missed_its_last_signs_of_life_is_named():
    assert why(email(Status.PENDING, due=-90), around(pollers=[poller(ago=25)])) == (
        "poller_silent",
        "due for 1m 30s: poller-1 on web1 was last seen 25s ago; if it hangs, restart it",
    )
    assert why(email(Status.PENDING, due=-90), around(pollers=[poller(ago=25), poller("p", ago=1)])).code == "next"


@pytest.mark.parametrize("columns", [{}, {"transport": "default"}, {"route": "default"}, {"route": "@example.org"}])
def test_due_mail_of_a_paused_transport_says_until_when_and_why(columns):
    assert why(email(Status.PENDING, due=-5, **columns), around(paused())) == (
        "paused",
        "due for 5s: transport default is paused until 2030-01-31 12:01:00 UTC: connection refused",
    )


def test_a_fault_of_the_configuration_says_what_to_do():
    code, text = why(email(Status.PENDING, due=-5), around(paused(reason="configuration: 535 no")))
    assert code == "paused_configuration"
    assert text.endswith("configuration: 535 no; mend it (`outbox check`), then `outbox resume default`")


def test_a_pause_by_hand_says_who_ends_it():
    code, text = why(email(Status.PENDING, due=-5), around(paused(reason="paused by hand since noon", by_hand=True)))
    assert (code, text) == (
        "paused_by_hand",
        "due for 5s: transport default is paused by hand since noon; `outbox resume default` ends it",
    )


@pytest.mark.parametrize(("by_hand", "code"), [(True, "paused_by_hand"), (False, "paused")])
def test_a_pause_without_a_reason_is_a_pause(by_hand, code):
    found = why(email(Status.PENDING, due=-5), around(paused(reason=None, by_hand=by_hand)))
    told = " by hand, no reason given; `outbox resume" if by_hand else "UTC: no reason given"
    assert (found.code, told in found.text) == (code, True)


def test_a_transport_on_probation_says_what_it_is_tried_after():
    code, text = why(email(Status.PENDING, due=-5), around(paused(paused=False)))
    assert code == "probation"
    assert text.endswith("is on probation, one email at a time tries it: connection refused")


def test_the_pause_of_another_transport_is_no_reason():
    assert why(email(Status.PENDING, due=-5, transport="bulk"), around(paused())) == (
        "next",
        "due for 5s: a poller will take it next",
    )


def test_a_route_says_which_transport_a_row_waits_for():
    here = around(paused("bulk"), routes=[{"transport": "bulk", "tag": "news"}])
    assert why(email(Status.PENDING, due=-5, tag="news"), here).code == "paused"
    assert why(email(Status.PENDING, due=-5), here).code == "next"


def test_where_another_transport_stands_in_the_pause_is_no_reason():
    transports = {"default": {**URL, "failover": ["bulk"]}, "bulk": URL}
    row = email(Status.PENDING, due=-5)
    assert why(row, around(paused(), transports=transports)).code == "next"
    assert why(row, around(paused(), paused("bulk"), transports=transports)).code == "paused"
    assert why(row, around(paused(by_hand=True), transports=transports)).code == "paused_by_hand"
    doubt = Attempt(outbox_id=7, attempt=1, recipient="ada@example.org", outcome="in_doubt")
    assert why(row, around(paused(), transports=transports), [doubt]).code == "paused"


def test_what_may_have_gone_out_over_a_stand_in_waits_for_that_one_whichever_transport_it_names():
    doubt = Attempt(outbox_id=7, attempt=1, recipient="ada@example.org", outcome="in_doubt")
    row = email(Status.PENDING, due=-5, transport="default", route="bulk")
    assert why(row, around(paused()), [doubt]).code == "next"
    assert why(row, around(paused("bulk")), [doubt]).text == (
        "due for 5s: transport bulk is paused until 2030-01-31 12:01:00 UTC: connection refused"
    )


def test_what_was_in_doubt_before_a_server_deferred_it_can_go_over_a_stand_in():
    transports = {"default": {**URL, "failover": ["bulk"]}, "bulk": URL}
    kinds = ("in_doubt", "deferred")
    record = [Attempt(outbox_id=7, attempt=1, recipient="ada@example.org", outcome=kind) for kind in kinds]
    row = email(Status.PENDING, due=-5)
    assert why(row, around(paused(), transports=transports), record).code == "next"
    assert why(row, around(paused(), transports=transports), record[:1]).code == "paused"


def test_a_stand_in_that_is_paused_by_hand_is_passed_over():
    transports = {"default": {**URL, "failover": ["bulk", "third"]}, "bulk": URL, "third": URL}
    by_hand = paused("bulk", "paused by hand since noon", by_hand=True)
    row = email(Status.PENDING, due=-5)
    assert why(row, around(paused(), by_hand, transports=transports)).code == "next"
    _, text = why(row, around(paused(), by_hand, paused("third"), transports=transports))
    assert text == "due for 5s: transport default is paused until 2030-01-31 12:01:00 UTC: connection refused"


@pytest.mark.parametrize("reason", ["paused by hand since noon", "configuration: 535 no"])
def test_a_limit_is_no_reason_where_a_person_must_act_first(reason):
    by_hand = not reason.startswith("configuration")
    here = around(paused(reason=reason, by_hand=by_hand), limits={"default": NOW + timedelta(days=1)})
    assert why(email(Status.PENDING, due=-5), here).code == ("paused_by_hand" if by_hand else "paused_configuration")


@pytest.mark.parametrize(("seconds", "code"), [(30, "paused"), (90, "rate_limit")])
def test_of_a_limit_and_a_pause_the_one_that_ends_last_is_what_it_waits_for(seconds, code):
    here = around(paused(), limits={"default": NOW + timedelta(seconds=seconds)})
    assert why(email(Status.PENDING, due=-5), here).code == code


@pytest.mark.parametrize(("domain", "own", "code"), [(60, 30, "domain_limit"), (30, 60, "rate_limit")])
def test_of_two_limits_the_one_that_opens_last_is_what_it_waits_for(domain, own, code):
    limits = {"@example.org": NOW + timedelta(seconds=domain), "default": NOW + timedelta(seconds=own)}
    found = why(email(Status.PENDING, due=-5, route="@example.org"), around(limits=limits))
    assert (found.code, found.text.endswith("(in 1m)")) == (code, True)


def test_what_a_person_must_see_to_is_told_beside_whatever_else_it_waits_for():
    by_hand = paused(reason="paused by hand since noon", by_hand=True)
    besides = "; and transport default is paused by hand since noon; `outbox resume default` ends it"
    for row, here, code in (
        (email(Status.PENDING, due=60), around(by_hand), "scheduled"),
        (email(Status.PENDING, due=60, last_error="450 later"), around(by_hand), "deferred"),
        (email(Status.PENDING, due=-5), around(by_hand, pollers=()), "no_poller"),
        (email(Status.PENDING, due=-5), around(by_hand, pollers=[poller(ago=25)]), "poller_silent"),
    ):
        found = why(row, here)
        assert (found.code, found.text.endswith(besides)) == (code, True)


def test_a_held_email_whose_time_is_over_will_not_be_sent():
    row = email(Status.PENDING, due=9e9, held=True, expires_at=NOW - timedelta(seconds=1))
    assert why(row, around()).code == "expired"


def test_a_transport_that_is_not_configured_is_named_with_those_that_are():
    assert why(email(Status.PENDING, due=-5, transport="gone"), around()) == (
        "not_configured",
        "due for 5s: transport 'gone' is not configured here (there is: bulk, default)",
    )


def test_without_any_transport_in_this_shell_what_is_on_record_counts():
    here = around(paused("gone"), transports={})
    assert why(email(Status.PENDING, due=-5, transport="gone"), here).code == "paused"
    assert why(email(Status.PENDING, due=-5), here).code == "next"


@pytest.mark.parametrize(
    ("columns", "limit", "code", "rate", "whose"),
    [
        ({}, "default", "rate_limit", "14/s, 500/hour", "over default"),
        ({"route": "bulk"}, "bulk", "rate_limit", "14/s, 500/hour", "over bulk"),
        ({"route": "@example.org"}, "@example.org", "domain_limit", "30/min", "to recipients @example.org"),
    ],
)
def test_a_limit_says_whose_it_is_and_when_the_next_email_may_go(columns, limit, code, rate, whose):
    rates: dict[str, Any] = {
        "domain_rates": {"example.org": "30/min"},
        "transports": {"default": LIMITED, "bulk": LIMITED},
    }
    here = around(limits={limit: NOW + timedelta(seconds=120)}, **rates)
    assert why(email(Status.PENDING, due=-5, **columns), here) == (
        code,
        f"due for 5s: it waits for the limit of {rate} {whose}; the next one may go at 2030-01-31 12:02:00 UTC (in 2m)",
    )


def test_a_held_email_says_why_and_who_lets_it_go():
    row = email(Status.PENDING, due=9e9, held=True, last_error="flood guard: 6 emails to ada@example.org in 1h")
    code, text = why(row, around(pollers=()))
    assert code == "held"
    assert text.startswith("held: flood guard: 6 emails to ada@example.org in 1h; ")
    assert text.endswith("`outbox release 7` lets it go, `outbox cancel 7` drops it")


def test_a_pending_email_whose_time_is_over_will_not_be_sent():
    row = email(Status.PENDING, due=-5, expires_at=NOW - timedelta(seconds=1))
    assert why(row, around(paused())) == (
        "expired",
        "expired at 2030-01-31 11:59:59 UTC; a poller will finish it, and not send it",
    )


def test_a_claimed_email_names_its_poller():
    row = email(Status.SENDING, due=30, claimed_by="poller-1", attempts=2)
    assert why(row, around()) == (
        "sending",
        "being sent by poller-1 (attempt 2); its lease ends at 2030-01-31 12:00:30 UTC",
    )


def test_a_claimed_email_of_a_dead_poller_says_what_happens_then():
    dead = email(Status.SENDING, due=30, claimed_by="poller-0")
    assert "another will take it over" in why(dead, around()).text
    assert "no poller is alive" in why(dead, around(pollers=())).text
    assert why(dead, around()).code == "poller_gone"


def test_a_failure_says_why_and_how_to_try_again():
    assert why(email(Status.FAILED, last_error="550 5.1.1 no such user"), around()) == (
        "failed",
        "550 5.1.1 no such user; `outbox retry 7` tries again",
    )


def test_a_sensitive_failure_cannot_be_tried_again_because_its_content_is_gone():
    row = email(Status.FAILED, last_error="550 5.1.1 no such user", sensitive=True, erased=True)
    assert why(row, around()).text == "550 5.1.1 no such user"


def test_an_email_in_doubt_says_both_ways_on():
    code, text = why(email(Status.IN_DOUBT, last_error="the connection broke"), around())
    assert code == "in_doubt"
    assert "the connection broke" in text
    assert "`outbox resolve 7 --sent` closes it, `outbox resolve 7 --resend` sends it once more" in text


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_an_answer(status):
    due = 5 if status in {Status.PENDING, Status.SENDING} else None
    assert (why_not_sent(email(status, due=due), (), around()) is None) == (status is Status.SENT)
