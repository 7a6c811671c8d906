"""Writing results, renewing leases, expiry and what pollers report, on both databases."""

from typing import Any

import pytest

from outbox.core.claim import AttachedFile, Claimed, Result
from outbox.core.outcome import Kind, Outcome
from outbox.core.reply import Reply
from outbox.core.retry import Verdict
from outbox.core.status import Status
from tests.db.rows import Execute, claim, insert, insert_many, later

SENT = Verdict(Status.SENT)


async def stored(execute: Execute, id_: int) -> Any:
    [row] = await execute("SELECT * FROM email_outbox WHERE id = :id", {"id": id_})
    return row


def result(row: Claimed, verdict: Verdict, outcomes: dict[str, Outcome] | None = None) -> Result:
    return Result(row.id, row.claim_token, row.attempts, verdict, outcomes or {}, "default")


async def test_a_final_result_leaves_the_queue_and_is_told_per_recipient(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    outcomes = {
        "a@x.org": Outcome(Kind.ACCEPTED, Reply(250, "2.0.0 queued")),
        "b@x.org": Outcome(Kind.REFUSED, Reply(550, "5.1.1 no such user"), "not retried"),
        "c@x.org": Outcome(Kind.DEFERRED, note="never tried"),
    }
    partial = Verdict(Status.PARTIAL, reason="b@x.org: 550 5.1.1 no such user")
    assert await store.record([result(row, partial, outcomes)], poller="p1") == {id_}
    email = await stored(execute, id_)
    assert (email.status, email.due_at, email.claim_token, email.claimed_by) == ("partial", None, None, None)
    assert email.finished_at is not None
    assert email.last_error == "b@x.org: 550 5.1.1 no such user"
    told = await execute(
        "SELECT attempt, recipient, outcome, code, enhanced, reply, transport, poller FROM email_attempt ORDER BY id"
    )
    assert [tuple(one) for one in told] == [
        (1, "a@x.org", "accepted", 250, "2.0.0", "2.0.0 queued", "default", "p1"),
        (1, "b@x.org", "refused", 550, "5.1.1", "5.1.1 no such user — not retried", "default", "p1"),
        (1, "c@x.org", "deferred", None, None, "never tried", "default", "p1"),
    ]
    assert await store.next_due() is None


async def test_a_retry_is_pending_after_its_delay_and_counted(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    await store.record([result(row, Verdict(Status.PENDING, delay=300.0, reason="421 later"))], poller="p")
    email = await stored(execute, id_)
    assert (email.status, email.attempts, email.finished_at, email.last_error) == ("pending", 1, None, "421 later")
    assert 290 < await store.next_due() <= 300


async def test_an_attempt_that_did_not_happen_is_given_back(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    await store.record([result(row, Verdict(Status.PENDING, delay=0.0, counted=False))], poller="p")
    email = await stored(execute, id_)
    assert (email.status, email.attempts, email.last_error) == ("pending", 0, None)
    assert [again.attempts for again in await claim(store)] == [1]


async def test_mixed_results_are_written_together_and_lost_leases_are_told_by_their_absence(store, execute):
    ids = [await insert(execute) for _ in range(3)]
    rows = {row.id: row for row in await claim(store)}
    await execute("UPDATE email_outbox SET claim_token = 'somebody else' WHERE id = :id", {"id": ids[1]})
    accepted = {"a@x.org": Outcome(Kind.ACCEPTED)}
    results = [
        result(rows[ids[0]], SENT, accepted),
        result(rows[ids[1]], SENT, accepted),
        result(rows[ids[2]], Verdict(Status.PENDING, delay=5.0)),
    ]
    assert await store.record(results, poller="p") == {ids[0], ids[2]}
    assert [(await stored(execute, id_)).status for id_ in ids] == ["sent", "sending", "pending"]
    told = await execute("SELECT outbox_id FROM email_attempt")
    assert [one.outbox_id for one in told] == [ids[0]]


async def test_an_overtaken_poller_writes_nothing(store, execute):
    id_ = await insert(execute)
    [first] = await claim(store, lease=-1)
    [second] = await claim(store, poller="another")
    assert await store.record([result(first, SENT, {"a@x.org": Outcome(Kind.ACCEPTED)})], poller="p") == set()
    assert await store.renew([(id_, first.claim_token)], 60) == set()
    assert await execute("SELECT 1 FROM email_attempt") == []
    assert await store.record([result(second, SENT)], poller="p") == {id_}
    assert await store.record([result(second, Verdict(Status.FAILED))], poller="p") == set()


async def test_a_status_change_that_is_not_legal_is_refused_before_anything_is_written(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    with pytest.raises(ValueError, match="cannot go from sending to cancelled"):
        await store.record([result(row, Verdict(Status.CANCELLED))], poller="p")
    assert (await stored(execute, id_)).status == "sending"


async def test_replies_that_no_database_takes_are_cleaned(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    hostile = {"a@x.org": Outcome(Kind.REFUSED, Reply(550, "no\x00\ud800!"))}
    await store.record([result(row, Verdict(Status.FAILED, reason="nul \x00\nline"), hostile)], poller="p")
    assert (await stored(execute, id_)).last_error == "nul  line"
    assert [one.reply for one in await execute("SELECT reply FROM email_attempt")] == ["no !"]


async def test_the_content_of_a_sensitive_email_is_erased_when_it_is_final_and_not_before(store, execute, engine):
    id_ = await insert(execute, body_text="token", body_html="token", context='{"t": "token"}', sensitive=True)
    other = await insert(execute, body_text="kept")
    file = {"content": b"secret"}
    await execute(f"INSERT INTO email_attachment (outbox_id, filename, content) VALUES ({id_}, 'a', :content)", file)
    rows = {row.id: row for row in await claim(store)}
    await store.record([result(rows[id_], Verdict(Status.PENDING, delay=0.0))], poller="p")
    assert (await stored(execute, id_)).body_text == "token"
    rows |= {row.id: row for row in await claim(store)}
    await store.record([result(rows[id_], SENT), result(rows[other], SENT)], poller="p")
    email = await stored(execute, id_)
    assert (email.body_text, email.body_html, email.context, email.subject) == (None, None, None, "Hi")
    assert await store.attachments(id_) == []
    assert (await stored(execute, other)).body_text == "kept"


async def test_renewal_extends_only_the_leases_still_owned(store, execute):
    mine, lost = await insert(execute), await insert(execute)
    rows = {row.id: row for row in await claim(store, lease=5)}
    held = [(mine, rows[mine].claim_token), (lost, "stale"), (lost + 1000, "nothing")]
    assert await store.renew(held, 600) == {mine}
    await store.record([result(rows[lost], SENT)], poller="p")
    assert 590 < await store.next_due() <= 600


async def test_attachments_come_in_their_order_wherever_their_bytes_are(store, execute):
    id_ = await insert(execute)
    await execute("INSERT INTO email_blob (id, sha256, content) VALUES (7, 'hash', :content)", {"content": b"shared"})
    await execute(
        "INSERT INTO email_attachment (outbox_id, position, filename, content, blob_id, content_type, cid) VALUES"
        f" ({id_}, 2, 'own.bin', :content, NULL, NULL, NULL), ({id_}, 1, 'logo.png', NULL, 7, 'image/png', 'logo')",
        {"content": b"own\x00"},
    )
    assert await store.attachments(id_) == [
        AttachedFile("logo.png", b"shared", "image/png", "logo"),
        AttachedFile("own.bin", b"own\x00"),
    ]
    assert await store.attachments(id_ + 1) == []


async def test_expired_rows_are_finished_and_the_others_left(store, execute, database):
    over = await insert(execute, expires_at=later(database, -1), sensitive=True, body_text="token")
    held = await insert(execute, expires_at=later(database, -1), due_at=later(database, 50), status="sending")
    good = await insert(execute, expires_at=later(database, 60))
    assert await store.expire() == 1
    email = await stored(execute, over)
    assert (email.status, email.due_at, email.last_error) == ("expired", None, "expired before it was sent")
    assert email.finished_at is not None
    assert email.body_text is None
    assert [(await stored(execute, id_)).status for id_ in (held, good)] == ["sending", "pending"]
    assert await store.expire() == 0


async def test_expiry_works_in_bounded_steps(store, execute, database):
    await insert_many(execute, 5)
    await execute("UPDATE email_outbox SET expires_at = :past", {"past": later(database, -1)})
    assert [await store.expire(limit=3) for _ in range(3)] == [3, 2, 0]


async def test_next_due_is_the_earliest_of_all_lanes(store, execute, database):
    assert await store.next_due() is None
    await insert(execute, priority=0, due_at=later(database, 900))
    await insert(execute, priority=2, due_at=later(database, 300))
    assert 290 < await store.next_due() <= 300
    await insert(execute, due_at=later(database, -60))
    assert -70 < await store.next_due() <= -60


async def test_next_due_can_be_asked_for_the_near_future_alone(store, execute, database):
    await insert(execute, due_at=later(database, -60))
    await insert(execute, priority=2, due_at=later(database, 300))
    assert await store.next_due(within=200) is None
    assert 290 < await store.next_due(within=400) <= 300


async def test_a_row_given_back_keeps_the_last_error_of_its_last_attempt(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    reason = "ada@example.org: 450 4.2.0 busy"
    await store.record([result(row, Verdict(Status.PENDING, delay=0.0, reason=reason))], poller="p")
    [row] = await claim(store)
    await store.record([result(row, Verdict(Status.PENDING, delay=0.0, counted=False))], poller="p")
    assert (await stored(execute, id_)).last_error == reason
    [row] = await claim(store)
    await store.record([result(row, Verdict(Status.SENT))], poller="p")
    assert (await stored(execute, id_)).last_error is None
