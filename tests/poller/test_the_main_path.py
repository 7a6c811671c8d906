"""From a committed row to a sent email, and every way it can end."""

from datetime import UTC, datetime, timedelta

import pytest

from outbox import Email, enqueue


async def test_a_bare_insert_is_a_complete_email_and_ends_sent(insert, drain, smtpd, row, attempts):
    id = await insert(to_addrs="Ada <ada@example.org>")
    assert not await drain()
    [message] = smtpd.messages
    assert message.recipients == ["ada@example.org"]
    assert message.sender == "shop@example.org"
    assert message.message["To"] == "Ada <ada@example.org>"
    assert message.message["Auto-Submitted"] == "auto-generated"
    assert message.message.get_content().strip() == "Hello"
    sent = await row(id)
    assert (sent.status, sent.attempts, sent.due_at, sent.last_error) == ("sent", 1, None, None)
    assert sent.finished_at is not None
    assert sent.claim_token is None
    assert message.message["Message-ID"] == sent.message_id
    assert await attempts(id) == [(1, "ada@example.org", "accepted", 250)]


async def test_an_email_that_a_person_wrote_says_so_by_its_headers(insert, drain, smtpd):
    await insert(headers='{"Auto-Submitted": "no"}')
    await drain()
    assert smtpd.messages[0].message.get_all("Auto-Submitted") == ["no"]


async def test_what_is_rolled_back_never_existed(engine, drain, smtpd):
    async with engine.connect() as connection:
        await enqueue(connection, Email(to="ada@example.org", subject="Ghost", text="Boo"))
        await connection.rollback()
    await drain()
    assert smtpd.messages == []


async def test_bcc_recipients_get_it_and_nobody_sees_them(insert, drain, smtpd, row):
    id = await insert(cc_addrs="cc@example.org", bcc_addrs="secret@example.org")
    await drain()
    [message] = smtpd.messages
    assert message.recipients == ["ada@example.org", "cc@example.org", "secret@example.org"]
    assert b"secret" not in message.content
    assert (await row(id)).status == "sent"


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user")
async def test_a_refused_recipient_ends_the_row_failed_with_the_servers_words(insert, drain, row, attempts, smtpd):
    id = await insert()
    await drain()
    failed = await row(id)
    assert failed.status == "failed"
    assert failed.last_error == "ada@example.org: 550 5.1.1 no such user"
    assert await attempts(id) == [(1, "ada@example.org", "refused", 550)]
    assert smtpd.messages == []


@pytest.mark.smtpd(rcpt={"bob@example.org": "550 5.1.1 no such user"})
async def test_one_refused_of_two_ends_partial(insert, drain, row, attempts):
    id = await insert(to_addrs="ada@example.org, bob@example.org")
    await drain()
    assert (await row(id)).status == "partial"
    assert await attempts(id) == [
        (1, "ada@example.org", "accepted", 250),
        (1, "bob@example.org", "refused", 550),
    ]


async def test_an_accepted_recipient_is_never_sent_that_email_again(insert, drain, smtpd, row, attempts, make_due):
    id = await insert(to_addrs="ada@example.org, bob@example.org")
    smtpd.faults = {"rcpt": {"bob@example.org": "450 4.2.0 greylisted"}}
    await drain()
    waiting = await row(id)
    assert (waiting.status, waiting.attempts, waiting.claim_token) == ("pending", 1, None)
    assert waiting.due_at is not None
    assert waiting.last_error == "bob@example.org: 450 4.2.0 greylisted"
    smtpd.faults = {}
    await make_due(id)
    await drain()
    assert [message.recipients for message in smtpd.messages] == [["ada@example.org"], ["bob@example.org"]]
    first, second = (message.message for message in smtpd.messages)
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Date"] == second["Date"]
    assert (await row(id)).status == "sent"
    assert [attempt[0:3] for attempt in await attempts(id)] == [
        (1, "ada@example.org", "accepted"),
        (1, "bob@example.org", "deferred"),
        (2, "bob@example.org", "accepted"),
    ]


@pytest.mark.smtpd(rcpt="450 4.2.0 busy")
async def test_a_row_gives_up_after_its_attempts_and_says_so(insert, drain, row, make_due):
    id = await insert(max_attempts=2)
    await drain()
    assert (await row(id)).status == "pending"
    await make_due(id)
    await drain()
    failed = await row(id)
    assert (failed.status, failed.attempts) == ("failed", 2)
    assert failed.last_error == "gave up after 2 attempts: ada@example.org: 450 4.2.0 busy"


async def test_a_row_past_its_expiry_is_not_sent(engine, drain, smtpd, row):
    async with engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        [id] = await enqueue(connection, Email(to="ada@example.org", subject="Code", text="1", expires_at=past))
    await drain()
    assert (await row(id)).status == "expired"
    assert smtpd.messages == []


async def test_a_row_scheduled_for_later_waits(engine, drain, smtpd, row):
    async with engine.begin() as connection:
        later = datetime.now(UTC) + timedelta(hours=1)
        [id] = await enqueue(connection, Email(to="ada@example.org", subject="Later", text="1", due_at=later))
    assert not await drain()
    assert (await row(id)).status == "pending"
    assert smtpd.messages == []


async def test_urgent_rows_go_first(insert, drain, smtpd):
    for priority in (2, 1, 0):
        await insert(priority=priority, subject=str(priority))
    await drain()
    assert [message.message["Subject"] for message in smtpd.messages] == ["0", "1", "2"]


async def test_one_bad_row_ends_alone_and_delays_nobody(insert, drain, smtpd, row, tmp_path):
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "hello.txt").write_text("Hi\n{{ who }}\n")
    (templates / "hello.subject.txt").write_text("Hi")
    bad = [
        await insert(subject="Hi\r\nBcc: victim@example.org"),
        await insert(template="hello", context="{}", subject=None, body_text=None),
        await insert(template="../../etc/passwd", subject=None, body_text=None),
        await insert(to_addrs="not an address"),
        await insert(headers='{"X-Note": "a\\r\\nBcc: victim@example.org"}'),
        await insert(sender="nobody"),
        await insert(transport="pigeon"),
    ]
    good = await insert(to_addrs="good@example.org")
    await drain(templates=templates)
    assert [message.recipients for message in smtpd.messages] == [["good@example.org"]]
    assert (await row(good)).status == "sent"
    errors = []
    for id in bad:
        failed = await row(id)
        assert (failed.status, failed.attempts) == ("failed", 1)
        assert "\n" not in failed.last_error
        errors.append(failed.last_error)
    assert "hello.txt line 2: 'who' is undefined" in errors[1]
    assert "'not an address' is not an address" in errors[3]
    assert "transport 'pigeon' is not configured (there is: default)" in errors[6]


async def test_a_bad_address_in_a_list_is_refused_and_the_others_get_it(insert, drain, smtpd, row, attempts):
    id = await insert(to_addrs="ada@example.org, bob@@nowhere")
    await drain()
    assert [message.recipients for message in smtpd.messages] == [["ada@example.org"]]
    assert (await row(id)).status == "partial"
    assert [(recipient, outcome) for _, recipient, outcome, _ in await attempts(id)] == [
        ("ada@example.org", "accepted"),
        ("bob@@nowhere", "refused"),
    ]
