"""Rows 29 to 38 of the classification of SMTP failures: what a server says about one recipient, on both databases."""

import random
from typing import ClassVar

import pytest

from tests.fixtures.aftermath import DEFERRED, FAILED, PARTIAL, SENT, Left, copies

ADA, BOB, CY = "ada@example.org", "bob@example.org", "cy@example.org"
TRIO = f"{ADA}, {BOB}, {CY}"
ONCE = ["1 ada accepted 250 2.0.0", "1 bob accepted 250 2.0.0", "1 cy accepted 250 2.0.0"]

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


async def left_of(queue, to=TRIO, **columns):
    """What one drain leaves of an email to these."""
    id = await queue.add(to_addrs=to, **columns)
    await queue.drain()
    return await queue.left(id)


async def test_row_29_a_local_part_the_server_cannot_take_fails_that_recipient_only(queue, smtpd):
    left = await left_of(queue, f"{ADA}, jörg@example.org")
    assert left == Left(*PARTIAL, ["1 ada accepted 250 2.0.0", "1 jörg refused"])
    assert (await queue.row(1)).last_error.startswith("jörg@example.org: 5.6.7 this address is internationalised")
    assert (smtpd.connections, copies(smtpd)) == (1, ["ada"])


@on_sqlite
async def test_row_29_alone_such_a_recipient_fails_the_email_and_nothing_behind_it(queue, smtpd):
    first, behind = await queue.add(to_addrs="jörg@example.org"), await queue.add()
    await queue.drain()
    assert await queue.left(first) == Left(*FAILED, ["1 jörg refused"])
    assert await queue.left(behind) == Left(*SENT, ["1 ada accepted 250 2.0.0"])
    assert await queue.pause() is None


@on_sqlite
@pytest.mark.smtpd(smtputf8=True)
async def test_row_29_a_server_that_takes_it_is_given_it_apart_from_the_others(queue, smtpd):
    left = await left_of(queue, f"jörg@example.org, {ADA}")
    assert left == Left(*SENT, ["1 jörg accepted 250 2.0.0", "1 ada accepted 250 2.0.0"])
    assert sorted(copies(smtpd)) == ["ada", "jörg"]
    assert {tuple(m.recipients): "SMTPUTF8" in m.parameters for m in smtpd.messages} == {
        (ADA,): False,
        ("jörg@example.org",): True,
    }


@on_sqlite
async def test_row_29_a_domain_that_is_not_ascii_needs_no_extension(queue, smtpd):
    left = await left_of(queue, "ada@bücher.example")
    assert left == Left(*SENT, ["1 ada accepted 250 2.0.0"])
    assert smtpd.messages[0].recipients == ["ada@xn--bcher-kva.example"]


@on_sqlite
async def test_row_30_an_invalid_address_never_reaches_the_server_and_the_others_get_theirs(queue, smtpd):
    left = await left_of(queue, f"{ADA}, bob@@nowhere")
    assert left == Left(*PARTIAL, ["1 ada accepted 250 2.0.0", "1 bob refused"])
    assert not any("nowhere" in command for command in smtpd.commands)


@on_sqlite
async def test_row_31_every_2xx_to_a_recipient_is_an_acceptance(queue, smtpd):
    smtpd.faults["rcpt"] = _also_taken(smtpd, {BOB: "251 2.1.5 will forward", CY: "252 2.1.5 cannot verify"})
    assert await left_of(queue) == Left(*SENT, ONCE)
    assert copies(smtpd) == ["ada bob cy"]


def _also_taken(smtpd, replies):
    """Positive replies, with which the recipient is taken as with the usual one."""

    def reply(address):
        if address not in replies:
            return None
        [session] = smtpd.sessions
        session.envelope.rcpt_tos.append(address)
        return replies[address]

    return reply


def replies(row, *texts):
    return [pytest.param(text, id=f"row {row}: {text}") for text in texts]


def codes(reply):
    """The code and, where there is one, the enhanced code."""
    return " ".join(part for part in reply.split()[:2] if part[0].isdigit())


