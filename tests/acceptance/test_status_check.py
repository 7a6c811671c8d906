"""`status --check` beside the daemon that it looks at."""

import json

import pytest

LIMITS = (
    "--max-wait-urgent",
    "1h",
    "--max-failed",
    "0",
    "--max-in-doubt",
    "0",
    "--max-held",
    "0",
    "--min-pollers",
    "1",
)


@pytest.mark.smtpd(rcpt={"bob@example.org": "550 5.1.1 no such user"})
async def test_a_daemon_that_sends_is_fine_until_an_email_fails(outbox, execute, smtpd, fill):
    daemon = await outbox("run")
    while b"polls" not in await daemon.process.stderr.readline():
        pass
    await fill(1)
    await smtpd.received(1)
    process = (await outbox("status", "--check", *LIMITS)).process
    assert (await process.communicate())[0] == b"mail is moving\n"
    assert process.returncode == 0
    insert = "INSERT INTO email_outbox (to_addrs, subject, body_text) VALUES ('bob@example.org', 'x', 'x') RETURNING id"
    [row] = await execute(insert)
    while (await execute(f"SELECT status FROM email_outbox WHERE id = {row.id}"))[0].status != "failed":
        pass
    process = (await outbox("status", "--check", "--json", *LIMITS)).process
    told = json.loads((await process.communicate())[0])
    assert [breach["code"] for breach in told["breaches"]] == ["max_failed"]
    assert process.returncode == 1
