"""Pollers that stand still, and databases that go away, in the worst moment."""

import signal

from outbox import Email, enqueue


async def _insert(engine, **columns):
    async with engine.begin() as connection:
        [id] = await enqueue(connection, Email(to="ada@example.org", subject="Hi", text="Hello", **columns))
    return id


async def test_a_poller_stopped_past_its_lease_writes_nothing_when_it_wakes(
    database, engine, sink, daemon, execute, copies
):
    stopped = await daemon(database, OUTBOX_LEASE="1s")
    fired = sink.arm(stopped, "dot", signal.SIGSTOP)
    id = await _insert(engine)
    await fired
    other = await daemon(database)
    await other.said(f"email {id}: sent")
    assert await other.end() == 0
    row = "SELECT status, attempts, message_id, finished_at FROM email_outbox"
    history = "SELECT outcome, poller FROM email_attempt WHERE outcome = 'accepted'"
    before = await execute(row), await execute(history)
    stopped.send(signal.SIGCONT)
    await stopped.said("lease_lost")
    assert await stopped.end() == 0
    assert (await execute(row), await execute(history)) == before
    assert [tuple(accepted) for accepted in before[1]] == [("accepted", other.name)]
    assert len({copy[2:] for copy in copies()}) == 1


async def test_a_poller_stopped_past_its_lease_before_the_dot_does_not_send(
    database, engine, sink, daemon, execute, copies
):
    stopped = await daemon(database, OUTBOX_LEASE="1s")
    fired = sink.arm(stopped, "DATA", signal.SIGSTOP)
    id = await _insert(engine, on_doubt="hold")
    await fired
    other = await daemon(database)
    await other.said(f"email {id}: sent")
    stopped.send(signal.SIGCONT)
    await stopped.said("lease_lost")
    assert await stopped.end() == 0
    assert await other.end() == 0
    assert [copy[:2] for copy in copies()] == [("ada@example.org", other.label)], "not even on hold, and not twice"


async def test_a_result_is_kept_through_every_loss_of_the_database_and_written_once(own_postgres, sink, daemon, copies):
    from sqlalchemy import text

    from outbox.db.engine import create_engine

    engine = create_engine(own_postgres.url)
    one = await daemon(own_postgres.url, OUTBOX_LEASE="60s")
    for breaking in (lambda: own_postgres.restart("fast"), lambda: own_postgres.restart("immediate"), own_postgres.cut):
        sink.hold("dot")
        await engine.dispose()
        id = await _insert(engine)
        await sink.held()
        await breaking()
        sink.release("dot")
        await one.said(f"email {id}: sent")
    assert await one.end() == 0
    await engine.dispose()
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT status, attempts FROM email_outbox"))).all()
    await engine.dispose()
    assert [tuple(row) for row in rows] == [("sent", 1)] * 3
    assert len(copies()) == 3
