"""One email that runs into what looks like a fault of the transport, again and again: the others still go out."""

from outbox.core import retry
from outbox.daemon import Poller


def throttled(address):
    """The server says "rate limit" to this one, always."""
    return "450 4.2.1 mailbox rate limit exceeded" if address == "poison@example.org" else None


async def test_an_email_that_is_always_throttled_does_not_hold_up_the_others(insert, settings, smtpd, row):
    smtpd.faults = {"rcpt": throttled}
    poison = await insert(to_addrs="poison@example.org")
    async with Poller(settings):
        for number in range(4):
            await insert(to_addrs=f"good{number}@example.org")
            await smtpd.received(number + 1)
    waiting = await row(poison)
    assert (waiting.status, waiting.attempts) == ("pending", 0), "an attempt is not lost by it"


async def test_what_bounces_too_often_is_held_against_the_email_and_ends(insert, drain, smtpd, row, monkeypatch):
    monkeypatch.setattr(retry, "STUBBORN", 0)
    smtpd.faults = {"rcpt": throttled}
    poison = await insert(to_addrs="poison@example.org", max_attempts=1)
    await drain()
    found = await row(poison)
    assert (found.status, found.attempts) == ("failed", 1)
    assert "rate limit" in found.last_error


async def test_who_accepted_in_the_first_of_several_transactions_is_on_record_before_the_second(
    insert, settings, smtpd, attempts
):
    seen = []

    async def look(address):
        if address == "second@example.org":
            seen.extend(await attempts(id))

    smtpd.faults = {"rcpt": look}
    id = await insert(to_addrs="first@example.org, second@example.org")
    default = settings.transports["default"].model_copy(update={"max_recipients": 1})
    async with Poller(settings.model_copy(update={"transports": {"default": default}}), drain=True) as poller:
        await poller.finished()
    assert [outcome[:3] for outcome in seen] == [(1, "first@example.org", "accepted")]
    assert [outcome[:3] for outcome in await attempts(id)] == [
        (1, "first@example.org", "accepted"),
        (1, "second@example.org", "accepted"),
    ]
