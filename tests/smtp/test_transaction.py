"""Transactions over real sockets: each recipient's outcome, and whether the message can have been accepted."""

import asyncio
import time

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Kind, Scope
from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection, open_connection
from outbox.smtp.plan import stuffed
from outbox.smtp.transacted import Transacted
from outbox.smtp.transaction import transact
from tests.fixtures.scripted_smtpd import DATA, DOT, HELLO, MAIL, RCPT, drop, half_close, silence

ADA, BOB, CY = "ada@example.org", "bob@example.org", "cy@example.org"
CONTENT = b"Subject: Hi\r\n\r\n.\r\n..hello\r\n"
MESSAGE = Message("shop@example.com", (ADA, BOB, CY), CONTENT)


async def opened(url: str, **settings) -> Connection:
    return await open_connection(
        TransportSettings(url=url, **settings), context=None, tokens=None, clock=time.monotonic
    )


async def sent(connection: Connection, message: Message = MESSAGE, **more) -> Transacted:
    grouped = {"lend": lambda: False} if connection.features.pipelining else {}
    return await transact(connection, message, message.recipients, **{"still_owned": lambda: True, **grouped, **more})


async def sent_once(server, message: Message = MESSAGE, **more) -> tuple[Transacted, bool]:
    """What came of it on a connection of its own, and whether that could have been used again."""
    connection = await opened(server.url)
    done = await sent(connection, message, **more)
    usable = connection.usable
    connection.abort()
    await connection.wire.closed()
    return done, usable


def kinds(done: Transacted) -> dict[str, str]:
    return {recipient: outcome.kind.value for recipient, outcome in done.outcomes.items()}


async def test_everybody_accepted_is_reported_with_the_reply_to_the_dot(smtpd):
    done, usable = await sent_once(smtpd)
    assert kinds(done) == {ADA: "accepted", BOB: "accepted", CY: "accepted"}
    assert {str(o.reply) for o in done.outcomes.values()} == {"250 2.0.0 Ok: queued as 1"}
    assert usable
    [received] = smtpd.messages
    assert (received.sender, received.recipients, received.content) == ("shop@example.com", [ADA, BOB, CY], CONTENT)


def test_lines_that_begin_with_a_dot_are_doubled():
    assert stuffed(b".a\r\n.\r\nb.\r\n..\r\n") == b"..a\r\n..\r\nb.\r\n...\r\n"


@pytest.mark.smtpd(rcpt={BOB: "550 5.1.1 no such user", CY: "450 4.2.0 greylisted"})
async def test_each_recipient_has_an_outcome_of_its_own(smtpd):
    done, usable = await sent_once(smtpd)
    assert kinds(done) == {ADA: "accepted", BOB: "refused", CY: "deferred"}
    assert str(done.outcomes[BOB].reply) == "550 5.1.1 no such user"
    assert usable


async def test_every_positive_reply_to_a_recipient_counts(scripted_smtpd):
    forwarded, unverified = (b"RCPT", b"251 will forward\r\n"), (b"RCPT", b"252 cannot verify\r\n")
    scripted_smtpd.play([*HELLO, MAIL, RCPT, forwarded, unverified, DATA, (b".", b"200 fine\r\n")])
    done, usable = await sent_once(scripted_smtpd)
    assert set(kinds(done).values()) == {"accepted"}
    assert usable


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user")
async def test_without_an_accepted_recipient_there_is_no_message_and_the_next_one_starts_clean(smtpd, pipelining):
    connection = await opened(smtpd.url)
    assert set(kinds(await sent(connection)).values()) == {"refused"}
    del smtpd.faults["rcpt"]
    assert set(kinds(await sent(connection)).values()) == {"accepted"}
    words = [command.split()[0] for command in smtpd.commands]
    in_vain = ["DATA"] if pipelining else []
    assert words == ["EHLO", "MAIL", *["RCPT"] * 3, *in_vain, "RSET", "MAIL", *["RCPT"] * 3, "DATA"]
    await connection.close()


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user", rset="421 4.4.2 bye")
async def test_trouble_with_a_reset_blames_no_message(smtpd):
    connection = await opened(smtpd.url)
    await sent(connection)
    done = await sent(connection)
    assert (done.fresh, done.outcomes, done.fault) == (True, {}, None)
    assert not connection.usable
    await connection.wire.closed()


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ({"mail": "451 4.3.0 later"}, "deferred"),
        ({"mail": "550 5.7.1 not you"}, "refused"),
        ({"data": "451 4.3.0 later"}, "deferred"),
        ({"data": "554 5.7.1 no"}, "refused"),
        ({"dot": "451 4.3.0 later"}, "deferred"),
        ({"dot": "554 5.7.1 spam"}, "refused"),
    ],
    ids=str,
)
async def test_a_message_refused_at_any_stage_is_so_for_everyone_without_an_answer(smtpd, faults, kind):
    smtpd.faults.update(faults, rcpt={BOB: "550 5.1.1 no such user"} if "mail" not in faults else None)
    done, usable = await sent_once(smtpd)
    assert kinds(done) == {ADA: kind, BOB: kind if "mail" in faults else "refused", CY: kind}
    assert usable
    assert not smtpd.messages


