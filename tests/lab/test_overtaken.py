"""A poller that was overtaken and then claims the same row again still holds the result of its first claim."""

import asyncio

from outbox.core.claim import Result
from outbox.core.outcome import Kind, Outcome
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.recorder import Recorder
from tests.db.rows import claim, insert


async def test_of_two_results_of_one_row_only_the_one_that_owns_it_is_written(store, execute):
    id = await insert(execute)
    [first] = await claim(store, poller="slow")
    await execute("UPDATE email_outbox SET due_at = created_at")
    [other] = await claim(store, poller="quick")
    back = Verdict(Status.PENDING, delay=0.0, counted=False)
    await store.record([Result(id, other.claim_token, other.attempts, back)], poller="quick")
    [second] = await claim(store, poller="slow")

    lost: list[Result] = []
    recorder = Recorder(store, "slow", lambda _, unwritten: lost.extend(unwritten))
    accepted = {"a@x.org": Outcome(Kind.ACCEPTED)}
    results = [Result(id, row.claim_token, row.attempts, Verdict(Status.SENT), accepted) for row in (first, second)]
    recorder.put(*results)
    writing = asyncio.create_task(recorder.run())
    await recorder.written()
    writing.cancel()

    assert lost == results[:1]
    assert [tuple(row) for row in await execute("SELECT attempt, outcome FROM email_attempt")] == [
        (second.attempts, "accepted")
    ]
