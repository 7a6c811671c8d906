"""Row 47 of the classification of SMTP failures, and every way in which replies get out of step with commands.

Whatever a server says unasked, twice, too late or in no known form: no message ends by what was said about another.
"""

import asyncio

import pytest

from tests.fixtures.aftermath import DEFERRED, IN_DOUBT, PARTIAL, SENT, UNTRIED, Left
from tests.fixtures.scripted_smtpd import (
    DATA,
    DOT,
    EHLO,
    GREETING,
    HELLO,
    MAIL,
    QUIT,
    RCPT,
    RSET,
    Peer,
    in_pieces,
    silence,
    upgrade,
)

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

ONE = [MAIL, RCPT, DATA, DOT]
"""A message to one recipient."""

ADA = Left(*SENT, ["1 ada accepted 250 2.0.0"])
BEHIND = Left(*SENT, ["1 behind accepted 250 2.0.0"])


async def two(queue, to="ada@example.org", **settings):
    """What is left of an email and of another one behind it."""
    ids = [await queue.add(to_addrs=to), await queue.add(to_addrs="behind@example.org")]
    await queue.drain(**settings)
    return [await queue.left(id) for id in ids]


def messages(scripted_smtpd):
    """How many were uploaded to the end."""
    return sum(line.endswith(b"\r\n.\r\n") for line in scripted_smtpd.lines)


MALFORMED = {
    "not SMTP": b"nonsense\r\n",
    "no such class": b"999 what?\r\n",
    "four digits": b"2500 ok\r\n",
    "binary": b"\x00\xff\xfe\r\n",
    "two codes in one reply": b"250-ok\r\n550 no\r\n",
    "a line without end": b"250 " + b"x" * 10_000,
    "too many lines": b"250-on and on\r\n" * 4000 + b"250 ok\r\n",
    "an intermediate reply": b"354 go on?\r\n",
}
malformed = pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED.keys())


@malformed
@pytest.mark.parametrize("stage", [0, 1], ids=["MAIL", "RCPT"])
async def test_row_47_a_malformed_reply_on_a_new_connection_pauses_the_transport(
    queue, scripted_smtpd, stage, answer, pipelining
):
    scripted_smtpd.play(*[[*HELLO, *ONE[:stage], (ONE[stage][0], answer)]] * 2)
    # A reply that only does not fit may have got lost in a group: once more, one by one.
    tries = 2 if pipelining and answer.startswith(b"354") else 1
    assert await two(queue) == [Left(*UNTRIED), Left(*UNTRIED)]
    said = "354 go on?" if answer.startswith(b"354") else "the server's reply is not SMTP"
    assert await queue.pause() == ("pause", f"{ONE[stage][0].decode()}: {said}")
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (tries, 0)


@malformed
@pytest.mark.parametrize("stage", [0, 1], ids=["MAIL", "RCPT"])
async def test_row_47_on_a_used_connection_it_continues_at_once_on_a_new_one(queue, scripted_smtpd, stage, answer):
    scripted_smtpd.play([*HELLO, *ONE, *ONE[:stage], (ONE[stage][0], answer)], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"nonsense\r\n", "the server's reply is not SMTP"), (b"250 ok\r\n", "250 ok"), (b"220 hello\r\n", "220 hello")],
)
async def test_row_47_where_only_354_makes_sense_anything_else_is_out_of_step(
    queue, scripted_smtpd, answer, said, pipelining
):
    scripted_smtpd.play(*[[*HELLO, MAIL, RCPT, (b"DATA", answer)]] * 2)
    tries = 2 if pipelining and answer.startswith(b"2") else 1
    assert await two(queue) == [Left(*UNTRIED), Left(*UNTRIED)]
    assert await queue.pause() == ("pause", f"DATA: {said}")
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (tries, 0)


@malformed
async def test_row_47_a_malformed_reply_to_the_dot_is_in_doubt(queue, scripted_smtpd, answer):
    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, (b".", answer)], [*HELLO, *ONE, QUIT])
    said = " 354" if answer.startswith(b"354") else ""
    assert await two(queue) == [Left(*IN_DOUBT, [f"1 ada in_doubt{said}"]), BEHIND]
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


