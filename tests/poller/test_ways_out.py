"""Several ways out, through the real daemon: routes, stand-ins for a transport with a fault, reserved connections."""

import asyncio

import pytest

from outbox import claiming
from outbox.daemon import Poller
from outbox.db.store import Store
from outbox.settings import Settings
from tests.db.rows import later

REFUSED = "421 4.3.2 closing"


def recipients(server):
    return sorted(message.recipients[0] for message in server.messages)


@pytest.mark.parametrize(
    "condition",
    [{"tag": "news"}, {"recipient_domain": "*.example.net"}, {"sender_domain": "shop.example"}, {"priority": 2}],
)
async def test_an_email_goes_the_first_way_that_matches_it(insert, configured, smtpd, other, condition):
    special = {
        "to_addrs": "Ada <ada@mail.example.net>",
        "sender": "news@shop.example",
        "tag": "news",
        "priority": 2,
    }
    routes = [{"transport": "other", **condition}, {"transport": "default", "priority": [0, 1, 2]}]
    await insert(**special)
    await insert(to_addrs="bob@example.org")
    await insert(**special, transport="default")
    async with Poller(configured(routes=routes), drain=True) as poller:
        await poller.finished()
    assert recipients(other) == ["ada@mail.example.net"]
    assert recipients(smtpd) == ["ada@mail.example.net", "bob@example.org"]


@pytest.mark.smtpd(greeting=REFUSED)
async def test_while_a_transport_has_a_fault_another_stands_in_and_no_attempt_is_lost(
    insert, row, configured, smtpd, other
):
    ids = [await insert(), await insert(transport="default")]
    async with Poller(configured(default={"failover": ["other"]})):
        await other.received(2)
    assert [(r.status, r.attempts) for r in [await row(id) for id in ids]] == [("sent", 1)] * 2
    assert not smtpd.messages


@pytest.mark.smtpd(greeting=REFUSED)
async def test_a_stand_in_that_is_paused_by_hand_is_passed_over(insert, row, execute, configured, smtpd, other):
    await execute("INSERT INTO email_transport (name, paused_until) VALUES ('paused', '9999-06-01 00:00:00')")
    id = await insert()
    settings = configured(default={"failover": ["paused", "other"]}, besides={"paused": {"url": other.url}})
    async with Poller(settings):
        await other.received(1)
    assert (await row(id)).status == "sent"
    assert [one.transport for one in await execute("SELECT transport FROM email_attempt")] == ["other"]


@pytest.mark.smtpd(dot="554 5.7.1 we do not want this")
async def test_what_a_server_refuses_is_offered_to_no_other(insert, row, configured, other):
    id = await insert()
    async with Poller(configured(default={"failover": ["other"]}), drain=True) as poller:
        await poller.finished()
    assert (await row(id)).status == "failed"
    assert not other.messages


@pytest.mark.smtpd(dot="drop", greeting=[None, *[REFUSED] * 100])
async def test_what_may_have_gone_out_already_waits_for_its_own_server(
    insert, row, execute, make_due, configured, smtpd, other
):
    doubtful = await insert()
    async with Poller(configured(default={"failover": ["other"]}), drain=True) as poller:
        await poller.finished()
    assert (await row(doubtful)).status == "pending"
    await make_due(doubtful)
    fresh = await insert(to_addrs="bob@example.org")
    async with Poller(configured(default={"failover": ["other"]})):
        await other.received(1)
        await smtpd.until(lambda: smtpd.connections > 1)
        found = await row(doubtful)
    assert recipients(other) == ["bob@example.org"]
    assert (await row(fresh)).status == "sent"
    assert found.status in {"pending", "sending"}


async def test_rows_of_a_way_that_is_closed_are_in_nobodys_way(insert, execute, configured, other):
    await execute("INSERT INTO email_transport (name, paused_until) VALUES ('default', '9999-06-01 00:00:00')")
    for number in range(30):
        await insert(to_addrs=f"r{number}@example.org", priority=number % 3)
    await insert(to_addrs="ada@example.org", tag="news", priority=2)
    async with Poller(configured(routes=[{"transport": "other", "tag": "news"}])):
        await other.received(1)
    assert recipients(other) == ["ada@example.org"]
    found = await execute("SELECT status, attempts, gate FROM email_outbox WHERE tag IS NULL")
    assert {(r.status, r.attempts, r.gate) for r in found} == {("pending", 0, "default")}


