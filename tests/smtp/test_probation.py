"""After a pause: one probe, asked for elsewhere, and what proves that a transport works again."""

import asyncio
import random

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Fault, Report, Scope
from outbox.settings import TransportSettings
from outbox.smtp.transport import Transport

DOWN = Fault(Scope.PAUSE, "mx:25: connect: refused")
BY_HAND = Fault(Scope.BY_HAND, "paused by hand since noon", float("inf"))


@pytest.fixture
async def transport(smtpd, clock):
    settings = TransportSettings(url=smtpd.url, max_connections=4)
    transport = Transport("main", settings, clock=clock, random=random.Random(1))
    yield transport
    await transport.close()


def message(number: int = 1) -> Message:
    return Message("shop@example.com", ("ada@example.org",), f"Subject: {number}\r\n\r\nhello\r\n".encode())


def accepted(report: Report) -> bool:
    return [o.kind.value for o in report.outcomes.values()] == ["accepted"]


async def test_whoever_is_not_given_the_probe_sends_nothing(transport, smtpd):
    async def ask(asked: Transport) -> bool:
        assert asked.probing
        asked.adopt(Fault(Scope.PAUSE, DOWN.reason, 5.0))  # somebody else probes
        return False

    transport.ask_probe = ask
    transport.adopt(DOWN)
    assert transport.capacity == 1
    report = await transport.send(message())
    assert (report.outcomes, report.fault and report.fault.reason) == ({}, DOWN.reason)
    assert (smtpd.connections, transport.capacity, transport.paused_for, transport.probing) == (0, 0, 5.0, False)


async def test_the_probe_is_asked_for_once_and_goes_alone(transport, smtpd):
    asked, answer = [], asyncio.Event()

    async def ask(transport: Transport) -> bool:
        asked.append(transport.capacity)
        await answer.wait()
        return True

    transport.ask_probe = ask
    transport.adopt(DOWN)
    probe = asyncio.create_task(transport.send(message(1)))
    await asyncio.sleep(0)
    other = await transport.send(message(2))
    assert other.fault
    assert not other.outcomes
    answer.set()
    assert accepted(await probe)
    assert asked == [0], "nobody else is claimed for it meanwhile"
    assert (transport.capacity, transport.fault, smtpd.connections) == (4, None, 1)


async def test_who_learns_while_asking_that_all_is_well_goes_on(transport):
    async def ask(transport: Transport) -> bool:
        transport.adopt(None)
        return False

    transport.ask_probe = ask
    transport.adopt(DOWN)
    assert accepted(await transport.send(message()))


async def test_a_success_that_began_before_the_pause_does_not_end_it(transport, smtpd):
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(_: str) -> str | None:
        if held.is_set():
            return "454 Throttling failure: Maximum sending rate exceeded"
        held.set()
        await go.wait()
        return None

    smtpd.faults["dot"] = hold
    first = asyncio.create_task(transport.send(message(1)))
    await held.wait()
    assert (await transport.send(message(2))).fault
    go.set()
    assert accepted(await first)
    assert transport.paused_for > 0


async def test_a_pause_by_hand_lets_what_is_in_flight_finish_and_outlives_it(transport, smtpd, clock):
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(_: str) -> None:
        held.set()
        await go.wait()

    changes: list[Transport] = []
    transport.on_change = changes.append
    smtpd.faults["dot"] = hold
    first = asyncio.create_task(transport.send(message(1)))
    await held.wait()
    transport.adopt(BY_HAND)
    go.set()
    assert accepted(await first)
    clock.now += 1e6
    report = await transport.send(message(2))
    assert (transport.capacity, transport.paused_for) == (0, float("inf"))
    assert report.fault
    assert report.fault.reason == BY_HAND.reason
    assert changes == [], "what was adopted is no news to tell"
    transport.adopt(None)
    assert transport.capacity == 4
    assert accepted(await transport.send(message(2)))


async def test_who_waits_for_a_connection_is_sent_back_when_a_pause_is_adopted(transport, smtpd):
    held, go = asyncio.Semaphore(0), asyncio.Event()

    async def hold(_: str) -> None:
        held.release()
        await go.wait()

    smtpd.faults["dot"] = hold
    sending = [asyncio.create_task(transport.send(message(number))) for number in range(10)]
    for _ in range(4):
        await held.acquire()
    begun = 4 * transport.depth
    transport.adopt(BY_HAND)
    go.set()
    reports = [await task for task in sending]
    assert sum(accepted(report) for report in reports) == begun
    assert sum(report.fault is not None and not report.outcomes for report in reports) == 10 - begun


@pytest.mark.smtpd(size=10)
async def test_a_probe_that_learned_nothing_gives_its_turn_back(transport):
    told = []

    async def ask(_transport: Transport) -> bool:
        return True

    transport.ask_probe = ask
    transport.adopt(DOWN)
    transport.on_change = lambda changed: told.append(changed.probing)
    report = await transport.send(message())
    assert [outcome.reply for outcome in report.outcomes.values()] == [None], "too large, as the EHLO said"
    assert told == [False], "so that the next can probe before the window is over"
    assert (transport.capacity, transport.fault and transport.fault.reason) == (1, DOWN.reason)


@pytest.mark.smtpd(mail="421 4.7.0 too many messages")
async def test_who_is_only_told_of_a_fault_is_not_the_one_it_is_about(transport):
    assert (first := await transport.send(message(1))).fault
    assert first.fault.about_message
    assert (second := await transport.send(message(2))).fault
    assert not second.fault.about_message