@on_sqlite
@pytest.mark.parametrize(
    "reply",
    [
        *replies(32, "450 4.2.0 greylisted", "451 4.3.0 busy", "451 later", "454 4.7.1 relay access denied", "499"),
        *replies(34, "452 4.2.2 mailbox full", "552 5.2.2 mailbox full", "552 over quota"),
    ],
)
async def test_a_recipient_deferred_is_tried_again_alone(queue, smtpd, reply):
    smtpd.faults["rcpt"] = {ADA: [reply]}  # the first, so that "452" does not mean too many
    first, behind = await queue.add(to_addrs=f"{ADA}, {BOB}"), await queue.add(to_addrs=CY)
    await queue.drain()
    deferred, accepted = f"1 ada deferred {codes(reply)}", "1 bob accepted 250 2.0.0"
    assert await queue.left(first) == Left(*DEFERRED, [deferred, accepted])
    assert await queue.left(behind) == Left(*SENT, ["1 cy accepted 250 2.0.0"])
    assert await queue.pause() is None
    await queue.make_due()
    await queue.drain()
    assert await queue.left(first) == Left("sent", 2, None, [deferred, accepted, "2 ada accepted 250 2.0.0"])
    assert copies(smtpd) == ["bob", "cy", "ada"]


@pytest.mark.parametrize(
    "reply", ["452 4.5.3 too many recipients", "452 too many", "552 too many", "550 5.5.3 too many"]
)
async def test_row_33_too_many_recipients_go_on_in_the_next_transaction_at_once(queue, smtpd, reply):
    taken = []  # in the transaction under way

    def two_at_a_time(address):
        [session] = smtpd.sessions
        return reply if len(session.envelope.rcpt_tos) == 2 else taken.append(address)

    smtpd.faults["rcpt"] = two_at_a_time
    people = ", ".join(f"p{n}@example.org" for n in range(5))
    left = await left_of(queue, people)
    assert left == Left(*SENT, [f"1 p{n} accepted 250 2.0.0" for n in range(5)])
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (1, ["p0 p1", "p2 p3", "p4"])
    assert sum(command.startswith("RCPT") for command in smtpd.commands) == 8, "the limit was learned"


@on_sqlite
@pytest.mark.smtpd(rcpt="452 4.5.3 too many recipients")
async def test_row_33_too_many_when_none_was_taken_is_a_deferral(queue, smtpd):
    left = await left_of(queue, f"{ADA}, {BOB}")
    assert left == Left(*DEFERRED, ["1 ada deferred 452 4.5.3", "1 bob deferred 452 4.5.3"])
    assert sum(command.startswith("MAIL") for command in smtpd.commands) == 1


@on_sqlite
@pytest.mark.smtpd(rcpt={CY: ["452 4.5.3 too many"]}, dot=[None, "451 4.3.0 later"])
async def test_row_33_the_second_transaction_has_outcomes_of_its_own(queue, smtpd):
    assert await left_of(queue) == Left(*DEFERRED, [*ONCE[:2], "1 cy deferred 451 4.3.0"])
    await queue.make_due()
    await queue.drain()
    assert await queue.left(1) == Left(
        "sent", 2, None, [*ONCE[:2], "1 cy deferred 451 4.3.0", "2 cy accepted 250 2.0.0"]
    )
    assert copies(smtpd) == ["ada bob", "cy"]


@on_sqlite
@pytest.mark.parametrize(
    "reply",
    replies(
        35,
        "550 5.1.1 no such user",
        "551 5.1.6 not local",
        "553 5.1.3 bad mailbox",
        "554 5.7.1 refused",
        "556 5.1.10 no mail",
        "501 5.1.3 syntax",
        "550 4.2.0 contradicts itself",
        "599",
    ),
)
async def test_a_recipient_refused_ends_with_the_servers_own_code_and_the_rest_is_sent(queue, smtpd, reply):
    smtpd.faults["rcpt"] = {BOB: reply}
    said = codes(reply.replace(" 4.2.0", ""))
    assert await left_of(queue) == Left(*PARTIAL, [ONCE[0], f"1 bob refused {said}", ONCE[2]])
    assert (await queue.row(1)).last_error == f"{BOB}: {reply}"
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (1, ["ada cy"])


