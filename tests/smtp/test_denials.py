"""A relay that denies: one message's fault, or the configuration's? And what the queue is spared."""

import random

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Report, Scope
from outbox.settings import TransportSettings
from outbox.smtp.transport import Transport

RELAY = "554 5.7.1 <ada@example.org>: Relay access denied"
SENDER = "553 5.7.1 Sender address rejected: not owned by user"


@pytest.fixture
async def transport(smtpd, clock):
    transport = Transport("main", TransportSettings(url=smtpd.url), clock=clock, random=random.Random(1))
    yield transport
    await transport.close()


def message(number: int, *recipients: str, sender: str = "shop@example.com") -> Message:
    return Message(sender, recipients or ("ada@example.org",), f"Subject: {number}\r\n\r\nhello\r\n".encode())


def kinds(report: Report) -> list[str]:
    return [outcome.kind.value for outcome in report.outcomes.values()]


DENIED = pytest.mark.parametrize("fault", [{"rcpt": RELAY}, {"mail": SENDER}], ids=["relay", "sender"])


@DENIED
async def test_a_single_message_is_tried_again_and_fails_at_its_third_attempt(transport, smtpd, fault):
    smtpd.faults = fault
    for attempt in (1, 2):
        report = await transport.send(message(1), attempt=attempt)
        assert (kinds(report), report.fault) == (["deferred"], None)
        [outcome] = report.outcomes.values()
        assert str(outcome) == (
            f"{next(iter(fault.values()))} — it may be the configuration that is refused, so this is tried again"
        )
    report = await transport.send(message(1), attempt=3)
    assert (kinds(report), report.fault, transport.fault) == (["refused"], None, None)


@DENIED
async def test_three_messages_in_a_row_are_the_configurations_fault(transport, smtpd, fault, caplog):
    smtpd.faults = fault
    for number in (1, 2):
        assert kinds(await transport.send(message(number))) == ["deferred"]
    report = await transport.send(message(3), attempt=9)
    assert kinds(report) == []
    assert report.fault
    assert (report.fault.scope, report.fault.about_message) == (Scope.CONFIG, True)
    reply = next(iter(fault.values()))
    assert report.fault.reason == f"127.0.0.1:{smtpd.port}: every email is denied: {reply}"
    assert transport.paused_for >= 240
    [logged] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "main needs you" in logged.message
    assert "`outbox check`" in logged.message


async def test_a_success_in_between_starts_the_count_anew(transport, smtpd):
    for number in range(6):
        smtpd.faults = {"mail": {"bad@example.com": SENDER}}
        sender = "shop@example.com" if number % 3 == 2 else "bad@example.com"
        expected = "accepted" if number % 3 == 2 else "deferred"
        assert kinds(await transport.send(message(number, sender=sender))) == [expected]
    assert transport.fault is None


@pytest.mark.smtpd(mail=SENDER)
async def test_on_probation_a_denial_costs_nothing_and_a_success_ends_it(transport, smtpd, clock):
    for number in (1, 2, 3):
        await transport.send(message(number))
    clock.now += transport.paused_for
    report = await transport.send(message(4), attempt=7)
    assert kinds(report) == []
    assert report.fault
    assert report.fault.about_message
    assert transport.paused_for >= 480
    clock.now += transport.paused_for
    smtpd.faults = {}
    assert kinds(await transport.send(message(5))) == ["accepted"]
    assert (transport.fault, transport.capacity) == (None, 10)


async def test_after_an_outage_the_denial_of_the_probe_is_no_fault_of_the_transport(transport, smtpd, clock):
    smtpd.faults = {"greeting": ["421 4.3.2 down"], "mail": [SENDER]}
    await transport.send(message(1))
    clock.now += 2
    report = await transport.send(message(1))
    assert (kinds(report), report.fault, transport.fault) == (["deferred"], None, None)


@pytest.mark.smtpd(rcpt={"ada@example.org": RELAY})
async def test_where_somebody_is_accepted_the_denied_one_is_refused(transport):
    for number in range(4):
        report = await transport.send(message(number, "ada@example.org", "bob@example.org"))
        assert kinds(report) == ["refused", "accepted"]
    assert transport.fault is None


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user")
async def test_unknown_recipients_are_no_denial_however_many(transport):
    for number in range(5):
        assert kinds(await transport.send(message(number))) == ["refused"]
    assert transport.fault is None
