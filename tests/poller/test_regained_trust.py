"""A poller whose guard was lost trusts its leases again once they are renewed, however often that fails before."""

import asyncio

import pytest

from outbox.core.errors import DatabaseError
from outbox.daemon import Poller
from outbox.db.guard import SessionGuard
from outbox.leases import Leases

CUT = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"


@pytest.fixture
def database(postgres_database):
    return postgres_database


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr("outbox.takeover.INTERVAL", 0.01)


async def test_a_renewal_that_fails_after_the_guard_was_lost_does_not_stop_the_poller_for_ever(
    insert, settings, smtpd, execute, monkeypatch
):
    renew, failures, failed = Leases.renew, iter([True, True]), asyncio.Event()

    async def flaky(self):
        if next(failures, False):
            failed.set()
            raise DatabaseError("the database cannot be used: too many clients already")
        await renew(self)

    monkeypatch.setattr(Leases, "renew", flaky)
    async with Poller(settings):
        await execute(CUT)
        await failed.wait()
        await insert()
        await smtpd.received(1)


async def test_a_guard_that_is_lost_again_while_leases_are_renewed_is_held_again_before_they_are_trusted(
    settings, execute, monkeypatch
):
    renew, lost_again, held = Leases.renew, asyncio.Event(), asyncio.Event()
    trusted = []

    async def lose_again(self):
        await renew(self)
        if not lost_again.is_set():
            lost_again.set()
            poller._guard.on_loss()

    hold = SessionGuard.hold

    async def look(self, name):
        if lost_again.is_set():
            trusted.append(poller._loop.leases.trusted)
            held.set()
        await hold(self, name)

    async with Poller(settings) as poller:
        monkeypatch.setattr(Leases, "renew", lose_again)
        monkeypatch.setattr(SessionGuard, "hold", look)
        await execute(CUT)
        await held.wait()
    assert trusted == [False]