@pytest.mark.smtpd(rcpt={ADA: "550 5.1.1 no such user", CY: "450 4.2.0 greylisted"})
async def test_row_37_each_of_several_recipients_ends_by_its_own_code(queue, smtpd):
    first, behind = await queue.add(to_addrs=TRIO), await queue.add(to_addrs="behind@example.org")
    await queue.drain()
    tried = ["1 ada refused 550 5.1.1", "1 bob accepted 250 2.0.0", "1 cy deferred 450 4.2.0"]
    assert await queue.left(first) == Left(*DEFERRED, tried)
    assert await queue.left(behind) == Left(*SENT, ["1 behind accepted 250 2.0.0"])
    smtpd.faults = {}
    await queue.make_due()
    await queue.drain()
    assert await queue.left(first) == Left("partial", 2, None, [*tried, "2 cy accepted 250 2.0.0"])
    assert copies(smtpd) == ["bob", "behind", "cy"]


@pytest.mark.smtpd(rcpt={ADA: "550 5.1.1 no such user", BOB: "450 4.2.0 greylisted"})
async def test_row_38_all_refused_is_no_one_verdict_while_anybody_may_still_be_served(queue, smtpd):
    left = await left_of(queue, f"{ADA}, {BOB}")
    tried = ["1 ada refused 550 5.1.1", "1 bob deferred 450 4.2.0"]
    assert left == Left(*DEFERRED, tried)
    smtpd.faults = {"rcpt": "550 5.1.1 no such user"}
    await queue.make_due()
    await queue.drain()
    assert await queue.left(1) == Left("failed", 2, None, [*tried, "2 bob refused 550 5.1.1"])
    assert copies(smtpd) == []


class Plan:
    """What the server says to one email in each round, and what must come of that, as a model has it."""

    REPLIES: ClassVar = {"accepted": None, "deferred": "450 4.2.0 later", "refused": "550 5.1.1 no"}

    def __init__(self, number, chance):
        self.sender = f"s{number}@example.com"
        self.recipients = [f"{who}{number}@example.org" for who in ("ada", "bob", "cy")]
        words = list(self.REPLIES)
        self.rounds = [
            {
                "rcpt": [chance.choice(words) for _ in range(3)],
                "data": chance.choice(words),
                "dot": chance.choice(words),
            }
            for _ in range(3)
        ]

    def expected(self):
        """For each recipient the outcomes in order, and the row's status and attempts after all rounds."""
        history: dict[str, list[str]] = {recipient: [] for recipient in self.recipients}
        attempts = 0
        for plan in self.rounds:
            waiting = [r for r in self.recipients if not history[r] or history[r][-1] == "deferred"]
            attempts += bool(waiting)
            for recipient in waiting:
                said = plan["rcpt"][self.recipients.index(recipient)]
                for stage in ("data", "dot"):
                    said = plan[stage] if said == "accepted" else said
                history[recipient].append(said)
        last = [said[-1] for said in history.values()]
        accepted = last.count("accepted")
        final = "sent" if accepted == 3 else "partial" if accepted else "failed"
        return history, ("pending" if "deferred" in last else final), attempts


async def test_any_mixture_of_replies_over_several_retries_serves_everybody_at_most_once(queue, smtpd, execute):
    chance = random.Random(7)
    plans = {plan.sender: plan for plan in (Plan(number, chance) for number in range(40))}
    rcpt = {
        r: [plan.rounds[n]["rcpt"][i] for n in range(3)]
        for plan in plans.values()
        for i, r in enumerate(plan.recipients)
    }
    for sender, plan in plans.items():
        await queue.add(sender=sender, to_addrs=", ".join(plan.recipients))
    for number in range(3):
        smtpd.faults = {
            "rcpt": lambda to, n=number: Plan.REPLIES[rcpt[to][n]],
            "data": lambda sender, n=number: Plan.REPLIES[plans[sender].rounds[n]["data"]],
            "dot": lambda sender, n=number: Plan.REPLIES[plans[sender].rounds[n]["dot"]],
        }
        await queue.make_due()
        await queue.drain(max_connections=4)
    assert await queue.pause() is None
    taken = [recipient for message in smtpd.messages for recipient in message.recipients]
    assert len(taken) == len(set(taken)), "nobody twice"
    for id, plan in enumerate(plans.values(), 1):
        history, status, attempts = plan.expected()
        row = await queue.row(id)
        assert (row.sender, row.status, row.attempts) == (plan.sender, status, attempts)
        tried = await execute(
            "SELECT recipient, outcome FROM email_attempt WHERE outbox_id = :id ORDER BY id", {"id": id}
        )
        assert {r: [t.outcome for t in tried if t.recipient == r] for r in plan.recipients} == history
        assert {r for r in plan.recipients if r in taken} == {r for r, said in history.items() if "accepted" in said}