async def test_bulk_mail_leaves_reserved_connections_to_urgent_mail(insert, configured, smtpd):
    release = asyncio.Event()

    async def wait(sender):
        if sender == "bulk@example.org":
            await release.wait()

    smtpd.faults["dot"] = wait
    for _ in range(6):
        await insert(priority=2, sender="bulk@example.org")
    settings = configured(default={"max_connections": 3, "reserved_connections": 1})
    async with Poller(settings):
        await smtpd.until(lambda: smtpd.commands.count("DATA") == 2)
        await insert(to_addrs="ada@example.org", priority=0)
        await smtpd.until(lambda: smtpd.commands.count("DATA") >= 3)
        await smtpd.received(1)
        assert smtpd.messages[0].sender == "shop@example.org"
        release.set()
        await smtpd.received(7)


async def test_an_urgent_email_is_sent_before_the_rest_of_a_long_queue(insert, execute, configured, smtpd):
    release = asyncio.Event()

    async def wait(_):
        await release.wait()

    smtpd.faults["dot"] = wait
    values = ", ".join(["('b@example.org', 'Hi', 2)"] * 300)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject, priority) VALUES {values}")
    async with Poller(configured(default={"max_connections": 2})):
        await smtpd.until(lambda: smtpd.commands.count("DATA") == 2)
        await insert(to_addrs="ada@example.org", priority=0)
        release.set()
        await smtpd.until(lambda: any(m.recipients == ["ada@example.org"] for m in smtpd.messages))
        assert len(smtpd.messages) < 100


async def test_what_may_have_gone_out_over_a_stand_in_is_tried_there_again(
    insert, row, make_due, configured, smtpd, other
):
    smtpd.faults["greeting"] = REFUSED
    other.faults["dot"] = ["drop"]
    id = await insert()
    settings = configured(default={"failover": ["other"]}, doubt_delay="0s", retry_schedule="1h")
    async with Poller(settings):
        await other.until(lambda: len(other.messages) == 1)
        await smtpd.until(lambda: smtpd.connections > 0)
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "other")
    del smtpd.faults["greeting"]
    await make_due(id)
    async with Poller(settings, drain=True) as poller:
        await poller.finished()
    assert ((await row(id)).status, len(other.messages), len(smtpd.messages)) == ("sent", 2, 0)


@pytest.mark.smtpd(greeting=REFUSED)
async def test_what_a_stand_in_does_not_have_goes_back_to_where_it_waited(insert, row, configured, smtpd, other):
    noted = []

    async def note(_):
        noted.append((await row(id)).gate)
        return "451 4.3.0 later"

    other.faults["mail"] = note
    id = await insert()
    async with Poller(configured(default={"failover": ["other"]}, routes=[{"transport": "default", "tag": "x"}])) as it:
        await other.until(lambda: bool(noted))
        await it._loop.recorder.written()
    found = await row(id)
    assert noted == ["other"]
    assert (found.status, found.attempts, found.gate) == ("pending", 1, "")


async def test_what_was_parked_follows_its_new_route(insert, row, execute, configured, smtpd, other):
    id = await insert(tag="news", route="other")
    full = [{"transport": "default", "tag": "news"}]
    await execute("INSERT INTO email_transport (name, paused_until) VALUES ('default', '9999-06-01 00:00:00')")
    async with Poller(configured(routes=full)) as poller:
        await insert(to_addrs="bob@example.org", transport="other")
        await other.received(1)
        await poller._loop.recorder.written()
    assert ((await row(id)).status, (await row(id)).gate) == ("pending", "default")


