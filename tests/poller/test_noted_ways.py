"""Over which server an email goes is on record where nobody would look for it, and until nothing of it is in doubt."""

import asyncio

import pytest

from outbox import claiming
from outbox.daemon import Poller
from outbox.db.resolve import resend
from outbox.db.store import Store

LATER = "451 4.7.1 later"


@pytest.fixture
def doubtful(insert, execute):
    """An email that may have gone out over a transport, where it was noted."""

    async def run(transport, **columns):
        id = await insert(route=transport, attempts=1, message_id="<1@example.org>", **columns)
        await execute(
            "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, transport, poller)"
            " VALUES (:id, 1, 'ada@example.org', 'in_doubt', :transport, 'gone')",
            {"id": id, "transport": transport},
        )
        return id

    return run


@pytest.fixture
def lost(insert):
    """An email whose poller died."""

    async def run(**columns):
        gone = {"status": "sending", "attempts": 1, "claim_token": "t", "claimed_by": "gone"}
        return await insert(message_id="<1@example.org>", **gone, **columns)

    return run


@pytest.fixture
def pause(execute):
    """Pause a transport by hand."""

    async def run(name):
        paused = "INSERT INTO email_transport (name, paused_until) VALUES (:name, '9999-06-01 00:00:00')"
        await execute(paused, {"name": name})

    return run


async def drain(settings):
    async with Poller(settings, drain=True) as poller:
        await poller.finished()


async def test_what_may_be_at_a_stand_in_waits_for_no_limit_from_where_it_would_go_elsewhere(
    insert, execute, row, doubtful, make_due, configured, smtpd, other
):
    limited = configured(default={"failover": ["other"]}, domain_rates={"example.org": "1/day"})
    await insert()
    await drain(limited)
    id = await doubtful("other")
    async with Poller(limited) as poller:
        await insert(to_addrs="bob@example.net")
        await smtpd.received(2)
        await poller._loop.recorder.written()
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "other")
    await execute("DELETE FROM email_limit")
    await make_due(id)
    await drain(limited)
    assert ((await row(id)).status, len(smtpd.messages), len(other.messages)) == ("sent", 2, 1)


async def test_what_waits_for_a_limit_beside_its_gate_is_not_taken_again_and_again(
    insert, doubtful, configured, smtpd, taken
):
    limited = configured(domain_rates={"example.org": "1/day"})
    await insert()
    await drain(limited)
    id = await doubtful("other")
    async with Poller(limited):
        for number in range(20):
            await insert(to_addrs="bob@example.net")
            await smtpd.received(number + 2)
    assert 0 < taken.count(id) < 5


async def test_what_follows_its_new_route_is_noted_there_before_it_goes(insert, row, configured, smtpd):
    noted = []

    async def note(_):
        noted.append((await row(id)).gate)

    smtpd.faults["dot"] = note
    id = await insert(route="other")
    await drain(configured())
    assert noted == ["default"]


async def test_what_a_stand_in_has_deferred_waits_for_its_own_transport_again(
    row, lost, pause, make_due, configured, smtpd, other
):
    other.faults["rcpt"] = LATER
    id = await lost(route="other")
    settings = configured(default={"failover": ["other"]})
    await drain(settings)
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "default")
    await pause("other")
    await make_due(id)
    await drain(settings)
    assert ((await row(id)).status, len(smtpd.messages)) == ("sent", 1)


async def test_what_is_resent_by_hand_does_not_wait_for_the_stand_in_that_may_have_it(
    engine, row, doubtful, pause, configured, smtpd
):
    id = await doubtful("other", status="in_doubt", due_at=None, on_doubt="hold")
    await pause("other")
    await resend(engine, id)
    await drain(configured(default={"failover": ["other"]}))
    assert ((await row(id)).status, len(smtpd.messages)) == ("sent", 1)


async def test_what_may_have_gone_out_rests_for_a_while_where_its_transport_is_paused_without_end(
    insert, row, lost, pause, configured, other
):
    await pause("default")
    id = await lost()
    async with Poller(configured(routes=[{"transport": "other", "tag": "news"}])) as poller:
        await insert(tag="news")
        await other.received(1)
        await poller._loop.recorder.written()
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "default")


async def test_an_email_that_names_a_closed_transport_is_not_taken_again_and_again_where_nothing_is_routed(
    insert, row, pause, configured, smtpd, taken
):
    await pause("other")
    id = await insert(transport="other", route="@limit.that.was.removed.example")
    async with Poller(configured()) as poller:
        for number in range(20):
            await insert()
            await smtpd.received(number + 1)
        await poller._loop.recorder.written()
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "other")
    assert 0 < taken.count(id) < 5


@pytest.mark.parametrize("rate", [(), "100/s"])
async def test_a_drain_sends_what_rests_after_it_was_routed_anew(execute, configured, smtpd, monkeypatch, rate):
    monkeypatch.setattr(claiming, "SEARCH", 0.5)
    values = ", ".join(["('ada@example.org', 'Hi', 'other')"] * 200)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject, route) VALUES {values}")
    await drain(configured(default={"rate": rate}))
    assert len(smtpd.messages) == 200


async def test_a_drain_does_not_wait_for_what_rests_before_a_closed_transport(insert, row, pause, configured, smtpd):
    await pause("default")
    id = await insert(route="other")
    async with asyncio.timeout(30):
        for _ in range(2):  # the second finds it at rest
            await drain(configured())
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "default")


@pytest.mark.smtpd(greeting="421 4.3.2 closing")
async def test_an_email_that_cannot_be_noted_goes_over_no_stand_in(insert, row, configured, other, monkeypatch):
    reroute, tries, noted = Store.reroute, [], []

    async def not_the_first(self, claims, route):
        tries.append(claims)
        return set() if len(tries) == 1 else await reroute(self, claims, route)

    async def note(_):
        noted.append((await row(id)).gate)

    monkeypatch.setattr(Store, "reroute", not_the_first)
    other.faults["dot"] = note
    id = await insert()
    async with Poller(configured(default={"failover": ["other"]})):
        await other.received(1)
    assert ((await row(id)).status, (await row(id)).attempts) == ("sent", 1)
    assert noted == ["other"]