async def test_a_dot_that_is_held_back_since_the_server_begins_to_say_something_leaves_nobody_in_doubt(scripted_smtpd):
    scripted_smtpd.play([*HELLO, MAIL, RCPT, RCPT, RCPT, (b"DATA", DATA[1] + b"421 4.4")])
    done, usable = await sent_once(scripted_smtpd)
    assert (done.fresh, done.outcomes, usable) == (True, {}, False)


@pytest.mark.smtpd(rcpt={CY: "452 4.5.3 too many recipients"})
async def test_too_many_recipients_leaves_the_rest_for_the_next_transaction(smtpd):
    done, usable = await sent_once(smtpd)
    assert kinds(done) == {ADA: "accepted", BOB: "accepted"}
    assert usable
    assert not done.fault


@pytest.mark.smtpd(mail=["555 5.5.4 unsupported"])
async def test_refused_parameters_are_left_out_from_then_on(smtpd):
    connection = await opened(smtpd.url)
    for _ in range(2):
        assert set(kinds(await sent(connection)).values()) == {"accepted"}
    mails = [command for command in smtpd.commands if command.startswith("MAIL")]
    assert mails == [f"MAIL FROM:<shop@example.com> SIZE={len(CONTENT)}", *["MAIL FROM:<shop@example.com>"] * 2]
    await connection.close()


@pytest.mark.smtpd(size=10)
async def test_a_message_over_the_limit_is_not_even_begun(smtpd):
    done, usable = await sent_once(smtpd)
    assert set(kinds(done).values()) == {"refused"}
    assert done.outcomes[ADA].note.startswith("5.3.4 ")
    assert usable
    assert len(smtpd.commands) == 1


@pytest.mark.smtpd(size=None)
async def test_a_server_that_states_no_size_is_told_none(smtpd):
    await sent_once(smtpd)
    assert "MAIL FROM:<shop@example.com>" in smtpd.commands


UMLAUT = "jörg@example.org"
BOTH = Message("shop@example.com", (ADA, UMLAUT), CONTENT, "Subject: ö\r\n\r\nhello\r\n".encode())


async def test_an_international_address_is_refused_alone_where_the_server_cannot_take_it(smtpd):
    done, _ = await sent_once(smtpd, BOTH)
    assert kinds(done) == {ADA: "accepted", UMLAUT: "refused"}
    assert done.outcomes[UMLAUT].note.startswith("5.6.7 ")
    assert smtpd.messages[0].content == CONTENT
    assert "SMTPUTF8" not in " ".join(smtpd.commands)


@pytest.mark.smtpd(smtputf8=True)
async def test_smtputf8_is_used_where_an_address_needs_it(smtpd):
    done, _ = await sent_once(smtpd, BOTH)
    assert kinds(done) == {ADA: "accepted", UMLAUT: "accepted"}
    assert smtpd.messages[0].content == BOTH.utf8_content
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(smtpd.messages[0].parameters)


