"""Rows 17 to 21, 27, 28, 45, 46, 48 and 49 of the classification of SMTP failures: connections that end."""

import asyncio

import pytest

from outbox.daemon import Poller
from outbox.smtp.transport import Transport
from tests.fixtures.aftermath import DEFERRED, FAILED, IN_DOUBT, PARTIAL, SENT, UNTRIED, Left, copies
from tests.fixtures.hold import Hold
from tests.fixtures.scripted_smtpd import DATA, DOT, HELLO, MAIL, QUIT, RCPT, drop, half_close

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

ONE = [MAIL, RCPT, DATA, DOT]
"""A message to one recipient."""

ADA = Left(*SENT, ["1 ada accepted 250 2.0.0"])
BEHIND = Left(*SENT, ["1 behind accepted 250 2.0.0"])


@pytest.fixture
def in_turn(monkeypatch):
    """An email begins when the one before it is done, also where it could begin behind its dot, so that it is known
    which one meets the fault."""
    monkeypatch.setattr(Transport, "depth", 1)


async def two(queue, to="ada@example.org", **settings):
    """What is left of an email and of another one behind it."""
    ids = [await queue.add(to_addrs=to), await queue.add(to_addrs="behind@example.org")]
    await queue.drain(**settings)
    return [await queue.left(id) for id in ids]


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
async def test_row_17_a_server_that_wants_a_login_or_tls_first_needs_a_person(queue, smtpd, stage):
    smtpd.faults[stage] = "530 5.7.0 authentication required"
    assert await two(queue) == [Left(*UNTRIED), Left(*UNTRIED)]
    assert await queue.pause() == ("config", f"{stage.upper()}: 530 5.7.0 authentication required")
    assert (smtpd.connections, copies(smtpd)) == (1, [])


async def test_row_18_an_idle_connection_that_the_server_closed_is_replaced_without_a_word(queue, smtpd):
    async with Poller(queue.settings()):
        first = await queue.add()
        await queue.final(first)
        for session in tuple(smtpd.sessions):
            session.drop()
        await smtpd.until(lambda: not smtpd.sessions)
        second = await queue.add(to_addrs="behind@example.org")
        await queue.final(second)
    assert [await queue.left(first), await queue.left(second)] == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["ada", "behind"])


@pytest.mark.parametrize(
    "end",
    [drop, half_close, b"421 4.4.2 idle for too long\r\n", b"421 too many messages\r\n", b"451 4.4.2 Timeout\r\n"],
    ids=["reset", "end of file", "421 4.4.2", "421", "451 4.4.2"],
)
async def test_row_19_a_used_connection_that_ends_at_mail_is_replaced_at_once(queue, scripted_smtpd, end):
    scripted_smtpd.play([*HELLO, *ONE, (b"MAIL", end)], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert scripted_smtpd.connections == 2


async def test_row_19_a_used_connection_given_notice_while_idle_is_replaced_at_once(queue, scripted_smtpd):
    notice = (b".", b"250 2.0.0 queued\r\n421 4.4.2 idle\r\n")
    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, notice], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert scripted_smtpd.connections == 2


@pytest.mark.smtpd(mail=["421 4.3.2 busy"])
async def test_row_20_a_new_connection_turned_away_at_mail_pauses_the_transport(queue, smtpd):
    assert await two(queue) == [Left(*UNTRIED), Left(*UNTRIED)]
    assert await queue.pause() == ("pause", "MAIL: 421 4.3.2 busy")
    assert (smtpd.connections, copies(smtpd)) == (1, [])


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_row_20_a_new_connection_that_breaks_is_given_one_more_try_at_once(queue, smtpd, stage):
    smtpd.faults[stage] = ["drop"]
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["ada", "behind"])


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize(("stage", "name"), [("mail", "MAIL"), ("rcpt", "RCPT"), ("data", "DATA")])
async def test_row_20_a_message_whose_connections_break_twice_waits_for_its_next_attempt(queue, smtpd, stage, name):
    smtpd.faults[stage] = ["drop", "drop"]
    assert await two(queue) == [Left(*DEFERRED, ["1 ada deferred"]), BEHIND]
    assert (await queue.row(1)).last_error == f"ada@example.org: {name}: connection closed by the server"
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (3, ["behind"])


@pytest.fixture(params=["RCPT", "DATA"])
def closing(request, smtpd):
    """At this stage of a message to Ada, who is refused, and Bob the server says 421, once."""
    refused = {"ada@example.org": "550 5.1.1 no such user"}
    if request.param == "RCPT":
        smtpd.faults["rcpt"] = {**refused, "bob@example.org": ["421 4.3.2 closing"]}
    else:
        once = ["421 4.3.2 closing"]
        smtpd.faults = {"rcpt": refused, "data": lambda _: once.pop() if once and asked(smtpd, "bob") else None}
    return request.param