async def test_replies_in_any_pieces_are_whole_replies(queue, scripted_smtpd):
    def bytewise(step):
        return step[0], in_pieces(*(step[1][i : i + 1] for i in range(len(step[1]))))

    several = (b".", b"250-2.0.0 queued\r\n250-2.0.0 as\r\n250 2.0.0 4F2A\r\n")
    scripted_smtpd.play([*map(bytewise, [*HELLO, MAIL, RCPT, DATA, several, *ONE]), QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert scripted_smtpd.connections == 1


@pytest.mark.parametrize(
    "early",
    [
        b"250 2.1.5 ok\r\n",
        b"550 5.1.1 no such user\r\n",
        b"450 4.2.0 later\r\n",
        b"354 go on\r\n",
        b"451 4.4.2 idle\r\n",
    ],
)
@pytest.mark.parametrize("stage", [0, 1], ids=["MAIL", "RCPT"])
async def test_a_reply_before_its_command_answers_nothing(queue, scripted_smtpd, early, stage, pipelining):
    expected, answer = ONE[stage]
    # What left in a group is answered all the same; an early 354 cannot be told from the right one behind it.
    group = [*ONE[stage + 1 : 3], RSET] if pipelining else []
    gone_out = pipelining and stage == 1 and early.startswith(b"354")
    merged = [*ONE[:stage], (expected, answer + early), *group]
    scripted_smtpd.play([*HELLO, *ONE, *merged], [*HELLO, *ONE, QUIT])
    if gone_out:
        ada, behind = await two(queue)
        assert ada == ADA
        assert behind in [BEHIND, Left(*IN_DOUBT, ["1 behind in_doubt"]), Left(*IN_DOUBT, ["1 behind in_doubt 354"])]
        return
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


async def test_a_server_that_always_answers_before_it_is_asked_is_not_asked_without_end(
    queue, scripted_smtpd, pipelining
):
    early = (b"MAIL", b"250 2.1.0 ok\r\n550 5.1.1 no such user\r\n")
    scripted_smtpd.play([*HELLO, early, *(ONE[1:3] if pipelining else [])], *[[*HELLO, early] for _ in range(9)])
    assert await two(queue) == [Left(*UNTRIED), Left(*UNTRIED)]
    assert await queue.pause() == ("pause", "RCPT: the server's reply is not SMTP")
    assert scripted_smtpd.connections == (2 if pipelining else 1)


async def test_an_acceptance_before_the_dot_is_none(queue, scripted_smtpd):
    early = (b"DATA", b"354 go on\r\n250 2.0.0 queued\r\n")
    scripted_smtpd.play([*HELLO, *ONE, MAIL, RCPT, early], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


LATE = [
    b"250 2.0.0 late\r\n",
    b"550 5.7.1 late\r\n",
    b"451 4.3.0 late\r\n",
    b"354 late\r\n",
    b"250-",
    b"25",
    b"nonsense\r\n",
]


@pytest.mark.parametrize("late", LATE)
async def test_a_connection_on_which_more_came_than_was_asked_carries_no_other_message(
    queue, scripted_smtpd, late, pipelining
):
    group = [*ONE[:3], RSET] if pipelining else []  # it is on its way already, and answered all the same
    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, (b".", DOT[1] + late), *group], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


@pytest.fixture
def in_the_last_moment(scripted_smtpd, monkeypatch):
    """Has the server say something unasked just before the second transaction, too late for the loop to read it."""
    from outbox.smtp import transport

    real = transport.transact  # type: ignore[attr-defined]  # it is only imported there
    peers: list[Peer] = []
    begun: list[object] = []

    def prepare(late):
        async def transact(connection, *args, **more):
            begun.append(connection)
            if len(begun) == 2:
                peers[0].writer.write(late)
            return await real(connection, *args, **more)

        monkeypatch.setattr(transport, "transact", transact)

        async def queued(peer):
            peers.append(peer)
            await peer.say(DOT[1])

        return (b".", queued)

    return prepare


@pytest.mark.parametrize("pipelining", [False], indirect=True)  # in a group the next message has begun by then
@pytest.mark.parametrize("late", LATE)
async def test_a_late_reply_in_the_last_moment_before_reuse_answers_nothing(
    queue, scripted_smtpd, in_the_last_moment, late
):
    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, in_the_last_moment(late)], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


async def test_replies_that_are_one_behind_from_the_second_message_on_are_found_out(queue, scripted_smtpd):
    shifted = [
        (b"MAIL", b"250 2.0.0 late\r\n"),
        (b"RCPT TO:<bob", b"250 2.1.0 the sender\r\n"),
        (b"RCPT TO:<cy", b"550 5.1.1 no bob\r\n"),
        (b"DATA", b"250 2.1.5 cy\r\n"),
    ]
    right = [MAIL, (b"RCPT TO:<bob", b"550 5.1.1 no bob\r\n"), RCPT, DATA, DOT, QUIT]
    scripted_smtpd.play([*HELLO, *ONE, *shifted], [*HELLO, *right])
    first = await queue.add()
    second = await queue.add(to_addrs="bob@example.org, cy@example.org")
    await queue.drain()
    assert await queue.left(first) == ADA
    assert await queue.left(second) == Left(*PARTIAL, ["1 bob refused 550 5.1.1", "1 cy accepted 250 2.0.0"])
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 2)


