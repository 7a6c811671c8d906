"""Rows 22, 23, 25, 26 and 39 to 44 of the classification of SMTP failures: what is said about a message as a whole."""

import pytest

from tests.fixtures.aftermath import DEFERRED, FAILED, PARTIAL, SENT, UNTRIED, Left, copies

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

BEHIND = Left(*SENT, ["1 behind accepted 250 2.0.0"])


async def first_and_behind(queue, **settings):
    """What is left of an email to Ada and Bob that meets the server's faults, and of one behind it that does not."""
    first = await queue.add(to_addrs="ada@example.org, bob@example.org")
    behind = await queue.add(to_addrs="behind@example.org")
    await queue.drain(**settings)
    return await queue.left(first), await queue.left(behind)


def both(outcome):
    """The same outcome for Ada and for Bob."""
    return [f"1 ada {outcome}", f"1 bob {outcome}"]


def at(row, stage, reply, *expected):
    """The first answer at `stage`; afterwards the server has no faults."""
    return pytest.param({stage: [reply]}, *expected, id=f"row {row}: {stage} {reply}")


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        at(22, "mail", "450 4.7.1 greylisted", "450 4.7.1"),
        at(22, "mail", "451 4.3.0 later", "451 4.3.0"),
        at(22, "mail", "452 4.3.1 no space", "452 4.3.1"),
        at(22, "mail", "451 later", "451"),
        at(24, "mail", "550 5.7.60 SendAsDenied", "550 5.7.60"),
        at(24, "mail", "553 5.7.1 sender not verified", "553 5.7.1"),
        at(24, "mail", "554 5.7.1 no", "554 5.7.1"),
        at(39, "data", "451 4.3.0 later", "451 4.3.0"),
        at(42, "dot", "451 4.3.0 later", "451 4.3.0"),
        at(42, "dot", "452 4.3.1 no space", "452 4.3.1"),
    ],
)
async def test_a_message_refused_for_now_is_deferred_for_everyone_at_the_cost_of_an_attempt(queue, smtpd, faults, said):
    smtpd.faults.update(faults)
    assert await first_and_behind(queue) == (Left(*DEFERRED, both(f"deferred {said}")), BEHIND)
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (1, ["behind"])


async def test_row_42_a_421_to_the_dot_defers_everyone_and_closes_the_connection(queue, smtpd):
    smtpd.faults["dot"] = ["421 4.3.2 closing"]
    assert await first_and_behind(queue) == (Left(*DEFERRED, both("deferred 421 4.3.2")), BEHIND)
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["behind"])


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        at(26, "mail", "552 5.3.4 too big", "552 5.3.4"),
        at(26, "dot", "552 too big", "552"),
        at(26, "dot", "554 5.3.4 too big", "554 5.3.4"),
        at(39, "data", "554 5.7.1 no", "554 5.7.1"),
        at(43, "dot", "550 5.7.1 spam", "550 5.7.1"),
        at(43, "dot", "554 5.6.0 content", "554 5.6.0"),
        at(43, "dot", "571 blocked", "571"),
    ],
)
async def test_a_message_refused_for_good_fails_for_everyone_and_alone(queue, smtpd, faults, said):
    smtpd.faults.update(faults)
    assert await first_and_behind(queue) == (Left(*FAILED, both(f"refused {said}")), BEHIND)
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (1, ["behind"])


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        at(23, "mail", "432 4.3.2 Concurrent connections limit exceeded", "MAIL"),
        at(23, "mail", "454 Throttling failure: Maximum sending rate exceeded", "MAIL"),
        at(23, "rcpt", "450 4.2.1 Peak SMTP relay limit exceeded", "RCPT"),
        at(23, "rcpt", "451 4.7.1 rate limit exceeded", "RCPT"),
        at(23, "data", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "DATA"),
        at(23, "dot", "454 Throttling failure: Maximum sending rate exceeded", "final dot"),
    ],
)
async def test_row_23_a_limit_of_the_account_is_no_matter_of_the_message(queue, smtpd, faults, reason):
    [[reply]] = faults.values()
    smtpd.faults.update(faults)
    assert await first_and_behind(queue) == (Left(*UNTRIED), Left(*UNTRIED))
    assert await queue.pause() == ("pause", f"{reason}: {reply}")
    assert (smtpd.connections, copies(smtpd)) == (1, [])


@pytest.mark.smtpd(dot=["454 Throttling failure: Maximum sending rate exceeded"])
async def test_row_23_both_messages_are_sent_when_the_pause_ends(queue, smtpd, brief_pauses):
    accepted = Left(*SENT, both("accepted 250 2.0.0"))
    assert await first_and_behind(queue) == (accepted, BEHIND)
    assert await queue.pause() is None
    assert sorted(copies(smtpd)) == ["ada bob", "behind"]


