"""The flood guard through the real daemon: what is too much for somebody is held or dropped, and seen."""

import asyncio
import random

import pytest
from sqlalchemy import update

from outbox.daemon import Poller
from outbox.db import held as held_module
from outbox.db import sight
from outbox.db.held import count_held, release
from outbox.db.models import Email
from outbox.db.operations import Operations


@pytest.fixture
def guarded(settings):
    def make(**guard):
        known = settings.model_dump(exclude={"transports", "flood_guard"})
        return type(settings)(**known, flood_guard={"limit": "2/hour", **guard})

    return make


async def drain(settings):
    async with Poller(settings, drain=True) as poller:
        await poller.finished()
        return await poller.left_behind()


async def test_what_is_too_much_for_a_recipient_is_held_until_a_person_releases_it(insert, row, guarded, smtpd, engine):
    ids = [await insert(tag="alert") for _ in range(4)]
    other = await insert(tag="invoice")
    assert not await drain(guarded()), "what is held is not due"
    assert len(smtpd.messages) == 3
    assert (await row(other)).status == "sent"
    held = [found for id in ids if (found := await row(id)).status == "pending"]
    assert [(bool(r.held), r.attempts) for r in held] == [(True, 0)] * 2
    assert held[0].last_error == "flood guard: ada@example.org has had 2/hour of tag 'alert' already"
    assert await count_held(engine) == 2
    async with engine.connect() as connection:
        assert [(lane.later, lane.held) for lane in await sight.lanes(connection)] == [(0, 0), (0, 2), (0, 0)]
    assert await release(engine, [held[0].id, ids[0]]) == [held[0].id]
    await drain(guarded())
    assert (await row(held[0].id)).status == "sent"
    assert await release(engine) == [held[1].id]
    assert await count_held(engine) == 0
    await drain(guarded())
    assert len(smtpd.messages) == 5


async def test_what_is_too_much_can_be_dropped(insert, row, guarded, smtpd, execute, engine):
    for number in range(5):
        await insert(tag=f"t{number}", to_addrs="ada@example.org, bob@example.org")
    await drain(guarded(action="drop", per="recipient"))
    found = await execute("SELECT status, finished_at, last_error FROM email_outbox ORDER BY id")
    assert [r.status for r in found] == ["sent"] * 2 + ["failed"] * 3
    assert found[-1].finished_at
    [dropped, *_] = await execute("SELECT id FROM email_outbox WHERE status = 'failed' ORDER BY id")
    await Operations(engine).retry([dropped.id])
    await drain(guarded(action="drop", per="recipient"))
    assert (await row(dropped.id)).status == "sent"
    assert found[-1].last_error == "dropped: flood guard: ada@example.org has had 2/hour already"
    assert len(smtpd.messages) == 3


@pytest.mark.smtpd(rcpt=["451 4.7.1 greylisted", "451 4.7.1 greylisted"])
async def test_a_retry_is_no_further_email(insert, row, guarded, smtpd, make_due):
    ids = [await insert() for _ in range(2)]
    for _ in range(2):
        await drain(guarded())
        for id in ids:
            if (await row(id)).status == "pending":
                await make_due(id)
    assert [(await row(id)).status for id in ids] == ["sent", "sent"]


async def test_several_pollers_count_together(insert, guarded, smtpd, execute):
    for _ in range(12):
        await insert()
    await asyncio.gather(*(drain(guarded()) for _ in range(3)))
    assert len(smtpd.messages) == 2
    [held] = await execute("SELECT count(*) AS n FROM email_outbox WHERE held")
    assert held.n == 10


async def test_a_tag_of_any_length_is_counted_and_delays_nobody(insert, row, guarded, smtpd):
    tag = f"{random.Random(1).getrandbits(8 * 10_000):x}"  # which no compression makes shorter
    ids = [await insert(tag=tag) for _ in range(3)]
    other = await insert(tag="invoice")
    assert not await drain(guarded())
    assert (await row(other)).status == "sent"
    assert sorted([(await row(id)).status for id in ids]) == ["pending", "sent", "sent"]


async def test_a_release_of_all_ends_and_tells_each_once_though_emails_are_held_again_at_once(
    insert, row, execute, engine, monkeypatch
):
    def hold_again(connection):
        connection.execute(update(Email).where(Email.held.is_(False)).values(held=True))

    monkeypatch.setattr(held_module, "call", hold_again)
    monkeypatch.setattr(held_module, "BATCH", 2)
    ids = [await insert(held=True) for _ in range(5)]
    async with asyncio.timeout(30):
        assert await release(engine) == ids


@pytest.mark.smtpd(rcpt={"bob@example.org": ["451 4.7.1 greylisted"]})
async def test_a_retry_is_no_further_email_however_late_it_comes(insert, row, guarded, smtpd, execute, make_due):
    settings = guarded(limit="1/hour", action="drop")
    id = await insert(to_addrs="ada@example.org, bob@example.org")
    await drain(settings)
    await execute("DELETE FROM email_limit")  # an hour later
    await insert(to_addrs="ada@example.org")
    await drain(settings)
    await make_due(id)
    await drain(settings)
    assert (await row(id)).status == "sent"