@pytest.mark.smtpd(smtputf8=True)
async def test_smtputf8_is_not_used_where_no_address_needs_it(smtpd):
    await sent_once(smtpd, Message("shop@example.com", (ADA,), CONTENT, BOTH.utf8_content))
    assert smtpd.messages[0].content == CONTENT
    assert "SMTPUTF8" not in " ".join(smtpd.commands)


async def test_an_international_sender_needs_smtputf8_for_everyone(smtpd):
    done, _ = await sent_once(smtpd, Message(UMLAUT, (ADA, BOB), CONTENT))
    assert set(kinds(done).values()) == {"refused"}
    assert done.outcomes[ADA].note.startswith("5.6.7 ")


@pytest.mark.parametrize(
    "evil",
    ["x@y>\r\nRSET", "x@y\r\nDATA", "x@y> SIZE=1", "a b@example.org", "<x@y", "x\x00@y", '"a\n"@y', "x\ud800@y", ""],
)
async def test_an_address_that_could_end_its_command_is_never_written(smtpd, evil):
    done, usable = await sent_once(smtpd, Message("shop@example.com", (evil, ADA), CONTENT))
    assert kinds(done) == {evil: "refused", ADA: "accepted"}
    assert usable
    commands = len(smtpd.commands)
    if evil:
        done, _ = await sent_once(smtpd, Message(evil, (ADA,), CONTENT))
        assert kinds(done) == {ADA: "refused"}
        assert len(smtpd.commands) == commands + 1  # EHLO


async def test_a_quoted_local_part_may_hold_anything_printable(smtpd):
    quoted = '"a >b"@example.org'
    done, _ = await sent_once(smtpd, Message("shop@example.com", (quoted,), CONTENT))
    assert f"RCPT TO:<{quoted}>" in smtpd.commands
    assert done.outcomes.keys() == {quoted}


BRIEF = {"mail": 0.1, "rcpt": 0.1, "data": 0.1, "block": 0.1, "dot": 0.1}
TO_DOT = [*HELLO, MAIL, RCPT, RCPT, RCPT, DATA]


@pytest.mark.parametrize(
    "fault", [drop, half_close, silence, b"nonsense\r\n"], ids=["drop", "eof", "silence", "nonsense"]
)
async def test_no_answer_to_the_final_dot_leaves_the_accepted_in_doubt(scripted_smtpd, fault):
    refused = (b"RCPT", b"550 5.1.1 no\r\n")
    scripted_smtpd.play([*HELLO, MAIL, RCPT, refused, RCPT, DATA, (b".", fault)])
    connection = await opened(scripted_smtpd.url, timeouts=BRIEF)
    done = await sent(connection)
    assert kinds(done) == {ADA: "in_doubt", BOB: "refused", CY: "in_doubt"}
    assert (done.fresh, done.fault, connection.usable) == (False, None, False)
    await connection.wire.closed()


@pytest.mark.parametrize("before", range(2, 7))
async def test_a_connection_lost_before_the_dot_was_no_attempt(scripted_smtpd, before):
    expected = TO_DOT[before][0]
    scripted_smtpd.play([*TO_DOT[:before], (expected, drop)])
    connection = await opened(scripted_smtpd.url)
    done = await sent(connection)
    assert (done.fresh, done.outcomes, done.fault, connection.usable) == (True, {}, None, False)
    await connection.wire.closed()


async def test_what_was_refused_before_the_connection_was_lost_stays_refused(scripted_smtpd):
    scripted_smtpd.play([*HELLO, MAIL, (b"RCPT", b"550 5.1.1 no\r\n"), RCPT, (b"RCPT", drop)])
    connection = await opened(scripted_smtpd.url)
    done = await sent(connection)
    assert (kinds(done), done.fresh) == ({ADA: "refused"}, True)
    await connection.wire.closed()


async def test_a_timeout_before_the_dot_defers_and_closes(scripted_smtpd):
    scripted_smtpd.play([*HELLO, MAIL, (b"RCPT", silence)])
    connection = await opened(scripted_smtpd.url, timeouts=BRIEF)
    done = await sent(connection)
    assert set(kinds(done).values()) == {"deferred"}
    assert done.outcomes[ADA].note == "RCPT: timed out"
    assert not connection.usable
    await connection.wire.closed()


