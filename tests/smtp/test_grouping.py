"""Commands in groups (RFC 2920): fewer round trips, the same outcomes, and a way back where a server cannot do it."""

import asyncio
import logging
import random

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Report
from outbox.settings import TransportSettings
from outbox.smtp.connection import Features
from outbox.smtp.grouping import DISTRUST, Grouping
from outbox.smtp.transport import Transport
from tests.fixtures.scripted_smtpd import DATA, DOT, HELLO, MAIL, QUIT, RCPT, RSET, drop, silence
from tests.fixtures.smtpd import Smtpd
from tests.smtp.loops import both_loops, run

MAIL_OK, RCPT_OK, DATA_OK, DOT_OK = MAIL[1], RCPT[1], DATA[1], DOT[1]
ONE = [MAIL, RCPT, DATA, DOT]
ANOTHER = [*HELLO, *ONE, QUIT]
"""A connection for one message. One that has to begin again does so on a connection that has carried nothing."""
NAMES = ("ada", "bob", "cy")
AT_ONCE = {"mail": 0.2, "rcpt": 0.2, "data": 0.2, "command": 0.2}


@pytest.fixture
def pipelining():
    """All servers here offer it."""
    return True


def to(*names: str) -> Message:
    return Message("shop@example.com", tuple(f"{name}@example.org" for name in names), b"Subject: Hi\r\n\r\nhello\r\n")


def told(report: Report) -> list[str]:
    assert report.fault is None
    return [f"{r.partition('@')[0]} {o.kind}" for r, o in report.outcomes.items()]


@pytest.fixture
async def make(clock):
    """Makes transports of one connection, and closes them."""
    transports: list[Transport] = []

    def make(server, **settings) -> Transport:
        settings = {"url": server.url, "max_connections": 1, **settings}
        transports.append(Transport("main", TransportSettings(**settings), clock=clock, random=random.Random(1)))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.close()


async def send_all(transport: Transport, *names: str) -> list[list[str]]:
    """What came of a message to each of `names`, all sent at once."""
    return [told(report) for report in await asyncio.gather(*(transport.send(to(name)) for name in names))]


def accepted(*names: str) -> list[list[str]]:
    return [[f"{name} accepted"] for name in names]


async def test_mail_rcpt_and_data_leave_before_any_of_them_is_answered(make, scripted_smtpd):
    answers = MAIL_OK + RCPT_OK + RCPT_OK + DATA_OK
    scripted_smtpd.play(
        [*HELLO, (b"MAIL", silence), (b"RCPT", silence), (b"RCPT", silence), (b"DATA", answers), DOT, QUIT]
    )
    assert told(await make(scripted_smtpd).send(to("ada", "bob"))) == ["ada accepted", "bob accepted"]


async def test_the_next_message_begins_before_the_final_dot_is_answered(make, scripted_smtpd):
    behind = [(b".", silence), (b"MAIL", silence), (b"RCPT", silence)]
    then = (b"DATA", DOT_OK + MAIL_OK + RCPT_OK + DATA_OK)
    scripted_smtpd.play([*HELLO, *ONE[:3], *behind, then, *behind, then, DOT, QUIT])
    assert await send_all(make(scripted_smtpd), *NAMES) == accepted(*NAMES)


async def test_what_nobody_waits_for_is_not_waited_for(make, scripted_smtpd):
    scripted_smtpd.play([*HELLO, *ONE, *ONE, QUIT])
    transport = make(scripted_smtpd)
    assert await send_all(transport, "ada") == accepted("ada")
    assert await send_all(transport, "bob") == accepted("bob")


async def test_one_connection_carries_as_many_messages_as_it_may_and_no_more(make, smtpd):
    transport = make(smtpd, messages_per_connection=2)
    assert await send_all(transport, *NAMES) == accepted(*NAMES)
    assert smtpd.connections == 2


async def test_a_refusal_in_a_group_is_the_recipients_own(make, smtpd):
    smtpd.faults["rcpt"] = {"bob@example.org": "550 5.1.1 no such user"}
    transport = make(smtpd)
    reports = await asyncio.gather(
        transport.send(to("ada", "bob")), transport.send(to("bob")), transport.send(to("cy"))
    )
    assert [told(report) for report in reports] == [["bob refused", "ada accepted"], ["bob refused"], ["cy accepted"]]
    assert smtpd.connections == 1


