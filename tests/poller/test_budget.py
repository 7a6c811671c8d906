"""Large content waits for its room in memory; small content does not."""

import asyncio
import ctypes

import pytest

from outbox.budget import COMPOSING, SMALL, Budget
from outbox.tuning import give_large_blocks_back

LARGE = 2 * SMALL


class Email:
    """One that takes room until it is told to go."""

    def __init__(self, budget: Budget, size: int) -> None:
        self.composing = False
        self.sent = asyncio.Event()
        self.composed_as: int | None = None
        self.work = asyncio.create_task(self._go(budget, size))

    async def _go(self, budget: Budget, size: int) -> None:
        with budget.room() as room:
            await room.compose(size)
            self.composing = True
            if self.composed_as is not None:
                room.composed(self.composed_as)
            await self.sent.wait()

    async def go(self) -> None:
        """Until it is sent, and who waited for it is under way."""
        self.sent.set()
        await self.work
        await turn()


async def turn() -> None:
    """Until everybody who can has moved."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def email():
    """Makes emails of one budget: room for two large ones."""
    budget, emails = Budget(2 * LARGE * COMPOSING), []

    async def make(size: int, composed_as: int | None = None) -> Email:
        emails.append(Email(budget, size))
        emails[-1].composed_as = composed_as
        await turn()
        return emails[-1]

    yield make
    for one in emails:
        one.work.cancel()
    await asyncio.gather(*(one.work for one in emails), return_exceptions=True)
    assert budget._used == 0
    assert not budget._waiting


async def test_large_ones_take_turns_in_the_order_they_came(email):
    emails = [await email(LARGE) for _ in range(5)]
    assert [one.composing for one in emails] == [True, True, False, False, False]
    await emails[1].go()
    assert [one.composing for one in emails] == [True, True, True, False, False]


async def test_small_ones_never_wait(email):
    emails = [await email(LARGE) for _ in range(5)]
    small = [await email(size) for size in (0, 1, SMALL)]
    assert not emails[2].composing
    assert all(one.composing for one in small)


async def test_one_that_is_larger_than_all_the_room_goes_alone_and_is_not_overtaken(email):
    first, huge, last = await email(LARGE), await email(100 * LARGE), await email(LARGE)
    assert [one.composing for one in (first, huge, last)] == [True, False, False]
    await first.go()
    assert [huge.composing, last.composing] == [True, False]
    await huge.go()
    assert last.composing


async def test_a_composed_message_takes_less_room(email):
    for _ in range(5):
        one = await email(LARGE, composed_as=LARGE)
        assert one.composing
    assert not (await email(LARGE)).composing


async def test_one_that_is_cancelled_leaves_its_room_and_its_turn_to_others(email):
    first, second, huge, last = [await email(size) for size in (LARGE, LARGE, 100 * LARGE, LARGE)]
    huge.work.cancel()
    first.work.cancel()
    await turn()
    assert second.composing
    assert last.composing


async def test_a_turn_that_comes_with_a_cancellation_is_not_lost(email):
    first, second, third, last = [await email(LARGE) for _ in range(4)]
    first.sent.set()
    await asyncio.sleep(0)
    third.work.cancel()
    await turn()
    assert second.composing
    assert last.composing


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_without_glibc_memory_is_left_as_it_is(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    give_large_blocks_back()