async def test_an_idle_connection_that_was_given_notice_is_replaced(scripted_smtpd):
    idle = (b".", b"250 2.0.0 queued\r\n421 4.4.2 idle\r\n")
    scripted_smtpd.play([*TO_DOT, idle])
    connection = await opened(scripted_smtpd.url)
    assert set(kinds(await sent(connection)).values()) == {"accepted"}
    assert not connection.usable
    done = await sent(connection)
    assert (done.fresh, done.outcomes, done.fault) == (True, {}, None)
    await connection.wire.closed()


async def test_an_answer_that_comes_before_the_dot_is_the_answer(scripted_smtpd):
    early = (b"DATA", b"354 go on\r\n552 5.3.4 too big\r\n")
    scripted_smtpd.play([*TO_DOT[:-1], early])
    connection = await opened(scripted_smtpd.url)
    done = await sent(connection)
    assert set(kinds(done).values()) == {"refused"}
    assert str(done.outcomes[ADA].reply) == "552 5.3.4 too big"
    assert not connection.usable
    await connection.wire.closed()


async def test_of_an_answer_amid_a_sensitive_message_the_codes_alone_are_kept(scripted_smtpd):
    early = (b"DATA", b"354 go on\r\n552 5.3.4 too big: the code is 4711\r\n")
    scripted_smtpd.play([*TO_DOT[:-1], early])
    done, _ = await sent_once(scripted_smtpd, MESSAGE._replace(sensitive=True))
    assert str(done.outcomes[ADA].reply) == "552 5.3.4 (words withheld: the email is sensitive)"


@pytest.mark.smtpd(mail="421 4.7.0 too many connections")
async def test_a_new_connection_turned_away_is_a_fault_of_the_transport(smtpd):
    done, usable = await sent_once(smtpd)
    assert done.fault
    assert done.fault.scope is Scope.PAUSE
    assert done.fault.reason == f"127.0.0.1:{smtpd.port}: MAIL: 421 4.7.0 too many connections"
    assert not done.outcomes
    assert not usable


async def test_a_message_whose_lease_is_lost_is_not_begun(smtpd):
    done, usable = await sent_once(smtpd, still_owned=lambda: False)
    assert done.fault
    assert (done.fault.scope, done.fault.reason) == (Scope.STOPPING, "the lease was lost before the final dot")
    assert usable
    assert len(smtpd.commands) == 1


async def test_a_message_whose_lease_is_lost_under_way_never_gets_its_dot(smtpd):
    answers = [True, False]
    done, usable = await sent_once(smtpd, still_owned=lambda: answers.pop(0))
    assert done.fault
    assert done.fault.scope is Scope.STOPPING
    assert not done.outcomes
    assert not usable
    await smtpd.until(lambda: not smtpd.sessions)
    assert not smtpd.messages


@pytest.mark.parametrize(("until", "doubtful"), [("MAIL", False), ("DATA", False), (".", True)])
async def test_an_aborted_transaction_was_not_tried_or_is_in_doubt(scripted_smtpd, until, doubtful):
    whole = [*TO_DOT, DOT]
    at = next(i for i, (expected, _) in enumerate(whole) if expected == until.encode())
    scripted_smtpd.play([*whole[:at], (whole[at][0], silence)])
    connection = await opened(scripted_smtpd.url)
    sending = asyncio.create_task(sent(connection))
    await scripted_smtpd.until(lambda: len(scripted_smtpd.lines) == at)
    connection.abort()
    done = await sending
    if doubtful:
        assert {o.kind for o in done.outcomes.values()} == {Kind.IN_DOUBT}
        assert done.fault is None
    else:
        assert not done.outcomes
        assert done.fault
        assert done.fault.scope is Scope.STOPPING
    await connection.wire.closed()


async def test_a_cancelled_transaction_leaves_no_usable_connection(scripted_smtpd):
    scripted_smtpd.play([*HELLO, (b"MAIL", silence)])
    connection = await opened(scripted_smtpd.url)
    sending = asyncio.create_task(sent(connection))
    await scripted_smtpd.until(lambda: len(scripted_smtpd.lines) == 2)
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
    assert not connection.usable
    await connection.wire.closed()