async def test_the_answer_to_a_dot_that_is_lost_leaves_only_its_own_message_in_doubt(make, scripted_smtpd):
    lost = [(b".", silence), (b"MAIL", silence), (b"RCPT", silence), (b"DATA", drop)]
    scripted_smtpd.play([*HELLO, *ONE[:3], *lost], ANOTHER, ANOTHER)
    assert await send_all(make(scripted_smtpd), *NAMES) == [["ada in_doubt"], ["bob accepted"], ["cy accepted"]]


async def test_a_dot_that_is_not_answered_in_time_is_no_fault_of_the_message_behind_it(make, scripted_smtpd):
    silent = [(b".", silence), (b"MAIL", silence), (b"RCPT", silence), (b"DATA", silence)]
    scripted_smtpd.play([*HELLO, *ONE[:3], *silent], [*HELLO, *ONE, QUIT])
    transport = make(scripted_smtpd, timeouts={"dot": 0.2})
    assert await send_all(transport, "ada", "bob") == [["ada in_doubt"], ["bob accepted"]]


async def test_a_server_that_goes_on_after_refusing_everybody_gets_no_message(make, scripted_smtpd):
    refused = (b"RCPT", b"550 5.1.1 no such user\r\n")
    scripted_smtpd.play([*HELLO, MAIL, refused, DATA], [*HELLO, *ONE, QUIT])
    transport = make(scripted_smtpd)
    assert await send_all(transport, "ada", "bob") == [["ada refused"], ["bob accepted"]]
    assert [line for line in scripted_smtpd.lines if line.startswith(b".")] == []


async def test_parameters_that_are_not_liked_are_left_out_of_the_next_group(make, scripted_smtpd):
    group = [(b"MAIL", b"555 5.5.4 no SIZE please\r\n"), (b"RCPT", b"503 MAIL first\r\n"), (b"DATA", b"503 no\r\n")]
    scripted_smtpd.play([*HELLO, *group, (b"MAIL FROM:<shop@example.com>\r\n", MAIL_OK), *ONE[1:], QUIT])
    assert await send_all(make(scripted_smtpd), "ada") == accepted("ada")


OFFENDED = {
    "out of sequence": (b"RCPT", b"503 5.5.1 one at a time\r\n"),
    "by name": (b"RCPT", b"554 5.5.0 Error: improper use of SMTP command pipelining\r\n"),
    "synchronisation": (b"MAIL", b"554 SMTP synchronization error\r\n"),
    "gone": (b"RCPT", drop),
}


@pytest.mark.parametrize("step", OFFENDED.values(), ids=OFFENDED.keys())
async def test_a_server_that_minds_groups_is_given_one_command_at_a_time(make, scripted_smtpd, caplog, step):
    before = [] if step[0] == b"MAIL" else [MAIL]
    scripted_smtpd.play([*HELLO, *before, step], ANOTHER, ANOTHER)
    transport = make(scripted_smtpd)
    with caplog.at_level(logging.WARNING):
        assert await send_all(transport, "ada", "bob") == accepted("ada", "bob")
    assert "does not cope" in caplog.text
    assert transport.depth == 1


@pytest.mark.parametrize("answered", [MAIL, (b"MAIL", b"450 4.7.1 later\r\n")], ids=["accepted", "deferred"])
async def test_a_server_that_forgets_what_came_with_a_command_is_given_one_at_a_time(make, scripted_smtpd, answered):
    async def forget(peer):
        await peer.reader.readuntil(b"DATA\r\n")

    scripted_smtpd.play([*HELLO, answered, (None, forget)], [*HELLO, *ONE, *ONE, QUIT])
    transport = make(scripted_smtpd, timeouts=AT_ONCE)
    assert await send_all(transport, *NAMES) == [["ada deferred"], ["bob accepted"], ["cy accepted"]]
    assert transport.depth == 1


