"""The daemon deletes what is old by itself, while mail flows."""

import asyncio

import pytest

from outbox import maintenance
from outbox.core.retention import Rule
from outbox.core.status import Status
from outbox.daemon import Poller
from outbox.maintenance import Retention
from tests.db.rows import later

DAY = 86400.0


@pytest.fixture
def ended(insert, database):
    """An email that ended so many days ago; its id."""

    async def ended(status, days, **columns):
        return await insert(status=status, due_at=None, finished_at=later(database, -days * DAY), **columns)

    return ended


async def test_the_daemon_deletes_and_empties_by_itself_while_it_sends(
    settings, ended, insert, execute, smtpd, monkeypatch
):
    monkeypatch.setattr(maintenance, "RETENTION_INTERVAL", 0.05)
    retention = {"content": "30d", "rows": "1y", "rows_by_status": {"failed": "never"}}
    merged = settings.model_copy(update={"retention": type(settings.retention)(**retention)})
    old = [await ended("sent", 400) for _ in range(30)]
    middle, new = await ended("sent", 40), await ended("sent", 3)
    failed, doubt, waiting = await ended("failed", 400), await ended("in_doubt", 400), await insert()
    async with Poller(merged):
        await smtpd.received(1)
        while await execute("SELECT id FROM email_outbox WHERE status = 'failed' AND NOT erased"):
            pass
        while await execute("SELECT id FROM email_outbox WHERE id = :id", {"id": old[-1]}):
            pass
        later_ = await ended("expired", 400)  # it goes on
        while await execute("SELECT id FROM email_outbox WHERE id = :id", {"id": later_}):
            pass
    left = {row.id: row for row in await execute("SELECT id, status, body_text FROM email_outbox")}
    assert set(left) == {middle, new, failed, doubt, waiting}
    assert {id for id, row in left.items() if row.body_text is None} == {middle, failed}
    assert left[waiting].status == "sent"


async def test_what_fails_is_told_in_one_line_and_tried_again(store, monkeypatch, caplog, ended, execute, smtpd):
    monkeypatch.setattr(maintenance, "RETENTION_INTERVAL", 0.01)
    await ended("sent", 2)
    await execute("ALTER TABLE email_attempt RENAME TO hidden")
    running = asyncio.create_task(Retention(store, [Rule(Status.SENT, DAY, content_only=False)]).run())
    while "retention failed, trying again" not in caplog.text:
        await execute("SELECT 1")  # which lets it run
    await execute("ALTER TABLE hidden RENAME TO email_attempt")
    while await execute("SELECT id FROM email_outbox"):
        pass
    running.cancel()
