"""`top` beside the daemon that it looks at."""

import pytest


@pytest.mark.smtpd(rcpt={"r1@example.org": "550 5.1.1 no such user"})
async def test_top_shows_the_daemon_at_work(outbox, smtpd, fill, execute):
    daemon = await outbox("run")
    while b"polls" not in await daemon.process.stderr.readline():
        pass
    await fill(3)
    while len(await execute("SELECT 1 FROM email_attempt")) < 3:
        pass
    [poller] = await execute("SELECT name FROM email_poller")
    process = (await outbox("top", "--once", COLUMNS="200")).process
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    lines = [line.split() for line in out.decode().splitlines()]
    assert ["default", "not", "paused", "0.2", "0.0", "0.1", "0.0"] in lines
    assert [line[-1] for line in lines if line[:1] == [poller.name]] == ["yes"]
    [failure] = [line for line in lines if "r1@example.org" in line]
    assert failure[-6:] == ["refused", "550", "5.1.1", "no", "such", "user"]
