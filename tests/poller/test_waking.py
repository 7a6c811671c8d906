"""A poller at rest sends what others commit without waiting for its next look."""

import pytest

from outbox.daemon import Poller


@pytest.fixture
def asleep(monkeypatch):
    """Pollers nap for an hour from the start."""
    monkeypatch.setattr("outbox.poller.SHORTEST_NAP", 3600.0)


async def test_what_another_program_commits_is_sent_at_once(asleep, insert, settings, smtpd):
    async with Poller(settings.model_copy(update={"poll_interval": 3600.0})):
        for number in range(1, 4):
            await insert()
            await smtpd.received(number)


async def test_without_hints_new_mail_is_found_by_polling(insert, settings, smtpd, execute, engine):
    if engine.dialect.name == "postgresql":
        await execute("DROP TRIGGER email_outbox_inserted ON email_outbox")
    async with Poller(settings.model_copy(update={"listen": False, "poll_interval": 0.05})):
        await insert()
        await smtpd.received(1)
