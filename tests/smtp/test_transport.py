"""Whole messages over a transport: transactions, fresh connections, pauses, and the end."""

import asyncio
import random

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Fault, Kind, Report, Scope
from outbox.settings import TransportSettings
from outbox.smtp.transport import Transport
from tests.fixtures.scripted_smtpd import DATA, DOT, HELLO, MAIL, QUIT, RCPT, drop, silence

ADA, BOB, CY = "ada@example.org", "bob@example.org", "cy@example.org"
MESSAGE = Message("shop@example.com", (ADA, BOB, CY), b"Subject: Hi\r\n\r\nhello\r\n")
TO_ADA = Message("shop@example.com", (ADA,), b"Subject: Hi\r\n\r\nhello\r\n")


@pytest.fixture
async def make(clock):
    """Makes transports, and closes them."""
    transports: list[Transport] = []

    def make(server, **settings) -> Transport:
        settings = {"url": server.url, **settings}
        transports.append(Transport("main", TransportSettings(**settings), clock=clock, random=random.Random(1)))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.close()


def kinds(report: Report) -> dict[str, str]:
    return {recipient: outcome.kind.value for recipient, outcome in report.outcomes.items()}


async def test_messages_share_a_connection(make, smtpd):
    transport = make(smtpd)
    for _ in range(3):
        report = await transport.send(MESSAGE)
        assert set(kinds(report).values()) == {"accepted"}
        assert report.fault is None
    assert (smtpd.connections, len(smtpd.messages)) == (1, 3)


async def test_many_messages_at_once_use_no_more_connections_than_allowed(make, smtpd):
    transport = make(smtpd, max_connections=3)
    await asyncio.gather(*(transport.send(TO_ADA) for _ in range(20)))
    assert len(smtpd.messages) == 20
    assert smtpd.connections <= 3


async def test_more_recipients_than_fit_into_a_transaction_take_several(make, smtpd):
    report = await make(smtpd, max_recipients=2).send(MESSAGE)
    assert set(kinds(report).values()) == {"accepted"}
    assert [received.recipients for received in smtpd.messages] == [[ADA, BOB], [CY]]


@pytest.mark.smtpd(rcpt=[None, "452 4.5.3 too many", "452 4.5.3 too many"])
async def test_recipients_that_were_too_many_follow_at_once(make, smtpd):
    report = await make(smtpd).send(MESSAGE)
    assert set(kinds(report).values()) == {"accepted"}
    assert [received.recipients for received in smtpd.messages] == [[ADA], [BOB], [CY]]


@pytest.mark.smtpd(smtputf8=True)
async def test_who_needs_no_smtputf8_is_not_sent_any(make, smtpd):
    content = "Subject: ö\r\n\r\nhello\r\n".encode()
    await make(smtpd).send(Message("shop@example.com", (ADA, "jörg@example.org"), MESSAGE.content, content))
    assert [r.recipients for r in smtpd.messages] == [[ADA], ["jörg@example.org"]]
    assert [r.content for r in smtpd.messages] == [MESSAGE.content, content]


async def test_a_stale_connection_is_replaced_and_nobody_notices(make, scripted_smtpd):
    once = [*HELLO, MAIL, RCPT, DATA, DOT]
    scripted_smtpd.play([*once, (b"MAIL", b"451 4.4.2 Timeout waiting for data\r\n")], [*once, QUIT])
    transport = make(scripted_smtpd)
    for _ in range(2):
        report = await transport.send(TO_ADA)
        assert (kinds(report), report.fault) == ({ADA: "accepted"}, None)


async def test_nobody_is_sent_a_message_twice_because_another_was_refused_before_the_loss(make, scripted_smtpd):
    refused = (b"RCPT TO:<ada", b"550 5.1.1 no\r\n")
    scripted_smtpd.play(
        [*HELLO, MAIL, refused, RCPT, (b"RCPT", drop)],
        [*HELLO, MAIL, (b"RCPT TO:<bob", b"250 ok\r\n"), (b"RCPT TO:<cy", b"250 ok\r\n"), DATA, DOT, QUIT],
    )
    report = await make(scripted_smtpd).send(MESSAGE)
    assert kinds(report) == {ADA: "refused", BOB: "accepted", CY: "accepted"}