@pytest.mark.smtpd(greeting=REFUSED)
async def test_what_may_have_gone_out_is_not_taken_again_and_again_while_the_limit_of_its_server_is_used_up(
    database, insert, execute, configured, other, taken
):
    await insert()
    async with Poller(configured(default={"failover": ["other"], "rate": "1/day"})):
        await other.received(1)
        doubtful = await insert(
            to_addrs="eve@example.org", route="default", message_id="<1@example.org>", due_at=later(database, 3600)
        )
        await execute(
            "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, transport, poller)"
            " VALUES (:id, 1, 'eve@example.org', 'in_doubt', 'default', 'gone')",
            {"id": doubtful},
        )
        await execute("UPDATE email_outbox SET due_at = created_at, attempts = 1 WHERE id = :id", {"id": doubtful})
        for number in range(20):
            await insert(to_addrs="bob@example.org")
            await other.received(number + 2)
    assert 0 < taken.count(doubtful) < 10
    assert "eve@example.org" not in recipients(other)


async def test_all_that_waits_for_a_transport_that_is_gone_is_routed_anew_without_a_pause(
    execute, configured, smtpd, monkeypatch
):
    monkeypatch.setattr(claiming, "SEARCH", 1e9)
    values = ", ".join(["('ada@example.org', 'Hi', 'gone')"] * 1100)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject, route) VALUES {values}")
    async with Poller(configured()):
        await smtpd.received(1100)


async def test_what_was_lost_with_its_poller_and_waited_for_a_limit_goes_over_no_other_server(
    insert, row, attempts, configured, smtpd, other
):
    limited = configured(default={"failover": ["other"], "rate": "1/day"})
    await insert()
    async with Poller(limited, drain=True) as poller:
        await poller.finished()
    lost = await insert(
        to_addrs="eve@example.org",
        priority=0,
        message_id="<1@example.org>",
        status="sending",
        attempts=1,
        claim_token="t",
        claimed_by="gone",
    )
    async with Poller(limited, drain=True) as poller:
        await poller.finished()
    assert ((await row(lost)).status, (await row(lost)).attempts) == ("pending", 1)
    assert await attempts(lost) == [(1, "eve@example.org", "in_doubt", None)]
    smtpd.faults["greeting"] = REFUSED
    await insert(to_addrs="bob@example.org")
    async with Poller(configured(default={"failover": ["other"]})):
        await other.received(1)
        await smtpd.until(lambda: smtpd.connections > 1)
    assert recipients(other) == ["bob@example.org"]


@pytest.mark.parametrize("differ", ["routes", "limits"])
async def test_pollers_with_different_settings_do_not_move_what_cannot_go_again_and_again(
    database, insert, smtpd, other, taken, differ, monkeypatch
):
    monkeypatch.setattr(claiming, "SEARCH", 0.01 if differ == "limits" else claiming.SEARCH)
    limited = {"default": {"url": smtpd.url, "rate": "1/day"}, "other": {"url": other.url, "rate": "1/day"}}

    def settings(**differing):
        return Settings(
            database_url=database,
            sender="shop@example.org",
            poll_interval="200ms",
            transports={**limited, "free": {"url": other.url}},
            **differing,
        )

    ids = [await insert(tag="news") for _ in range(4)]
    routes = [[{"transport": way, "tag": "news"}] for way in ("default", "other")]
    both = (
        [{"routes": one} for one in routes] if differ == "routes" else [{"domain_rates": {"example.org": "1/day"}}, {}]
    )
    async with Poller(settings(**both[0])), Poller(settings(**both[1])):
        await smtpd.received(1)
        taken.clear()
        for number in range(100):
            await insert(to_addrs="bob@example.net", transport="free")
            await other.until(lambda sent=number + 1: recipients(other).count("bob@example.net") == sent)
    assert max(map(taken.count, ids)) < 30


async def test_a_search_ends_where_others_put_back_at_once_what_it_finds(
    insert, execute, configured, other, monkeypatch
):
    adopt, searches = Store.adopt_strays, []

    async def put_back(self, known):
        searches.append(await adopt(self, known))
        await execute("UPDATE email_outbox SET route = '@limit.example' WHERE route = ''")
        return searches[-1]

    monkeypatch.setattr(Store, "adopt_strays", put_back)
    await execute("INSERT INTO email_transport (name, paused_until) VALUES ('default', '9999-06-01 00:00:00')")
    values = ", ".join(["('ada@example.org', 'Hi', '@limit.example')"] * 600)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject, route) VALUES {values}")
    async with Poller(configured()):
        for number in range(30):
            await insert(transport="other")
            await other.received(number + 1)
    assert 0 < len(searches) < 8
