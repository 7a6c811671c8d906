"""`kill -9` at every point of a delivery: the row ends final, copies only of what had left, and the same copies."""

import signal

import pytest

from outbox import Email, enqueue

BEFORE_THE_DOT = ["MAIL", "RCPT", "DATA"]


async def _insert(engine, **columns):
    async with engine.begin() as connection:
        to = ["ada@example.org", "bob@example.org"]
        [id] = await enqueue(connection, Email(to=to, subject="Hi", text="Hello", **columns))
    return id


async def _killed_and_taken_over(database, engine, sink, daemon, point, **columns):
    """The row after its poller was killed at `point` and another one has dealt with it."""
    first = await daemon(database)
    fired = sink.arm(first, point)
    id = await _insert(engine, **columns)
    await fired
    assert await first.wait() == -signal.SIGKILL
    second = await daemon(database)
    if point != "answered":
        await second.said(f"email {id}: ")
    assert await second.end() == 0
    return id, first, second


async def _row(execute, id):
    return (await execute("SELECT status, attempts, due_at, claim_token FROM email_outbox WHERE id = :id", {"id": id}))[
        0
    ]


@pytest.mark.parametrize("point", BEFORE_THE_DOT)
async def test_killed_before_the_dot_it_is_sent_once_by_the_next(
    database, engine, sink, daemon, execute, copies, point
):
    id, _, second = await _killed_and_taken_over(database, engine, sink, daemon, point)
    assert tuple(await _row(execute, id)) == ("sent", 2, None, None)
    assert [copy[:2] for copy in copies()] == [("ada@example.org", second.label), ("bob@example.org", second.label)]


async def test_killed_at_the_dot_the_second_copy_has_the_same_message_id_and_date(
    database, engine, sink, daemon, execute, copies
):
    id, first, second = await _killed_and_taken_over(database, engine, sink, daemon, "dot")
    assert tuple(await _row(execute, id)) == ("sent", 2, None, None)
    assert [copy[:2] for copy in copies()] == [
        (recipient, who.label) for who in (first, second) for recipient in ("ada@example.org", "bob@example.org")
    ]
    assert len({copy[2:] for copy in copies()}) == 1
    assert None not in copies()[0]


async def test_killed_after_the_answer_it_is_sent_again_only_if_that_was_not_on_record(
    database, engine, sink, daemon, execute, copies
):
    first = await daemon(database)
    fired = sink.arm(first, "answered")
    id = await _insert(engine)
    await fired
    await first.wait()
    on_record = (await _row(execute, id)).status == "sent"
    second = await daemon(database)
    if not on_record:
        await second.said(f"email {id}: sent")
    assert await second.end() == 0
    assert (await _row(execute, id)).status == "sent"
    assert len(copies()) == (2 if on_record else 4)
    assert len({copy[2:] for copy in copies()}) == 1


async def test_on_hold_and_killed_before_the_dot_it_is_simply_sent(database, engine, sink, daemon, execute, copies):
    id, _, second = await _killed_and_taken_over(database, engine, sink, daemon, "DATA", on_doubt="hold")
    assert (await _row(execute, id)).status == "sent"
    assert [copy[:2] for copy in copies()] == [("ada@example.org", second.label), ("bob@example.org", second.label)]


async def test_on_hold_and_killed_at_the_dot_it_waits_for_a_person(database, engine, sink, daemon, execute, copies):
    id, first, _ = await _killed_and_taken_over(database, engine, sink, daemon, "dot", on_doubt="hold")
    row = await _row(execute, id)
    assert (row.status, row.due_at, row.claim_token) == ("in_doubt", None, None)
    assert [copy[:2] for copy in copies()] == [("ada@example.org", first.label), ("bob@example.org", first.label)]


async def test_a_killed_pollers_emails_are_taken_over_long_before_their_lease_ends(
    database, engine, sink, daemon, execute
):
    first = await daemon(database, OUTBOX_LEASE="1h")
    second = await daemon(database, OUTBOX_LEASE="1h")
    sink.hold("dot")
    id = await _insert(engine)
    holder = await sink.held()
    victim, heir = (first, second) if holder == first.label else (second, first)
    victim.send(signal.SIGKILL)
    await victim.wait()
    await heir.said("is gone")
    sink.release("dot")
    await heir.said(f"email {id}: sent")
    assert await heir.end() == 0
    assert (await _row(execute, id)).status == "sent"