def asked(smtpd, who):
    """How often the server was asked for this recipient."""
    return smtpd.commands.count(f"RCPT TO:<{who}@example.org>")


async def test_row_21_a_421_on_a_new_connection_pauses_and_keeps_who_was_refused(queue, smtpd, closing):
    left = await two(queue, "ada@example.org, bob@example.org")
    assert left == [Left(*UNTRIED, ["1 ada refused 550 5.1.1"]), Left(*UNTRIED)]
    assert await queue.pause() == ("pause", f"{closing}: 421 4.3.2 closing")
    await queue.end_pause()
    await queue.drain()
    assert await queue.left(1) == Left(*PARTIAL, ["1 ada refused 550 5.1.1", "1 bob accepted 250 2.0.0"])
    assert sorted(copies(smtpd)) == ["behind", "bob"]


async def test_row_21_a_421_on_a_used_connection_continues_at_once_on_a_new_one(queue, smtpd, closing):
    first = await queue.add(to_addrs="first@example.org")
    second = await queue.add(to_addrs="ada@example.org, bob@example.org")
    await queue.drain()
    assert await queue.left(first) == Left(*SENT, ["1 first accepted 250 2.0.0"])
    assert await queue.left(second) == Left(*PARTIAL, ["1 ada refused 550 5.1.1", "1 bob accepted 250 2.0.0"])
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["first", "bob"])
    assert (asked(smtpd, "ada"), asked(smtpd, "bob")) == (1, 2), "who was refused is not asked again"


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_row_27_a_bad_sequence_of_commands_is_mended_by_a_new_connection(queue, smtpd, stage):
    smtpd.faults[stage] = ["503 5.5.1 bad sequence of commands"]
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["ada", "behind"])