async def test_a_server_that_forgets_what_came_behind_a_dot_harms_nobody(make, scripted_smtpd):
    async def forget(peer):
        await peer.reader.readuntil(b"DATA\r\n")
        await peer.say(DOT_OK)

    scripted_smtpd.play([*HELLO, *ONE[:3], (b".", silence), (None, forget)], ANOTHER, ANOTHER)
    transport = make(scripted_smtpd, timeouts=AT_ONCE)
    assert await send_all(transport, *NAMES) == accepted(*NAMES)
    assert transport.depth == 1


@pytest.mark.parametrize("answer", [silence, drop], ids=["silent", "gone"])
async def test_a_server_that_fails_at_a_dot_with_more_behind_it_is_given_one_command_at_a_time(
    make, scripted_smtpd, answer
):
    scripted_smtpd.play([*HELLO, *ONE[:3], (b".", answer)], [*HELLO, *ONE, QUIT], [*HELLO, *ONE, QUIT])
    transport = make(scripted_smtpd, timeouts={"dot": 0.2})
    assert await send_all(transport, *NAMES) == [["ada in_doubt"], ["bob accepted"], ["cy accepted"]]
    assert transport.depth == 1


async def test_an_answer_that_is_lost_with_nothing_behind_the_dot_says_nothing_about_groups(make, scripted_smtpd):
    scripted_smtpd.play([*HELLO, *ONE[:3], (b".", drop)])
    transport = make(scripted_smtpd)
    assert await send_all(transport, "ada") == [["ada in_doubt"]]
    assert transport.depth == 2


async def test_a_server_that_has_shown_that_it_copes_is_trusted_whatever_happens_later(make, scripted_smtpd):
    scripted_smtpd.play([*HELLO, *ONE, *ONE, MAIL, (b"RCPT", drop)], [*HELLO, *ONE, QUIT])
    transport = make(scripted_smtpd)
    assert await send_all(transport, *NAMES) == accepted(*NAMES)
    assert transport.depth == 2


async def test_replies_that_do_not_follow_from_each_other_count_for_nobody(make, scripted_smtpd):
    shifted = [(b"MAIL", b"550 5.1.0 of an earlier one\r\n"), (b"RCPT", MAIL_OK), (b"DATA", RCPT_OK)]
    scripted_smtpd.play([*HELLO, *shifted], [*HELLO, *ONE, QUIT])
    assert await send_all(make(scripted_smtpd), "ada") == accepted("ada")


async def test_a_refusal_counts_only_once_the_server_is_seen_to_be_in_step(make, scripted_smtpd):
    late = [MAIL, RCPT, (b"DATA", b"550 5.7.1 of an earlier one\r\n"), (b"RSET", DATA_OK)]
    scripted_smtpd.play([*HELLO, *late], [*HELLO, *ONE, QUIT])
    assert await send_all(make(scripted_smtpd), "ada") == accepted("ada")
    refused = [MAIL, RCPT, (b"DATA", b"550 5.7.1 no\r\n"), RSET]
    scripted_smtpd.play([*HELLO, *refused, *ONE, QUIT])
    assert await send_all(make(scripted_smtpd), "ada", "bob") == [["ada refused"], ["bob accepted"]]


def test_distrust_ends_after_an_hour(clock):
    offering, not_offering = Features(pipelining=True), Features()
    grouping = Grouping(clock)
    assert (grouping.allows(not_offering), grouping.allows(offering), grouping.depth) == (False, True, 2)
    assert grouping.failed()
    assert not grouping.failed(), "no news"
    assert (grouping.allows(offering), grouping.depth) == (False, 1)
    clock.now += DISTRUST
    assert grouping.allows(offering)


@both_loops
@pytest.mark.parametrize("tls", [None, "starttls", "implicit"])
def test_groups_are_sent_on_both_loops_with_and_without_tls(loop_factory, server_context, ca_file, tls):
    async def test():
        async with Smtpd(server_context, tls=tls, offer=("PIPELINING",)) as server:
            transport = Transport("main", TransportSettings(url=server.url, ca_file=ca_file, max_connections=2))
            names = [f"r{number}" for number in range(30)]
            assert await send_all(transport, *names) == accepted(*names)
            assert (len(server.messages), server.connections, transport.depth) == (30, 2, 2)
            await transport.close()

    run(loop_factory, test())
