"""When results are written: at once when nothing else is about to come, together when it is."""

import asyncio
from typing import Any

import pytest

from outbox.core.claim import Result
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.recorder import AS_IT_COMES, Recorder


def result(number: int) -> Result:
    return Result(number, "token", 1, Verdict(Status.SENT))


class Written:
    """A store that takes everything, and tells what came together."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.changed = asyncio.Event()

    async def record(self, results, **_):
        self.groups.append([r.id for r in results])
        self.changed.set()
        return {r.id for r in results}

    async def until(self, count: int) -> list[list[int]]:
        while len(self.groups) < count:
            self.changed.clear()
            await self.changed.wait()
        return self.groups


@pytest.fixture
async def make():
    running: list[asyncio.Task[None]] = []

    def make(expected):
        store: Any = Written()
        recorder = Recorder(store, "poller", lambda *_: None, expected)
        running.append(asyncio.create_task(recorder.run()))
        return recorder, store

    yield make
    for task in running:
        task.cancel()


async def test_a_result_is_written_at_once_where_no_other_is_about_to_come(make):
    recorder, store = make(lambda: 1)
    recorder._took = 1e6
    recorder.put(result(1))
    assert await store.until(1) == [[1]]


async def test_results_that_are_about_to_come_are_waited_for_and_written_together(make, monkeypatch):
    monkeypatch.setattr("outbox.recorder.GATHERING", 1e6)
    recorder, store = make(lambda: 3)
    recorder._took = 1e6
    recorder.put(result(1))
    recorder.put(result(2))
    for _ in range(9):
        await asyncio.sleep(0)
    assert store.groups == []
    recorder.put(result(3))
    assert await store.until(1) == [[1, 2, 3]]


async def test_where_waiting_was_in_vain_the_next_ones_are_written_as_they_come(make):
    recorder, store = make(lambda: 99)
    recorder._took = 0.001
    recorder.put(result(0))
    await store.until(1)
    recorder._took = 1e6
    for number in range(1, AS_IT_COMES + 1):
        recorder.put(result(number))
        assert (await store.until(number + 1))[-1] == [number]
