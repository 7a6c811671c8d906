"""What commands see and do, on both databases."""

import pytest

from outbox.core.claim import Result
from outbox.core.errors import NotFoundError
from outbox.core.outcome import Kind, Outcome
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.store import Store
from tests.db.rows import claim, insert, insert_many, later


async def finish(store: Store, status: Status, outcomes: dict[str, Outcome] | None = None) -> None:
    """Claim everything due and end it so."""
    rows = await claim(store, limit=100)
    verdict = Verdict(status, reason="because")
    await store.record([Result(r.id, r.claim_token, r.attempts, verdict, outcomes or {}) for r in rows], poller="p")


async def test_counts_name_every_status(operations, execute):
    await insert_many(execute, 3)
    counts = await operations.counts()
    assert counts.pop("pending") == 3
    assert counts == dict.fromkeys([s.value for s in Status if s is not Status.PENDING], 0)


async def test_the_oldest_due_is_the_most_overdue_pending_email(operations, execute, database):
    assert await operations.oldest_due_seconds() is None
    await insert(execute, due_at=later(database, 60))
    assert await operations.oldest_due_seconds() is None
    await insert(execute, due_at=later(database, -500), status="sending")
    await insert(execute, due_at=later(database, -100))
    assert 100 <= await operations.oldest_due_seconds() < 200


async def test_emails_are_listed_newest_first_and_filtered(operations, execute):
    one = await insert(execute, to_addrs="Ada <ada@Example.org>", tag="welcome")
    two = await insert(execute, to_addrs="", bcc_addrs="ADA@example.org", body_text="big")
    three = await insert(execute, to_addrs="a_b@example.org")
    assert [email.id for email in await operations.emails()] == [three, two, one]
    assert [email.id for email in await operations.emails(to="ada@example")] == [two, one]
    assert [email.id for email in await operations.emails(to="a_b")] == [three]
    assert [email.id for email in await operations.emails(tag="welcome")] == [one]
    assert [email.id for email in await operations.emails(status="sent")] == []
    assert [email.id for email in await operations.emails(limit=1)] == [three]


async def test_one_email_comes_whole_and_an_unknown_one_is_named(operations, execute):
    id_ = await insert(execute, body_text="Hello", context='{"n": 1}')
    email = await operations.email(id_)
    assert (email.body_text, email.context, email.status) == ("Hello", {"n": 1}, "pending")
    with pytest.raises(NotFoundError, match="there is no email 4711"):
        await operations.email(4711)


async def test_attachments_are_told_without_their_bytes(operations, execute):
    id_ = await insert(execute)
    await execute(
        "INSERT INTO email_attachment (outbox_id, filename, content_type, content)"
        " VALUES (:id, 'ä.pdf', 'a/b', :content)",
        {"id": id_, "content": b"\x00" * 1000},
    )
    [facts] = await operations.attachment_facts(id_)
    assert (facts.filename, facts.content_type, facts.cid, facts.size) == ("ä.pdf", "a/b", None, 1000)


async def test_a_retry_by_hand_starts_anew_and_tries_the_refused_but_never_the_accepted(operations, store, execute):
    id_ = await insert(execute)
    await finish(store, Status.PARTIAL, {"a@x.org": Outcome(Kind.ACCEPTED), "b@x.org": Outcome(Kind.REFUSED)})
    before = await operations.email(id_)
    changed = await operations.retry([id_])
    assert (changed.done, changed.unchanged) == ([id_], {})
    email = await operations.email(id_)
    assert (email.status, email.attempts, email.finished_at) == ("pending", 0, None)
    assert (email.message_id, email.last_error) == (before.message_id, "because")
    last = (await operations.attempts(id_))[-1]
    assert (last.recipient, last.outcome, last.reply) == ("b@x.org", "deferred", "retry requested by hand")
    [row] = await claim(store)
    assert row.history == {"a@x.org": Kind.ACCEPTED, "b@x.org": Kind.DEFERRED}


async def test_what_cannot_be_retried_is_told_why(operations, store, execute):
    sent = await insert(execute)
    await finish(store, Status.SENT)
    erased = await insert(execute, sensitive=True)
    await finish(store, Status.FAILED)
    doubt = await insert(execute)
    await finish(store, Status.IN_DOUBT)
    sending = await insert(execute)
    await claim(store)
    pending = await insert(execute)
    changed = await operations.retry([sent, erased, doubt, sending, pending, 4711])
    assert changed.done == []
    assert changed.unchanged == {
        sent: "is already sent",
        erased: "is already failed, and its content was erased because it is sensitive",
        doubt: "is in doubt: it may have been sent already; see `outbox resolve`",
        sending: "is being sent right now",
        pending: "is already pending",
        4711: "no such email",
    }


async def test_all_of_a_status_are_retried_in_batches(operations, store, execute, monkeypatch):
    monkeypatch.setattr("outbox.db.operations.BATCH", 3)
    await insert_many(execute, 7)
    await finish(store, Status.FAILED)
    await insert(execute)
    await execute("UPDATE email_outbox SET erased = true WHERE id = 1")
    assert await operations.retryable("failed") == (6, 1)
    assert [done async for done in operations.retry_status("failed")] == [3, 3]
    assert (await operations.counts())["pending"] == 7
    with pytest.raises(ValueError, match="'sent' cannot be retried; one of cancelled, expired, failed, partial can"):
        await anext(operations.retry_status("sent"))


async def test_only_what_nobody_began_to_send_is_cancelled(operations, store, execute):
    sending = await insert(execute)
    [row] = await claim(store)
    pending = await insert(execute, sensitive=True, body_text="token")
    changed = await operations.cancel([sending, pending, 4711])
    assert changed.done == [pending]
    assert changed.unchanged == {sending: "is being sent right now", 4711: "no such email"}
    email = await operations.email(pending)
    assert (email.status, email.due_at, email.body_text) == ("cancelled", None, None)
    assert email.finished_at is not None
    assert await store.record([Result(sending, row.claim_token, 1, Verdict(Status.SENT))], poller="p") == {sending}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # PostgreSQL refuses it at INSERT
async def test_context_that_is_not_json_can_still_be_looked_at(operations, execute):
    id_ = await insert(execute, context="{nonsense")
    assert (await operations.email(id_)).context == "{nonsense"