@pytest.mark.smtpd(dot=["451 4.7.1 rate limited, try again in 90 seconds"])
async def test_row_23_a_limit_is_waited_out_for_as_long_as_the_server_says(queue, smtpd):
    await first_and_behind(queue)
    assert 80 < await queue.paused_for() <= 90


@pytest.mark.smtpd(rcpt={"ada@example.org": "550 5.1.1 no such user"}, data=["454 Throttling failure: slow down"])
async def test_row_23_a_recipient_refused_before_the_limit_stays_refused(queue, smtpd):
    left, _ = await first_and_behind(queue)
    assert left == Left(*UNTRIED, ["1 ada refused 550 5.1.1"])
    await queue.end_pause()
    await queue.drain()
    first = Left(*PARTIAL, ["1 ada refused 550 5.1.1", "1 bob accepted 250 2.0.0"])
    assert [await queue.left(id) for id in (1, 2)] == [first, BEHIND]
    assert sorted(copies(smtpd)) == ["behind", "bob"]


@pytest.mark.smtpd(size=1500)
async def test_row_25_a_message_over_the_servers_limit_fails_without_being_uploaded(queue, smtpd):
    first = await queue.add(body_text="long\n" * 1000)
    behind = await queue.add(to_addrs="behind@example.org")
    await queue.drain()
    assert await queue.left(first) == Left(*FAILED, ["1 ada refused"])
    assert "5.3.4" in (await queue.row(first)).last_error
    assert await queue.left(behind) == BEHIND
    assert (smtpd.connections, copies(smtpd)) == (1, ["behind"])
    assert sum(command.startswith("MAIL") for command in smtpd.commands) == 1


@pytest.mark.smtpd(rcpt={"ada@example.org": "550 5.1.1 no such user", "bob@example.org": "450 4.2.0 greylisted"})
async def test_row_40_without_an_accepted_recipient_data_is_asked_for_in_a_group_only(queue, smtpd, pipelining):
    left, behind = await first_and_behind(queue)
    assert left == Left(*DEFERRED, ["1 ada refused 550 5.1.1", "1 bob deferred 450 4.2.0"])
    assert behind == BEHIND
    asked = ["EHLO", "MAIL", "RCPT", "RCPT", *(["DATA"] if pipelining else []), "RSET", "MAIL"]
    assert [command.split()[0] for command in smtpd.commands][: len(asked)] == asked
    assert (smtpd.connections, copies(smtpd)) == (1, ["behind"])


@pytest.mark.parametrize("reply", ["250 2.0.0 queued", "200 fine", "252 perhaps", "299"])
async def test_row_41_every_2xx_to_the_dot_is_an_acceptance(queue, smtpd, reply):
    smtpd.faults["dot"] = [reply]
    left, behind = await first_and_behind(queue)
    assert left == Left(*SENT, both(f"accepted {' '.join(reply.split()[: 1 + ('2.0.0' in reply)])}"))
    assert behind == BEHIND
    assert copies(smtpd) == ["ada bob", "behind"]


async def test_row_41_the_servers_words_are_kept(queue, smtpd, execute):
    smtpd.faults["dot"] = ["250 2.0.0 Ok: queued as 4F2A"]
    await first_and_behind(queue)
    [reply] = await execute("SELECT DISTINCT reply FROM email_attempt WHERE outbox_id = 1")
    assert reply.reply == "2.0.0 Ok: queued as 4F2A"


@pytest.mark.parametrize(
    ("faults", "stage"),
    [
        at(44, "mail", "550 5.4.5 Daily user sending limit exceeded", "MAIL"),
        at(44, "rcpt", "550 5.4.5 Daily user sending limit exceeded", "RCPT"),
        at(44, "data", "554 5.2.0 STOREDRV.Submission; SubmissionQuotaExceeded", "DATA"),
        at(44, "dot", "550 5.4.5 Daily user sending limit exceeded", "final dot"),
        at(44, "dot", "550 5.7.1 sending quota exceeded", "final dot"),
    ],
)
async def test_row_44_a_quota_of_the_account_fails_no_message_though_its_code_is_permanent(queue, smtpd, faults, stage):
    [[reply]] = faults.values()
    smtpd.faults.update(faults)
    assert await first_and_behind(queue) == (Left(*UNTRIED), Left(*UNTRIED))
    assert await queue.pause() == ("quota", f"{stage}: {reply}")
    assert (smtpd.connections, copies(smtpd)) == (1, [])
