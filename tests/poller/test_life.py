"""Life is told of a poll loop that goes round, not of a process that merely exists."""

import asyncio

from outbox.daemon import Poller
from outbox.systemd import Systemd, tell_life


async def test_a_poll_loop_that_stands_still_is_not_called_alive(settings, monkeypatch):
    said: asyncio.Queue[str] = asyncio.Queue()
    async with Poller(settings) as poller:
        life = asyncio.create_task(tell_life(Systemd(said.put_nowait, 0.03), poller))
        assert (await said.get()).startswith("WATCHDOG=1")
        hanging, go_on = asyncio.Event(), asyncio.Event()

        async def hang(*_, **__):
            hanging.set()
            await go_on.wait()
            return []

        with monkeypatch.context() as patch:
            patch.setattr(poller._store, "claim", hang)
            await hanging.wait()
            while not (word := await said.get()).startswith("STATUS=the poll loop stands still"):
                pass
            assert poller.name in word
        go_on.set()
        while not (await said.get()).startswith("WATCHDOG=1"):
            pass
        life.cancel()


async def test_a_poller_that_finishes_what_is_in_flight_is_alive(settings):
    said: asyncio.Queue[str] = asyncio.Queue()
    async with Poller(settings) as poller:
        pass
    life = asyncio.create_task(tell_life(Systemd(said.put_nowait, 0.003), poller))
    for _ in range(3):
        assert (await said.get()).startswith("WATCHDOG=1")
    life.cancel()