@pytest.mark.usefixtures("in_turn")
@pytest.mark.smtpd(mail=["503 5.5.1 bad sequence"] * 3)
async def test_row_27_a_bad_sequence_on_three_connections_waits_for_the_next_attempt(queue, smtpd):
    assert await two(queue) == [Left(*DEFERRED, ["1 ada deferred 503 5.5.1"]), BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (4, ["behind"])


@pytest.mark.parametrize("reply", ["500", "501 5.5.4 syntax", "502 5.5.1 no", "504 5.5.4 no", "555 5.5.4 unsupported"])
async def test_row_28_refused_parameters_are_left_out_at_once_and_from_then_on(queue, smtpd, reply):
    smtpd.faults["mail"] = [reply]
    assert await two(queue) == [ADA, BEHIND]
    assert (smtpd.connections, copies(smtpd)) == (1, ["ada", "behind"])
    mails = [" SIZE=" in command for command in smtpd.commands if command.startswith("MAIL")]
    assert mails == [True, False, False]


@pytest.mark.smtpd(mail=["555 5.5.4 unsupported"] * 2)
async def test_row_28_a_message_refused_without_parameters_too_fails_alone(queue, smtpd):
    assert await two(queue) == [Left(*FAILED, ["1 ada refused 555 5.5.4"]), BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (1, ["behind"])


async def go_on_and_drop(peer):
    """354, and then the connection breaks when the content has begun to come."""
    await peer.say(b"354 go on\r\n")
    await peer.reader.readexactly(1)
    await drop(peer)


async def take_all(peer):
    """Read a message that is too large to be looked for its end again and again."""
    await peer.say(b"354 go on\r\n")
    end = b""
    while not end.endswith(b"\r\n.\r\n"):
        end = end[-5:] + await peer.reader.read(2**20)
    await peer.say(b"250 2.0.0 queued\r\n")


async def test_row_45_a_connection_lost_before_the_dot_left_costs_nothing(queue, scripted_smtpd, execute):
    scripted_smtpd.play(
        [*HELLO, MAIL, RCPT, (b"DATA", go_on_and_drop)], [*HELLO, MAIL, RCPT, (b"DATA", take_all), QUIT]
    )
    id = await queue.add()
    more_than_fits_into_the_buffers = {"id": id, "content": bytes(6 * 2**20)}
    attached = "INSERT INTO email_attachment (outbox_id, filename, content) VALUES (:id, 'large', :content)"
    await execute(attached, more_than_fits_into_the_buffers)
    await queue.drain()
    assert await queue.left(id) == ADA
    assert await queue.pause() is None
    assert scripted_smtpd.connections == 2


@pytest.mark.smtpd(dot=["drop"])
async def test_row_46_a_lost_answer_to_the_dot_is_tried_again_after_a_while_as_the_same_message(queue, smtpd):
    assert await two(queue) == [Left(*IN_DOUBT, ["1 ada in_doubt"]), BEHIND]
    assert await queue.pause() is None
    await queue.make_due()
    await queue.drain()
    assert await queue.left(1) == Left("sent", 2, None, ["1 ada in_doubt", "2 ada accepted 250 2.0.0"])
    assert copies(smtpd) == ["ada", "behind", "ada"]
    first, _, second = smtpd.messages
    assert [first.message[name] for name in ("Message-ID", "Date")] == [
        second.message[name] for name in ("Message-ID", "Date")
    ]


@pytest.mark.smtpd(dot=["drop"], rcpt={"bob@example.org": "550 5.1.1 no such user"})
async def test_row_46_only_who_is_in_doubt_is_tried_again(queue, smtpd):
    [left, _] = await two(queue, "ada@example.org, bob@example.org")
    assert left == Left(*IN_DOUBT, ["1 ada in_doubt", "1 bob refused 550 5.1.1"])
    await queue.make_due()
    await queue.drain()
    assert (await queue.left(1)).status == "partial"
    assert asked(smtpd, "bob") == 1


async def test_row_46_a_late_answer_to_the_dot_is_in_doubt_and_touches_nobody_else(queue, smtpd):
    hold = Hold(smtpd, "dot")
    first = await queue.add()
    await queue.drain(timeouts={"dot": 0.2})
    assert await queue.left(first) == Left(*IN_DOUBT, ["1 ada in_doubt"])
    assert (await queue.row(first)).last_error == "ada@example.org: final dot: timed out"
    hold.release()
    behind = await queue.add(to_addrs="behind@example.org")
    await queue.drain()
    assert await queue.left(behind) == BEHIND
    assert smtpd.connections == 2


@pytest.mark.smtpd(dot=["drop"])
async def test_row_46_at_most_once_ends_in_doubt_and_is_never_sent_again(queue, smtpd):
    id = await queue.add(on_doubt="hold")
    await queue.drain()
    assert await queue.left(id) == Left("in_doubt", 1, None, ["1 ada in_doubt"])
    await queue.drain()
    assert copies(smtpd) == ["ada"]


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_row_48_a_shutdown_before_the_dot_gives_the_row_back_untouched(queue, smtpd, stage):
    hold = Hold(smtpd, stage)
    id = await queue.add()
    async with Poller(queue.settings(top={"drain_timeout": 0})):
        await hold.reached()
    assert await queue.left(id) == Left(*UNTRIED)
    assert await queue.pause() is None
    hold.release()
    assert copies(smtpd) == []


async def test_row_48_a_shutdown_during_the_dot_waits_for_its_answer(queue, smtpd):
    hold = Hold(smtpd, "dot")
    id = await queue.add()
    poller = Poller(queue.settings())
    await poller.__aenter__()
    await hold.reached()
    closing = asyncio.create_task(poller.__aexit__(None, None, None))
    hold.release()
    await closing
    assert await queue.left(id) == ADA


async def test_row_48_a_shutdown_that_cannot_wait_leaves_the_message_at_the_dot_in_doubt(queue, smtpd):
    hold = Hold(smtpd, "dot")
    id = await queue.add()
    async with Poller(queue.settings(top={"drain_timeout": 0})):
        await hold.reached()
    assert await queue.left(id) == Left(*IN_DOUBT, ["1 ada in_doubt"])
    hold.release()


@pytest.mark.usefixtures("in_turn")
@pytest.mark.parametrize("fault", ["drop", "421 4.4.2 bye", "500 what?", "250-"])
async def test_row_49_trouble_with_rset_is_nobodys_fault(queue, smtpd, fault):
    smtpd.faults = {"rcpt": {"ada@example.org": "550 5.1.1 no such user"}, "rset": [fault]}
    assert await two(queue, timeouts={"command": 0.2}) == [Left(*FAILED, ["1 ada refused 550 5.1.1"]), BEHIND]
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["behind"])


@pytest.mark.parametrize("answer", [drop, b"500 what?\r\n", b"nonsense\r\n"], ids=["reset", "500", "nonsense"])
async def test_row_49_trouble_with_quit_changes_no_result(queue, scripted_smtpd, answer):
    scripted_smtpd.play([*HELLO, *ONE, (b"QUIT", answer)])
    id = await queue.add()
    await queue.drain()
    assert await queue.left(id) == ADA
    assert await queue.pause() is None
