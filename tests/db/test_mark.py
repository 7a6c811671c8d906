"""Marks: outcomes on record before the final dot leaves, replaced by the result, and left where there never is one."""

from outbox.core.claim import Result
from outbox.core.outcome import Kind, Outcome
from outbox.core.reply import Reply
from outbox.core.retry import Verdict
from outbox.core.status import Status
from tests.db.rows import claim, insert

DOUBT = {"a@x.org": Outcome(Kind.IN_DOUBT), "b@x.org": Outcome(Kind.REFUSED, Reply(550, "5.1.1 no"))}
HISTORY = "SELECT attempt, recipient, outcome FROM email_attempt ORDER BY id"


def marked(row):
    return Result(row.id, row.claim_token, row.attempts, Verdict(Status.IN_DOUBT), DOUBT, "default")


async def test_the_result_replaces_the_mark(store, execute):
    await insert(execute, on_doubt="hold")
    [row] = await claim(store)
    marks = await store.mark(marked(row), poller="p")
    assert [tuple(r) for r in await execute(HISTORY)] == [(1, "a@x.org", "in_doubt"), (1, "b@x.org", "refused")]
    outcomes = DOUBT | {"a@x.org": Outcome(Kind.ACCEPTED, Reply(250, "2.0.0 ok"))}
    result = marked(row)._replace(verdict=Verdict(Status.PARTIAL), outcomes=outcomes, marks=marks)
    assert await store.record([result], poller="p") == {row.id}
    assert [tuple(r) for r in await execute(HISTORY)] == [(1, "a@x.org", "accepted"), (1, "b@x.org", "refused")]


async def test_a_mark_outlives_its_poller_and_is_read_by_the_next(store, execute):
    await insert(execute, on_doubt="hold")
    [row] = await claim(store, lease=-1)
    await store.mark(marked(row), poller="p")
    [row] = await claim(store, poller="next")
    assert row.history == {"a@x.org": Kind.IN_DOUBT, "b@x.org": Kind.REFUSED}


async def test_nothing_is_marked_by_a_poller_that_was_overtaken(store, execute):
    await insert(execute, on_doubt="hold")
    [row] = await claim(store, lease=-1)
    await claim(store, poller="next")
    assert await store.mark(marked(row), poller="p") == ()
    assert await execute(HISTORY) == []


async def test_a_lost_attempt_is_put_on_record_with_its_own_number(store, execute):
    await insert(execute)
    await claim(store, lease=-1)
    [row] = await claim(store, poller="next")
    sent = {"a@x.org": Outcome(Kind.ACCEPTED)}
    lost = {"a@x.org": Outcome(Kind.IN_DOUBT, note="its poller died")}
    result = Result(row.id, row.claim_token, row.attempts, Verdict(Status.SENT), sent, "default", lost)
    await store.record([result], poller="p")
    assert [tuple(r) for r in await execute(HISTORY)] == [(1, "a@x.org", "in_doubt"), (2, "a@x.org", "accepted")]