async def test_fresh_connections_for_one_message_are_bounded(make, scripted_smtpd):
    scripted_smtpd.play(*[[*HELLO, (b"MAIL", drop)] for _ in range(5)])
    report = await make(scripted_smtpd).send(TO_ADA)
    assert (kinds(report), report.fault) == ({ADA: "deferred"}, None)
    assert len(scripted_smtpd.scripts) == 3


async def test_in_doubt_is_not_tried_again_at_once(make, scripted_smtpd):
    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, (b".", drop)])
    report = await make(scripted_smtpd).send(TO_ADA)
    assert (kinds(report), report.fault) == ({ADA: "in_doubt"}, None)


@pytest.mark.smtpd(greeting=["421 4.7.0 busy", None])
async def test_a_fault_pauses_the_transport_until_a_probe_succeeds(make, smtpd, clock):
    changes: list[tuple[int, str | None]] = []
    transport = make(smtpd, max_connections=4)
    transport.on_change = lambda changed: changes.append((changed.capacity, changed.reason))
    assert transport.capacity == 4

    report = await transport.send(TO_ADA)
    reason = f"127.0.0.1:{smtpd.port}: greeting: 421 4.7.0 busy"
    assert report == Report(fault=Fault(Scope.PAUSE, reason, wait=transport.paused_for, fewer=True, crowded=True))
    assert (transport.capacity, transport.reason) == (0, reason)
    assert 0.8 <= transport.paused_for <= 1.2

    report = await transport.send(TO_ADA)
    assert report.fault
    assert report.fault.reason == reason
    assert smtpd.connections == 1

    clock.now += 2
    assert (transport.paused_for, transport.capacity) == (0, 1)
    report = await transport.send(TO_ADA)
    assert kinds(report) == {ADA: "accepted"}
    assert (transport.capacity, transport.reason) == (4, None)
    assert changes == [(0, reason), (4, None)]


async def test_while_probing_one_connection_opens_and_its_failure_answers_everyone(make, smtpd, clock):
    smtpd.faults["greeting"] = "421 4.7.0 busy"
    transport = make(smtpd)
    await transport.send(TO_ADA)
    clock.now += 2
    reports = await asyncio.gather(*(transport.send(TO_ADA) for _ in range(5)))
    assert all(report.fault and not report.outcomes for report in reports)
    assert smtpd.connections == 2


async def test_a_probe_that_fails_under_way_lets_nobody_else_try(make, smtpd, clock):
    smtpd.faults["mail"] = "421 4.7.0 busy"
    transport = make(smtpd)
    await transport.send(TO_ADA)
    clock.now += 2
    reports = await asyncio.gather(*(transport.send(TO_ADA) for _ in range(5)))
    assert all(report.fault and not report.outcomes for report in reports)
    assert smtpd.connections == 2


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user")
async def test_a_refused_recipient_says_nothing_about_the_transport(make, smtpd):
    transport = make(smtpd)
    report = await transport.send(TO_ADA)
    assert (kinds(report), report.fault, transport.paused_for) == ({ADA: "refused"}, None, 0)


@pytest.mark.smtpd(dot="454 Throttling failure: Maximum sending rate exceeded, retry in 90 seconds")
async def test_throttling_pauses_for_as_long_as_the_server_asks(make, smtpd):
    transport = make(smtpd)
    report = await transport.send(TO_ADA)
    assert not report.outcomes
    assert transport.paused_for == pytest.approx(90)


