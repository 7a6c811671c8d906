"""`kill -9` while another transport stands in."""

import json

import pytest

from tests.fixtures.smtpd import Smtpd


@pytest.fixture
async def other(server_context):
    """A second SMTP server."""
    async with Smtpd(server_context) as server:
        yield server


@pytest.mark.smtpd(greeting="421 4.3.2 closing")
async def test_what_a_stand_in_may_have_is_sent_over_it_again_though_its_own_server_is_back(
    outbox, put, smtpd, other, execute
):
    transports = {"default": {"url": smtpd.url, "failover": ["other"]}, "other": {"url": other.url}}
    settings = {"OUTBOX_SMTP_URL": "", "OUTBOX_TRANSPORTS": json.dumps(transports), "OUTBOX_LEASE": "2s"}
    first = await outbox("run", **settings)

    other.faults["dot"] = lambda _: first.kill()
    await put()
    await other.received(1)
    await first.process.wait()
    other.faults.clear()
    smtpd.faults.clear()
    await execute("UPDATE email_transport SET paused_until = NULL, reason = NULL")
    await outbox("run", **settings)
    await other.received(2)
    assert not smtpd.messages
    assert len({message.message["Message-ID"] for message in other.messages}) == 1