@pytest.mark.parametrize("late", range(0, 40, 3))
async def test_whenever_a_second_answer_to_the_dot_arrives_nobody_is_harmed(queue, scripted_smtpd, late):
    async def twice(peer):
        await peer.say(DOT[1])
        for _ in range(late):
            await asyncio.sleep(0)
        await peer.say(b"250 2.0.0 queued, once more\r\n")

    answers = {b"MAIL": MAIL[1], b"RCPT": RCPT[1], b"DATA": DATA[1]}

    async def play_along(peer):
        await twice(peer)
        while line := await peer.reader.readline():
            await peer.say(answers.get(line[:4], b"250 2.0.0 fine\r\n"))

    scripted_smtpd.play([*HELLO, MAIL, RCPT, DATA, (b".", play_along)], [*HELLO, *ONE, QUIT])
    assert await two(queue) == [ADA, BEHIND]
    assert await queue.pause() is None


@pytest.mark.parametrize("stage", [0, 1, 2], ids=["MAIL", "RCPT", "DATA"])
async def test_an_answer_that_came_too_late_is_no_answer_to_the_next_message(queue, scripted_smtpd, stage):
    timeouts = {"mail": 0.2, "rcpt": 0.2, "data": 0.2}
    scripted_smtpd.play([*HELLO, *ONE[:stage], (ONE[stage][0], silence)], [*HELLO, *ONE, QUIT])
    assert await two(queue, timeouts=timeouts) == [Left(*DEFERRED, ["1 ada deferred"]), BEHIND]
    assert (await queue.row(1)).last_error == f"ada@example.org: {ONE[stage][0].decode()}: timed out"
    assert await queue.pause() is None
    assert (scripted_smtpd.connections, messages(scripted_smtpd)) == (2, 1)


@pytest.mark.parametrize(
    "injected", [b"250-injected\r\n250 SIZE 1\r\n", b"250 ok\r\n" * 9, b"421 go away\r\n"], ids=["EHLO", "many", "421"]
)
async def test_what_is_said_in_plain_behind_the_answer_to_starttls_is_not_believed(
    queue, scripted_smtpd, server_context, ca_file, injected
):
    offer = (b"EHLO", b"250-scripted\r\n250 STARTTLS\r\n")
    starttls = (b"STARTTLS", upgrade(server_context, b"220 go on\r\n" + injected))
    scripted_smtpd.play([GREETING, offer, starttls, EHLO, *ONE, *ONE, QUIT])
    url = scripted_smtpd.url.replace("smtp:", "smtp+starttls:")
    assert await two(queue, url=url, ca_file=ca_file) == [ADA, BEHIND]
    assert scripted_smtpd.connections == 1