@pytest.mark.smtpd(auth=("ada", "secret"))
async def test_a_wrong_password_waits_for_a_person_and_is_not_shown(make, smtpd):
    transport = make(smtpd, url=smtpd.url.replace("secret", "wr0ng"))
    report = await transport.send(TO_ADA)
    assert report.fault
    assert report.fault.scope is Scope.CONFIG
    assert report.fault.reason == f"127.0.0.1:{smtpd.port}: AUTH: 535 5.7.8 Authentication credentials invalid"
    assert transport.paused_for >= 240
    assert "wr0ng" not in repr(transport) + str(report)


@pytest.mark.smtpd(tls="starttls", auth=("ada", "secret"), size=1000, offer=("PIPELINING",))
async def test_a_check_tells_what_it_found(make, smtpd, ca_file):
    assert await make(smtpd, ca_file=ca_file).check() == "TLSv1.3, logged in as ada, SIZE 1000, PIPELINING"
    assert not any(command.startswith("MAIL") for command in smtpd.commands)


@pytest.mark.smtpd(ehlo="550 5.7.1 who are you?", helo="550 5.7.1 who are you?")
async def test_a_check_tells_what_is_wrong(make, smtpd):
    found = await make(smtpd).check()
    assert isinstance(found, Fault)
    assert found.scope is Scope.CONFIG


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_a_token_comes_from_a_function(make, smtpd):
    async def token() -> str:
        return "good"

    report = await make(smtpd, url=smtpd.url.replace("//", "//ada@"), oauth_token=token).send(TO_ADA)
    assert kinds(report) == {ADA: "accepted"}


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_a_token_comes_from_a_command(make, smtpd):
    transport = make(smtpd, url=smtpd.url.replace("//", "//ada@"), oauth_command=("echo", "good"))
    assert kinds(await transport.send(TO_ADA)) == {ADA: "accepted"}


async def test_a_lost_lease_is_no_fault_of_the_transport(make, smtpd):
    transport = make(smtpd)
    report = await transport.send(TO_ADA, still_owned=lambda: False)
    assert report.fault
    assert report.fault.scope is Scope.STOPPING
    assert transport.paused_for == 0


@pytest.mark.parametrize(("until", "doubtful"), [(1, False), (2, False), (4, False), (5, True)])
async def test_abort_ends_every_send_as_not_tried_or_in_doubt(make, scripted_smtpd, until, doubtful):
    whole = [*HELLO, MAIL, RCPT, DATA, DOT]
    scripted_smtpd.play([*whole[:until], (whole[until][0], silence)])
    transport = make(scripted_smtpd, max_connections=1)
    sending = [asyncio.create_task(transport.send(TO_ADA)) for _ in range(2)]
    await scripted_smtpd.until(lambda: len(scripted_smtpd.lines) == until)
    transport.abort()
    first, second = [await task for task in sending]
    if doubtful:
        assert {o.kind for o in first.outcomes.values()} == {Kind.IN_DOUBT}
    else:
        assert not first.outcomes
        assert first.fault
        assert first.fault.scope is Scope.STOPPING
    assert not second.outcomes
    assert second.fault
    assert second.fault.scope is Scope.STOPPING
    assert transport.capacity == 0
    assert transport.paused_for == 0


async def test_a_closed_transport_sends_nothing(make, smtpd):
    transport = make(smtpd)
    await transport.send(TO_ADA)
    await transport.close()
    assert smtpd.commands[-1] == "QUIT"
    report = await transport.send(TO_ADA)
    assert report.fault
    assert report.fault.scope is Scope.STOPPING
    assert smtpd.connections == 1


async def test_a_cancelled_send_frees_its_connection(make, scripted_smtpd):
    scripted_smtpd.play([*HELLO, (b"MAIL", silence)], [*HELLO, MAIL, RCPT, DATA, DOT, QUIT])
    transport = make(scripted_smtpd, max_connections=1)
    sending = asyncio.create_task(transport.send(TO_ADA))
    await scripted_smtpd.until(lambda: len(scripted_smtpd.lines) == 2)
    sending.cancel()
    await asyncio.wait([sending])
    assert kinds(await transport.send(TO_ADA)) == {ADA: "accepted"}
