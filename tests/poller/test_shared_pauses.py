"""One pause for all pollers: shared through the database, one probe at a time, and people's word above all."""

import asyncio

import pytest

from outbox import pauses
from outbox.core.errors import DatabaseError
from outbox.core.outcome import Scope
from outbox.daemon import Poller
from outbox.db.operations import Operations
from outbox.settings import Settings
from outbox.smtp import health
from tests.db.rows import later
from tests.fixtures.hold import Hold


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Pauses and looks that fit into a test."""
    monkeypatch.setattr(pauses, "INTERVAL", 0.05)
    monkeypatch.setitem(health._BACKOFF, Scope.PAUSE, (0.05, 0.1))
    monkeypatch.setitem(health._BACKOFF, Scope.CONFIG, (3600.0, 3600.0))


@pytest.fixture
def quickly(settings):
    return settings.model_copy(update={"poll_interval": 0.05})


def transport(poller):
    return poller._transports["default"]


async def until(condition, *pollers):
    """Have the pollers look at what the others know until `condition` holds."""
    while not condition():
        for poller in pollers:
            await poller._pauses.round()


PAUSED = (
    "INSERT INTO email_transport (name, paused_until, reason) VALUES ('default', :until, 'mx:25: connect: refused')"
)


@pytest.mark.smtpd(mail="530 5.7.0 authentication required")
async def test_what_one_poller_finds_out_pauses_all_and_a_resume_ends_it_for_all(
    insert, quickly, smtpd, row, execute, engine
):
    id = await insert()
    async with Poller(quickly) as one, Poller(quickly) as two:
        await until(lambda: transport(one).paused_for > 100 and transport(two).paused_for > 100, one, two)
        assert transport(one).reason == transport(two).reason
        assert "530 5.7.0 authentication required" in transport(two).reason
        assert sum(command.startswith("MAIL") for command in smtpd.commands) <= 2
        await until(lambda: not one._loop.leases and not two._loop.leases, one)
        waiting = await row(id)
        assert (waiting.status, waiting.attempts) == ("pending", 0)
        smtpd.faults = {}
        assert await Operations(engine).resume(["default"]) == {"default"}
        await smtpd.received(1)
        await until(lambda: transport(one).capacity == transport(two).capacity == 10, one, two)
    assert (await row(id)).attempts == 1


async def test_a_pause_by_hand_holds_across_restarts_and_leaves_the_rows_due(
    insert, quickly, smtpd, row, execute, engine, drain
):
    await Operations(engine).pause(["default"])
    id = await insert()
    assert await drain(), "a due row was left behind"
    async with Poller(quickly) as poller:
        assert transport(poller).capacity == 0
        await insert()
        await poller._pauses.round()
        assert transport(poller).paused_for == float("inf")
    waiting = await row(id)
    assert (waiting.status, waiting.attempts, waiting.last_error) == ("pending", 0, None)
    assert smtpd.connections == 0
    await Operations(engine).resume(["default"])
    assert not await drain()
    assert (await row(id)).status == "sent"


async def test_a_pause_by_hand_lets_what_is_in_flight_finish(insert, quickly, smtpd, row, engine):
    hold = Hold(smtpd, "dot")
    id = await insert()
    async with Poller(quickly) as poller:
        await hold.reached()
        await Operations(engine).pause(["default"])
        await until(lambda: transport(poller).capacity == 0, poller)
        second = await insert()
        hold.release()
        await smtpd.received(1)
        await until(lambda: not poller._loop.leases, poller)
        assert transport(poller).capacity == 0, "its success says nothing against a person"
    assert ((await row(id)).status, (await row(second)).status) == ("sent", "pending")


async def test_one_poller_probes_at_a_time_and_its_success_frees_all(insert, quickly, smtpd, execute):
    probes = most = 0

    async def busy(_):
        nonlocal probes, most
        probes += 1
        most = max(most, probes)
        await asyncio.sleep(0.02)
        probes -= 1
        return "421 4.3.2 not now"

    for _ in range(20):
        await insert()
    async with Poller(quickly) as one:
        smtpd.faults = {"greeting": busy}
        async with Poller(quickly) as two, Poller(quickly) as three:
            pollers = [one, two, three]
            await until(lambda: all(transport(p).fault for p in pollers), *pollers)
            most = 0  # from here on everybody knows
            seen = smtpd.connections
            await smtpd.until(lambda: smtpd.connections > seen + 5)
            smtpd.faults = {}
            await smtpd.received(20)
            await until(lambda: all(transport(p).capacity == 10 for p in pollers), *pollers)
    assert most == 1
    [counted] = await execute("SELECT max(attempts) AS most, min(attempts) AS least FROM email_outbox")
    assert (counted.most, counted.least) == (1, 1)
    assert await execute("SELECT name FROM email_transport WHERE reason IS NOT NULL") == []


async def test_a_long_outage_costs_no_row_an_attempt_and_the_queue_drains_when_it_ends(insert, quickly, smtpd, execute):
    smtpd.faults = {"greeting": "421 4.3.2 down"}
    ids = [await insert() for _ in range(5)]
    async with Poller(quickly):
        await smtpd.until(lambda: smtpd.connections > 25)
        smtpd.faults = {}
        await smtpd.received(5)
    counted = await execute("SELECT status, attempts FROM email_outbox")
    assert [tuple(one) for one in counted] == [("sent", 1)] * len(ids)
    assert len(await execute("SELECT id FROM email_attempt")) == 5


async def test_a_poller_that_starts_on_a_paused_transport_does_not_try_it(insert, quickly, smtpd, execute, database):
    await execute(PAUSED, {"until": later(database, 600)})
    await insert()
    async with Poller(quickly) as poller:
        assert transport(poller).capacity == 0
        await poller._pauses.round()
    assert smtpd.connections == 0


async def test_a_transport_that_was_left_on_probation_is_probed_and_cleared(insert, drain, execute, database, row):
    await execute(PAUSED, {"until": later(database, -600)})
    id = await insert()
    assert not await drain()
    assert (await row(id)).status == "sent"
    assert await execute("SELECT name FROM email_transport WHERE reason IS NOT NULL") == []


async def test_without_an_answer_of_the_database_a_poller_goes_by_what_it_knows(
    insert, quickly, smtpd, row, monkeypatch
):
    async def broken(*_, **__):
        raise DatabaseError("no database")

    async with Poller(quickly) as poller:
        for name in ("read", "pause", "clear", "win_probe"):
            monkeypatch.setattr(poller._pauses._table, name, broken)
        smtpd.faults = {"greeting": ["421 4.3.2 down"]}
        id = await insert()
        await smtpd.received(1)
        await asyncio.wait(poller._loop._in_flight)
        await poller._loop.recorder.written()
        assert (transport(poller).capacity, transport(poller).fault) == (10, None)
    assert ((await row(id)).status, (await row(id)).attempts) == ("sent", 1)


@pytest.mark.parametrize("word", ["default", None])
async def test_rows_of_a_paused_transport_stay_due_and_the_others_go(insert, settings, smtpd, row, engine, word):
    ways = {"default": {"url": smtpd.url}, "other": {"url": smtpd.url}}
    both = Settings(database_url=settings.database_url, sender=settings.sender, transports=ways, poll_interval="50ms")
    await Operations(engine).pause(["default"])
    waiting = [await insert(transport=word) for _ in range(60)]
    going = [await insert(transport="other") for _ in range(3)]
    async with Poller(both):
        await smtpd.received(3)
    assert [(await row(id)).status for id in going] == ["sent"] * 3
    left = [await row(id) for id in waiting]
    assert {(one.status, one.attempts, one.due_at == one.created_at) for one in left} == {("pending", 0, True)}
