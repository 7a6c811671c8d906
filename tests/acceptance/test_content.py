"""Shared files and purges beside a daemon that sends."""

import pytest

from outbox import Attachment, Email, enqueue
from tests.db.rows import later

TERMS = b"terms and conditions " * 1000


@pytest.mark.timeout(180)
async def test_a_file_shared_by_many_emails_is_stored_once_and_sent_with_each(outbox, engine, execute, smtpd):
    async with engine.begin() as connection:
        emails = (
            Email(to=f"r{n}@example.org", subject="Hi", text="x", attachments=[Attachment("terms.pdf", TERMS)])
            for n in range(30)
        )
        await enqueue(connection, *emails)
    assert len(await execute("SELECT id FROM email_blob")) == 1
    assert (await (await outbox("run", "--drain")).ended())[0] == 0
    assert len(smtpd.messages) == 30
    for received in smtpd.messages:
        [file] = received.message.iter_attachments()
        assert (file.get_filename(), file.get_content()) == ("terms.pdf", TERMS)


@pytest.mark.timeout(180)
async def test_a_purge_beside_a_daemon_takes_what_is_old_and_nothing_that_is_on_its_way(
    outbox, fill, execute, smtpd, database
):
    columns = "to_addrs, body_text, status, due_at, finished_at"
    numbers = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5000)"
    old = "'o' || n || '@example.org', 'x', 'sent', NULL, '2020-01-01 00:00:00'"
    await execute(f"{numbers} INSERT INTO email_outbox ({columns}) SELECT {old} FROM r")
    [row] = await execute(
        f"INSERT INTO email_outbox ({columns}) VALUES ('new@example.org', 'x', 'sent', NULL, :now) RETURNING id",
        {"now": later(database, 0)},
    )
    daemon = await outbox("run", OUTBOX_RETENTION_CONTENT="30d")
    ids = await fill(500)
    purge = await outbox("purge", "--older-than", "30d")
    out, errors = await purge.process.communicate()
    assert (out.decode(), errors.decode()) == ("5,000 emails deleted (5,000 sent)\n", "")
    await smtpd.received(500)
    daemon.process.terminate()
    assert (await daemon.ended())[0] == 0
    left = {r.id: r.status for r in await execute("SELECT id, status FROM email_outbox")}
    assert left == dict.fromkeys([row.id, *ids], "sent")
    assert len({message.recipients[0] for message in smtpd.messages}) == 500
