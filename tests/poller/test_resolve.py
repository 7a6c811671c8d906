"""Emails in doubt, resolved by hand, and what a real poller then does with them."""

import pytest

from outbox.db.resolve import declare_sent, resend

pytestmark = pytest.mark.smtpd(dot="drop")


async def test_an_email_to_be_resent_is_sent_once_more_with_the_same_message_id_and_date(
    insert, drain, row, smtpd, engine
):
    id = await insert(on_doubt="hold")
    await drain()
    assert (await row(id)).status == "in_doubt"
    await drain()
    assert len(smtpd.messages) == 1, "nobody sends it in passing"
    await resend(engine, id)
    del smtpd.faults["dot"]
    await drain()
    again = await row(id)
    assert (again.status, again.attempts, again.last_error) == ("sent", 1, None)
    first, second = (received.message for received in smtpd.messages)
    assert second["Message-ID"] == first["Message-ID"] == again.message_id
    assert second["Date"] == first["Date"]


async def test_an_email_declared_sent_is_never_sent_again(insert, drain, row, attempts, smtpd, engine):
    id = await insert(on_doubt="hold")
    await drain()
    await declare_sent(engine, id)
    await drain()
    assert (await row(id)).status == "sent"
    assert len(smtpd.messages) == 1
    assert [outcome for _, _, outcome, _ in await attempts(id)] == ["in_doubt", "accepted"]


@pytest.mark.smtpd(dot="drop", rcpt={"bob@example.org": "550 5.1.1 no such user"})
async def test_only_those_in_doubt_are_sent_it_once_more(insert, drain, row, smtpd, engine):
    id = await insert(on_doubt="hold", to_addrs="ada@example.org, bob@example.org")
    await drain()
    await resend(engine, id)
    del smtpd.faults["dot"]
    await drain()
    assert (await row(id)).status == "partial"
    assert [message.recipients for message in smtpd.messages] == [["ada@example.org"]] * 2
    assert sum("bob@" in command for command in smtpd.commands) == 1
