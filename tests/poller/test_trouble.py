"""Servers that are down or die, rows taken over, pollers that stop: what the rows look like afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from outbox.daemon import Poller
from tests.fixtures.hold import Hold


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def test_a_server_that_is_down_costs_no_row_an_attempt(insert, drain, row, execute, unused_port):
    id = await insert()
    assert await drain(smtp_url=f"smtp://127.0.0.1:{unused_port}"), "a due row was left behind"
    waiting = await row(id)
    assert (waiting.status, waiting.attempts, waiting.claim_token) == ("pending", 0, None)
    assert waiting.due_at is not None
    assert "refused" in waiting.last_error
    [transport] = await execute("SELECT name, reason FROM email_transport")
    assert transport.name == "default"
    assert str(unused_port) in transport.reason


@pytest.mark.smtpd(mail="530 5.7.0 authentication required")
async def test_a_configuration_fault_never_turns_rows_into_failed(insert, drain, row):
    ids = [await insert() for _ in range(5)]
    assert await drain()
    assert [((await row(id)).status, (await row(id)).attempts) for id in ids] == [("pending", 0)] * 5


@pytest.mark.smtpd(drop_at="dot")
async def test_a_lost_answer_to_the_final_dot_is_in_doubt_and_tried_again_later(insert, drain, row, attempts):
    id = await insert()
    await drain()
    waiting = await row(id)
    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert await attempts(id) == [(1, "ada@example.org", "in_doubt", None)]
    due = waiting.due_at if isinstance(waiting.due_at, datetime) else datetime.fromisoformat(waiting.due_at + "+00:00")
    assert due > datetime.now(UTC) + timedelta(minutes=4), "no earlier retry than doubt_delay"


@pytest.mark.smtpd(drop_at="dot")
async def test_on_doubt_hold_waits_for_a_person(insert, drain, row, smtpd):
    id = await insert(on_doubt="hold")
    await drain()
    held = await row(id)
    assert (held.status, held.due_at) == ("in_doubt", None)


async def test_several_pollers_at_once_send_every_row_once(insert, drain, smtpd, execute):
    for number in range(120):
        await insert(to_addrs=f"r{number}@example.org")
    await asyncio.gather(drain(), drain(), drain())
    # A poller may leave while another still holds rows; one more looks after what is left.
    await drain()
    assert sorted(message.recipients[0] for message in smtpd.messages) == sorted(
        f"r{n}@example.org" for n in range(120)
    )
    assert [tuple(r) for r in await execute("SELECT status, count(*) FROM email_outbox GROUP BY status")] == [
        ("sent", 120)
    ]


async def test_stopping_finishes_what_is_in_flight_and_gives_the_rest_back(insert, settings, smtpd, execute):
    hold = Hold(smtpd, "dot")
    for _ in range(100):
        await insert()
    poller = Poller(settings)
    await poller.__aenter__()
    await hold.reached()
    closing = asyncio.create_task(poller.__aexit__(None, None, None))
    hold.release()
    await closing
    rows = await execute("SELECT status, attempts, claim_token FROM email_outbox")
    sent = [r for r in rows if r.status == "sent"]
    assert len(sent) == len(smtpd.messages) >= 1
    assert {tuple(r) for r in rows if r.status != "sent"} <= {("pending", 0, None)}
    assert await execute("SELECT name FROM email_poller") == [], "it signed off"


async def test_a_stop_that_takes_too_long_leaves_the_one_at_the_dot_in_doubt(insert, settings, smtpd, row):
    hold = Hold(smtpd, "dot")
    id = await insert()
    settings = settings.model_copy(update={"drain_timeout": 0.0})
    async with Poller(settings):
        await hold.reached()
    waiting = await row(id)
    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert "in doubt" in waiting.last_error or "final dot" in waiting.last_error
    hold.release()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_commit_to_a_sqlite_file_wakes_the_poller_long_before_it_would_look(insert, settings, smtpd):
    async with Poller(settings.model_copy(update={"poll_interval": 3600.0})):
        await insert()
        await smtpd.received(1)


async def test_an_enqueue_in_the_same_process_wakes_the_poller(engine, settings, smtpd):
    from outbox import Email, enqueue

    async with Poller(settings.model_copy(update={"poll_interval": 3600.0})):
        async with engine.begin() as connection:
            await enqueue(connection, Email(to="ada@example.org", subject="Hi", text="Hello"))
        await smtpd.received(1)


async def test_the_poller_runs_inside_an_asgi_lifespan(insert, settings, smtpd, row):
    id = await insert()

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        assert (await receive())["type"] == "lifespan.startup"
        async with Poller(settings):
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})

    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    serving = asyncio.create_task(app({"type": "lifespan"}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert await from_app.get() == {"type": "lifespan.startup.complete"}
    await smtpd.received(1)
    await to_app.put({"type": "lifespan.shutdown"})
    await serving
    assert (await row(id)).status == "sent"
