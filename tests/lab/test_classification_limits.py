"""Rows 5, 23, 24 and 36 of the classification of SMTP failures: too many connections, and denials for all we send."""

import pytest

from tests.fixtures.aftermath import DEFERRED, FAILED, PARTIAL, SENT, UNTRIED, Left, copies

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


async def five(queue, **settings):
    """What is left of five emails to p0 … p4."""
    ids = [await queue.add(to_addrs=f"p{number}@example.org") for number in range(5)]
    await queue.drain(**settings)
    return [await queue.left(id) for id in ids]


ALL_SENT = [Left(*SENT, [f"1 p{number} accepted 250 2.0.0"]) for number in range(5)]


def first_dot_waits_for(smtpd, condition):
    """Keep the first message at its dot until the server has seen `condition`, so that two connections are alive."""
    waited: list[bool] = []

    async def wait(_):
        if not waited:
            waited.append(True)
            await smtpd.until(condition)

    smtpd.faults["dot"] = wait


async def test_row_5_with_other_connections_alive_one_too_many_is_one_fewer_and_no_pause(queue, smtpd):
    greeted: list[bool] = []

    async def second(_):
        greeted.append(True)
        if len(greeted) != 2:
            return None
        await smtpd.until(lambda: "DATA" in smtpd.commands)
        return "421 4.7.0 too many connections"

    smtpd.faults["greeting"] = second
    first_dot_waits_for(smtpd, lambda: smtpd.connections == 2 and len(smtpd.sessions) == 1)
    assert await five(queue, max_connections=2) == ALL_SENT
    assert await queue.pause() is None
    assert smtpd.connections == 2
    assert sorted(copies(smtpd)) == [f"p{number}" for number in range(5)]


@pytest.mark.parametrize("reply", ["432 4.3.2 Concurrent connections limit exceeded", "421 4.7.0 too many connections"])
async def test_row_23_with_other_connections_alive_a_limit_of_connections_is_one_fewer_and_no_pause(
    queue, smtpd, reply
):
    async def second(_):
        if sum(command.startswith("MAIL") for command in smtpd.commands) != 2:
            return None
        await smtpd.until(lambda: "DATA" in smtpd.commands)
        return reply

    smtpd.faults["mail"] = second
    first_dot_waits_for(smtpd, lambda: smtpd.connections == 2 and len(smtpd.sessions) == 1)
    assert await five(queue, max_connections=2) == ALL_SENT
    assert await queue.pause() is None
    assert smtpd.connections == 2
    assert sorted(copies(smtpd)) == [f"p{number}" for number in range(5)]


async def test_row_23_a_limit_of_speed_pauses_whatever_is_alive(queue, smtpd):
    smtpd.faults["mail"] = [None, "454 Throttling failure: Maximum sending rate exceeded"]
    left = await five(queue)
    assert left == [ALL_SENT[0], *[Left(*UNTRIED)] * 4]
    assert await queue.pause() == ("pause", "MAIL: 454 Throttling failure: Maximum sending rate exceeded")


SENDER = [("mail", "550 5.7.60 SendAsDenied"), ("mail", "553 5.7.1 sender not verified"), ("mail", "554 5.7.1 no")]
RELAY = [("rcpt", "550 5.7.1 Unable to relay"), ("rcpt", "554 5.7.1 <ada@example.org>: Relay access denied")]


def said(reply):
    return " ".join(reply.split()[:2])


@pytest.mark.parametrize(("stage", "reply"), [*SENDER, *RELAY])
async def test_rows_24_and_36_a_denial_may_be_the_configurations_so_it_is_final_at_the_third_attempt(
    queue, smtpd, stage, reply
):
    smtpd.faults[stage] = {"bad@example.com": reply, "ada@example.org": reply}
    denied, behind = await queue.add(sender="bad@example.com"), await queue.add(to_addrs="behind@example.org")
    await queue.drain()
    tried = [f"1 ada deferred {said(reply)}"]
    assert await queue.left(denied) == Left(*DEFERRED, tried)
    assert await queue.left(behind) == Left(*SENT, ["1 behind accepted 250 2.0.0"])
    assert await queue.pause() is None
    for _ in range(2):
        await queue.make_due()
        await queue.drain()
    tried += [f"2 ada deferred {said(reply)}", f"3 ada refused {said(reply)}"]
    assert await queue.left(denied) == Left("failed", 3, None, tried)
    assert await queue.pause() is None
    assert copies(smtpd) == ["behind"]


@pytest.mark.parametrize(("stage", "reply"), [*SENDER, *RELAY])
async def test_rows_24_and_36_three_messages_denied_in_a_row_need_a_person_and_fail_nobody(queue, smtpd, stage, reply):
    smtpd.faults[stage] = reply
    left = await five(queue)
    denied = [Left(*DEFERRED, [f"1 p{number} deferred {said(reply)}"]) for number in range(2)]
    assert left == [*denied, *[Left(*UNTRIED)] * 3]
    kind, reason = await queue.pause()
    assert kind == "config"
    assert reason.endswith(reply)
    smtpd.faults = {}
    await queue.end_pause()
    await queue.make_due()
    await queue.drain()
    assert await queue.pause() is None
    assert sorted(copies(smtpd)) == [f"p{number}" for number in range(5)]


@pytest.mark.smtpd(rcpt={"ada@example.org": "550 5.7.1 Unable to relay"})
async def test_row_36_who_is_denied_beside_others_who_are_not_is_refused(queue, smtpd):
    id = await queue.add(to_addrs="ada@example.org, bob@example.org")
    await queue.drain()
    assert await queue.left(id) == Left(*PARTIAL, ["1 ada refused 550 5.7.1", "1 bob accepted 250 2.0.0"])
    assert await queue.pause() is None


@pytest.mark.parametrize("reply", ["550 5.1.7 bad sender address", "501 5.1.7 syntax"])
async def test_row_24_a_sender_that_is_no_address_fails_its_message_alone(queue, smtpd, reply):
    smtpd.faults["mail"] = {"bad@example.com": reply}
    first, behind = await queue.add(sender="bad@example.com"), await queue.add()
    await queue.drain()
    assert await queue.left(first) == Left(*FAILED, [f"1 ada refused {said(reply)}"])
    assert await queue.left(behind) == Left(*SENT, ["1 ada accepted 250 2.0.0"])
