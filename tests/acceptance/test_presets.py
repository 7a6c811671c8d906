"""What a preset knows of a provider, as that provider's server sees it, through the daemon as it is run."""

import pytest

from outbox import Email, enqueue


@pytest.fixture
def sent(outbox, engine, smtpd):
    """Send so many emails to so many recipients each, with these settings; gives what the server took."""

    async def run(emails, recipients, **environment):
        people = [f"r{number}@example.org" for number in range(recipients)]
        async with engine.begin() as connection:
            await enqueue(connection, *(Email(to=people, subject="Hi", text="Hello") for _ in range(emails)))
        code, errors = await (await outbox("run", "--drain", **environment)).ended()
        assert code == 0, errors
        return [len(message.recipients) for message in smtpd.messages]

    return run


@pytest.mark.parametrize(
    ("settings", "connections"),
    [
        ({}, 1),
        ({"OUTBOX_PRESET": "mailgun"}, 3),
        ({"OUTBOX_PRESET": "mailgun", "OUTBOX_MESSAGES_PER_CONNECTION": "4"}, 2),
    ],
)
async def test_a_connection_carries_as_many_messages_as_the_provider_takes(sent, smtpd, settings, connections):
    assert await sent(7, 1, OUTBOX_MAX_CONNECTIONS="1", **settings) == [1] * 7
    assert smtpd.connections == connections


@pytest.mark.parametrize(("preset", "transactions"), [("ses", [50, 50, 20]), ("gmail", [100, 20]), ("postfix", [120])])
async def test_a_message_has_as_many_recipients_as_the_provider_takes(sent, preset, transactions):
    assert await sent(1, 120, OUTBOX_PRESET=preset) == transactions


@pytest.mark.parametrize("preset", ["gmail", "microsoft365"])
async def test_the_rate_of_a_provider_is_kept_with_all_pollers(sent, execute, preset):
    await sent(1, 1, OUTBOX_PRESET=preset)
    [state] = await execute("SELECT rate_state FROM email_transport WHERE name = 'default'")
    assert state.rate_state
