"""docs/guides/upgrading.md, from the oldest revision that can be gone back to, with rows in it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import make_url

from outbox.db.engine import create_engine
from outbox.db.schema import HEAD
from tests.fixtures.guide import Shell, execute, follow, on_postgresql, on_sqlite
from tests.migration.test_schema import ROOT, ini

pytestmark = pytest.mark.timeout(180)

PAGE = "guides/upgrading.md"
OLD = "0002"
ROWS = """
INSERT INTO email_outbox (to_addrs, subject, body_text, status, due_at, sensitive) VALUES
    ('ada@example.org', 'Waits', 'Hello', 'pending', CURRENT_TIMESTAMP, false),
    ('ada@example.org', 'Later', 'Hello', 'pending', '2999-01-01 00:00:00', false),
    ('ada@example.org', 'Over', 'Secret', 'failed', NULL, true)
"""
HOLD = "UPDATE email_outbox SET held = true, due_at = '9999-12-30 00:00:00' WHERE subject = 'Later'"
STANDING = "SELECT subject, status FROM email_outbox ORDER BY id"
REVISION = "SELECT version_num FROM outbox_alembic_version"


@pytest.fixture
def ready(shell, empty_database):
    """A shell with the settings, a catcher, and the checkout where the page has it."""
    Path("email-outbox").symlink_to(ROOT)
    shell.run(f"export OUTBOX_DATABASE_URL='{empty_database}' OUTBOX_SENDER=shop@example.org")
    shell.run("export OUTBOX_SMTP_URL=smtp://127.0.0.1:1025")
    shell.run("outbox catch > catch.log &")
    return shell


@pytest.fixture
def sql(empty_database):
    """The rows of a statement."""
    run = on_sqlite if empty_database.startswith("sqlite") else on_postgresql
    return lambda statement: [tuple(row) for row in run(empty_database, [(statement, ())])[0]]


def test_an_upgrade_takes_the_emails_along_and_so_does_the_way_back(ready, sql, empty_database):
    asyncio.run(begin_at(OLD, empty_database))
    sql(ROWS)
    back_up(ready, empty_database, sql)
    follow(PAGE, ready, "The new version", fails={"outbox run": 2})
    assert sql(REVISION) == [(HEAD,)]
    assert sql(STANDING) == [("Waits", "sent"), ("Later", "pending"), ("Over", "failed")]
    sql(HOLD)
    follow(PAGE, ready, "Back again")
    assert sql(REVISION) == [(OLD,)]
    assert sql(STANDING) == [("Waits", "sent"), ("Later", "pending"), ("Over", "failed")]
    execute(PAGE, empty_database, "Back again")
    ready.run("outbox migrate")
    ready.run("outbox run --drain")
    assert sql(STANDING) == [("Waits", "sent"), ("Later", "sent"), ("Over", "failed")]


async def begin_at(revision: str, url: str) -> None:
    engine = create_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.upgrade(ini(c), revision))
    await engine.dispose()


def back_up(shell: Shell, database: str, sql: Any) -> None:
    """As the page does; the backup has what was there."""
    url = make_url(database)
    if url.drivername.startswith("sqlite"):
        follow(PAGE, shell, "A backup on SQLite", there={"shop.db": str(url.database)})
        with closing(sqlite3.connect("shop-before.db")) as backup:
            assert backup.execute(REVISION).fetchall() == [(OLD,)]
            assert len(backup.execute(STANDING).fetchall()) == 3
        return
    [(programs,)] = sql("SELECT setting FROM pg_config WHERE name = 'BINDIR'")  # of the server's own version
    shell.run(f"export PGHOST={url.query['host']} PGUSER=postgres PATH={programs}:$PATH")
    follow(PAGE, shell, "A backup on PostgreSQL", there={" app": f" {url.database}"})
    dump = shell.run("pg_restore --file=- before.dump")
    assert all(f"\t{subject}\t" in dump for subject in ("Waits", "Later", "Over"))
    assert f"\n{OLD}\n" in dump
