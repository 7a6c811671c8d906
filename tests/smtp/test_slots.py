"""Fewer connections when a server complains about their number, more when it has been content for a while."""

import asyncio
import random

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Report
from outbox.settings import TransportSettings
from outbox.smtp.slots import RECOVERY, Slots
from outbox.smtp.transport import Transport

MESSAGE = Message("shop@example.com", ("ada@example.org",), b"Subject: Hi\r\n\r\nhello\r\n")
CROWDED = "432 4.3.2 Concurrent connections limit exceeded"


@pytest.fixture
async def transport(smtpd, clock):
    settings = TransportSettings(url=smtpd.url, max_connections=4)
    transport = Transport("main", settings, clock=clock, random=random.Random(1))
    yield transport
    await transport.close()


def accepted(report: Report) -> bool:
    return [o.kind.value for o in report.outcomes.values()] == ["accepted"]


def test_there_is_always_one_slot_and_never_more_than_configured(clock):
    slots = Slots(2, clock)
    assert slots.fewer()
    assert not slots.fewer()
    assert slots.count == 1
    for _ in range(5):
        clock.now += RECOVERY
        slots.succeeded()
    assert slots.count == 2


def test_a_slot_comes_back_after_time_and_a_cohort_of_successes(clock):
    slots = Slots(5, clock)
    slots.fewer()
    slots.fewer()
    assert not any(slots.succeeded() for _ in range(100)), "no time has passed"
    clock.now += RECOVERY
    assert slots.succeeded()
    assert slots.count == 4
    clock.now += RECOVERY
    assert [slots.succeeded() for _ in range(4)] == [False, False, False, True]
    clock.now += RECOVERY - 1
    slots.fewer()
    clock.now += 1
    assert not slots.succeeded(), "the complaint counts from when it was made"


@pytest.fixture
def limit(smtpd):
    """A server that takes so many connections more and greets the others with `reply`."""

    def limit(more: int, reply: str) -> None:
        smtpd.faults["greeting"] = [None] * more + [reply] * 20

    return limit


@pytest.mark.parametrize("reply", ["421 4.7.0 Too many connections", "451 4.3.0 come back", "drop"])
async def test_connections_that_are_too_many_go_one_by_one_and_nothing_pauses(transport, smtpd, limit, reply):
    assert accepted(await transport.send(MESSAGE))  # one connection lives
    limit(1, reply)
    reports = await asyncio.gather(*(transport.send(MESSAGE) for _ in range(12)))
    assert all(accepted(report) for report in reports)
    assert (transport.paused_for, transport.fault) == (0, None)
    assert transport.capacity == 2


async def test_more_connections_are_tried_again_slowly(transport, smtpd, clock, limit):
    await transport.send(MESSAGE)
    limit(1, "421 4.7.0 Too many connections")
    await asyncio.gather(*(transport.send(MESSAGE) for _ in range(12)))
    smtpd.faults.clear()
    clock.now += RECOVERY
    for _ in range(2):
        assert accepted(await transport.send(MESSAGE))
    assert transport.capacity == 3


@pytest.mark.smtpd(greeting="421 4.7.0 Too many connections")
async def test_where_no_connection_lives_the_transport_pauses_and_keeps_its_slots(transport, smtpd, clock):
    report = await transport.send(MESSAGE)
    assert report.fault
    assert transport.capacity == 0
    smtpd.faults.clear()
    clock.now += 2
    assert accepted(await transport.send(MESSAGE))
    assert transport.capacity == 4


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_limit_told_in_a_transaction_costs_one_slot_and_the_message_goes_by_another(transport, smtpd, stage):
    held, go = asyncio.Event(), asyncio.Event()

    async def hold(_: str) -> None:
        held.set()
        await go.wait()

    smtpd.faults["dot"] = hold
    first = asyncio.create_task(transport.send(MESSAGE))
    await held.wait()
    smtpd.faults = {stage: [CROWDED]}
    second = await transport.send(MESSAGE)
    go.set()
    assert accepted(second)
    assert accepted(await first)
    assert (transport.capacity, transport.fault) == (3, None)


@pytest.mark.smtpd(mail=CROWDED)
async def test_a_limit_of_the_account_pauses_where_there_is_no_other_connection(transport):
    report = await transport.send(MESSAGE)
    assert not report.outcomes
    assert report.fault
    assert CROWDED in report.fault.reason
    assert transport.capacity == 0


@pytest.mark.smtpd(mail=["452 4.3.1 Insufficient system storage"])
async def test_a_server_that_is_busy_gets_fewer_connections_and_the_message_waits(transport):
    report = await transport.send(MESSAGE)
    assert [o.kind.value for o in report.outcomes.values()] == ["deferred"]
    assert (transport.capacity, transport.fault) == (3, None)


@pytest.mark.smtpd(dot=["454 Throttling failure: Maximum sending rate exceeded"])
async def test_sending_too_fast_pauses_and_costs_a_slot(transport, clock):
    await transport.send(MESSAGE)
    assert transport.capacity == 0
    clock.now += 2
    assert accepted(await transport.send(MESSAGE))
    assert transport.capacity == 3
