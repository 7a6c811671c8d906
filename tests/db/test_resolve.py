"""Resolving an email in doubt by hand, on both databases: what is put on record, and what is refused."""

import asyncio

import pytest

from outbox.core.claim import Result
from outbox.core.errors import NotFoundError, StatusError
from outbox.core.outcome import Kind, Outcome
from outbox.core.reply import Reply
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.engine import create_engine
from outbox.db.resolve import declare_sent, resend
from tests.db.rows import claim, insert, later

DOUBT = Outcome(Kind.IN_DOUBT, note="the answer never came")
NO = Outcome(Kind.REFUSED, Reply(550, "5.1.1 no"))
LATER = Outcome(Kind.DEFERRED, Reply(450, "4.7.1 later"))
OK = Outcome(Kind.ACCEPTED, Reply(250, "2.0.0 ok"))


@pytest.fixture
def in_doubt(store, execute):
    """An email that ended in doubt with these outcomes; its id."""

    async def make(outcomes, **columns):
        id_ = await insert(execute, **{"to_addrs": ", ".join(outcomes) or "a@x.org", "on_doubt": "hold", **columns})
        [row] = await claim(store)
        verdict = Verdict(Status.IN_DOUBT, reason="a@x.org: the answer never came")
        await store.record([Result(id_, row.claim_token, row.attempts, verdict, outcomes, "default")], poller="p")
        return id_

    return make


@pytest.fixture
def record(operations):
    """Everything on record of an email."""

    async def read(id_):
        return [(a.attempt, a.recipient, a.outcome, a.reply) for a in await operations.attempts(id_)]

    return read


async def test_declared_sent_it_is_sent_and_the_record_says_by_whom(engine, in_doubt, operations, record):
    id_ = await in_doubt({"a@x.org": DOUBT, "b@x.org": OK})
    before = await operations.email(id_)
    assert await declare_sent(engine, id_) is Status.SENT
    email = await operations.email(id_)
    assert (email.status, email.due_at, email.claim_token, email.last_error) == ("sent", None, None, None)
    assert email.finished_at >= before.finished_at
    assert (await record(id_))[2:] == [(1, "a@x.org", "accepted", "declared sent by hand")]


@pytest.mark.parametrize(
    ("others", "error"),
    [
        ({"b@x.org": NO}, "b@x.org: 5.1.1 no"),
        ({"b@x.org": LATER, "c@x.org": NO}, "b@x.org: 4.7.1 later (and 1 more)"),
    ],
)
async def test_declared_sent_it_is_partial_where_others_have_not_got_it(engine, in_doubt, operations, others, error):
    id_ = await in_doubt({"a@x.org": DOUBT, **others})
    assert await declare_sent(engine, id_) is Status.PARTIAL
    email = await operations.email(id_)
    assert (email.status, email.last_error) == ("partial", error)


async def test_declared_sent_it_is_partial_where_somebody_was_not_tried_yet(engine, in_doubt, operations, record):
    id_ = await in_doubt({"a@x.org": DOUBT}, cc_addrs="Carol <c@x.org>")
    assert await declare_sent(engine, id_) is Status.PARTIAL
    assert (await operations.email(id_)).last_error == "c@x.org: not tried"
    assert [recipient for _, recipient, _, _ in await record(id_)] == ["a@x.org", "a@x.org"]


async def test_declared_sent_without_any_record_everybody_in_its_lists_has_got_it(engine, in_doubt, record):
    id_ = await in_doubt({}, to_addrs="Ada <a@x.org>, b@x.org", bcc_addrs="c@x.org, a@x.org")
    assert await declare_sent(engine, id_) is Status.SENT
    said = "declared sent by hand"
    assert await record(id_) == [(1, f"{who}@x.org", "accepted", said) for who in "abc"]


async def test_to_be_resent_it_is_due_with_all_its_attempts_and_nobody_in_doubt(
    engine, in_doubt, store, operations, record
):
    id_ = await in_doubt({"a@x.org": DOUBT, "b@x.org": NO, "c@x.org": OK})
    before = await operations.email(id_)
    await resend(engine, id_)
    email = await operations.email(id_)
    assert (email.status, email.attempts, email.finished_at, email.claim_token) == ("pending", 0, None, None)
    assert email.message_id == before.message_id
    assert (await record(id_))[3:] == [(1, "a@x.org", "deferred", "resend requested by hand")]
    [row] = await claim(store)
    assert row.history == {"a@x.org": Kind.DEFERRED, "b@x.org": Kind.REFUSED, "c@x.org": Kind.ACCEPTED}


async def test_to_be_resent_it_does_not_expire_at_once(engine, in_doubt, execute, operations, database):
    id_ = await in_doubt({"a@x.org": DOUBT})
    await execute("UPDATE email_outbox SET expires_at = :past", {"past": later(database, -60)})
    await resend(engine, id_)
    assert (await operations.email(id_)).expires_at is None


async def test_erased_content_cannot_be_resent_but_declared_sent(engine, in_doubt, operations):
    id_ = await in_doubt({"a@x.org": DOUBT}, sensitive=True, body_text="hush")
    with pytest.raises(StatusError, match="its content was erased because it is sensitive"):
        await resend(engine, id_)
    assert (await operations.email(id_)).status == "in_doubt"
    assert await declare_sent(engine, id_) is Status.SENT


@pytest.mark.parametrize("work", [declare_sent, resend])
async def test_only_an_email_in_doubt_can_be_resolved(engine, execute, work, record):
    id_ = await insert(execute)
    with pytest.raises(StatusError, match=f"email {id_} is pending, not in_doubt"):
        await work(engine, id_)
    with pytest.raises(NotFoundError, match="there is no email 4711"):
        await work(engine, 4711)
    assert await record(id_) == []


async def test_of_two_who_resolve_it_one_comes_too_late(engine, in_doubt, record, database):
    id_ = await in_doubt({"a@x.org": DOUBT})
    other = create_engine(database)
    done = await asyncio.gather(resend(engine, id_), declare_sent(other, id_), return_exceptions=True)
    await other.dispose()
    assert sum(isinstance(one, StatusError) for one in done) == 1
    assert len(await record(id_)) == 2
