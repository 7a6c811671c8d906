"""A poller on the test's own database and SMTP server."""

import pytest

from outbox.daemon import Poller
from outbox.db.store import Store
from outbox.settings import Settings
from tests.fixtures.smtpd import Smtpd


@pytest.fixture
def settings(database, smtpd):
    """Settings as an application would have them; override with `settings.model_copy(update=…)`."""
    return Settings(database_url=database, smtp_url=smtpd.url, sender="Shop <shop@example.org>", poll_interval="200ms")


@pytest.fixture
def drain(settings):
    """Send what is due and stop, as `outbox run --drain` does; tells whether something due was left behind."""

    async def run(**changes):
        merged = Settings(**{**settings.model_dump(exclude={"transports"}), **changes})
        async with Poller(merged, drain=True) as poller:
            await poller.finished()
            return await poller.left_behind()

    return run


@pytest.fixture
def insert(execute):
    """INSERT by plain SQL, as any language would; gives the id."""

    async def run(**columns):
        columns = {"to_addrs": "ada@example.org", "subject": "Hi", "body_text": "Hello", **columns}
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)

        rows = await execute(f"INSERT INTO email_outbox ({names}) VALUES ({marks}) RETURNING id", columns)
        return rows[0].id

    return run


@pytest.fixture
def row(execute):
    """The row with this id, as the database has it."""

    async def run(id):
        return (await execute("SELECT * FROM email_outbox WHERE id = :id", {"id": id}))[0]

    return run


@pytest.fixture
def attempts(execute):
    """(attempt, recipient, outcome, code) of a row, in order."""

    async def run(id):
        rows = await execute(
            "SELECT attempt, recipient, outcome, code FROM email_attempt WHERE outbox_id = :id ORDER BY id", {"id": id}
        )
        return [tuple(r) for r in rows]

    return run


@pytest.fixture
def make_due(execute):
    """Let the time until the next attempt pass."""

    async def run(id):
        await execute("UPDATE email_outbox SET due_at = created_at WHERE id = :id", {"id": id})

    return run


@pytest.fixture
async def other(server_context):
    """A second SMTP server."""
    async with Smtpd(server_context) as server:
        yield server


@pytest.fixture
def configured(database, smtpd, other):
    """Settings of two transports, `default` and `other`."""

    def make(*, routes=(), default=(), besides=(), **more):
        transports = {"default": {"url": smtpd.url, **dict(default)}, "other": {"url": other.url}, **dict(besides)}
        return Settings(
            database_url=database,
            sender="shop@example.org",
            poll_interval="200ms",
            transports=transports,
            routes=routes,
            **more,
        )

    return make


@pytest.fixture
def taken(monkeypatch):
    """The ids of the rows that were claimed, each as often as it was."""
    found: list[int] = []
    claim = Store.claim

    async def noted(self, *args, **kwargs):
        rows = await claim(self, *args, **kwargs)
        found.extend(row.id for row in rows)
        return rows

    monkeypatch.setattr(Store, "claim", noted)
    return found
