"""Deleting what is old, on both databases: all of it, in small batches, and nothing else."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from outbox import Attachment, Email, enqueue
from outbox.core.retention import Rule
from outbox.core.status import FINAL, Status
from outbox.db import purge as purging
from outbox.db.engine import create_engine
from outbox.db.purge import count, purge, release_blobs, until
from outbox.db.store import open_store
from tests.db.rows import insert, later

DAY = 86400.0
CONTENT = {"body_text": "hush", "body_html": "hush", "context": '{"a": "hush"}'}


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch):
    monkeypatch.setattr(purging, "REST", 0.0)


@pytest.fixture
def ended(execute, database):
    """Insert an email that ended so many days ago; its id."""

    async def ended(status, days, **columns):
        end = {"status": status, "due_at": None, "finished_at": later(database, -days * DAY)}
        return await insert(execute, **{**end, **CONTENT, **columns})

    return ended


@pytest.fixture
def clear(store):
    """Apply a rule; how many emails of each batch."""

    async def clear(status, days, *, content_only=False):
        rule = Rule(Status(status), days * DAY, content_only)
        end = await until(store, rule.age)
        expected = await count(store, rule, end)
        batches = [done async for done in purge(store, rule, end)]
        assert sum(batches) == expected
        return batches

    return clear


async def ids(execute, where="true"):
    return [row.id for row in await execute(f"SELECT id FROM email_outbox WHERE {where} ORDER BY id")]


async def test_what_is_old_and_of_that_status_goes_with_its_record_and_nothing_else(ended, clear, execute):
    old = [await ended("sent", days) for days in (31, 40, 3000)]
    kept = [await ended("sent", 29), await ended("failed", 31), await insert(execute)]
    for id_ in (old[0], kept[0]):
        await execute(
            "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome) VALUES (:id, 1, 'a@x.org', 'accepted')",
            {"id": id_},
        )
    assert sum(await clear("sent", 30)) == 3
    assert await ids(execute) == sorted(kept)
    assert [row.outbox_id for row in await execute("SELECT outbox_id FROM email_attempt")] == [kept[0]]
    assert await clear("sent", 30) == []


async def test_content_goes_alone_once_and_the_facts_stay(ended, clear, execute):
    old, new = await ended("failed", 31, last_error="why"), await ended("failed", 29)
    for id_ in (old, new):
        await execute(
            "INSERT INTO email_attachment (outbox_id, filename, content) VALUES (:id, 'a', :c)", {"id": id_, "c": b"a"}
        )
    assert await clear("failed", 30, content_only=True) == [1]
    rows = await execute("SELECT id, subject, body_text, body_html, context, last_error FROM email_outbox ORDER BY id")
    assert tuple(rows[0]) == (old, "Hi", None, None, None, "why")
    assert rows[1].body_text == "hush"
    assert [row.outbox_id for row in await execute("SELECT outbox_id FROM email_attachment")] == [new]
    assert await clear("failed", 30, content_only=True) == [], "nobody walks over the erased ones again"
    assert await clear("failed", 30) == [1], "they are deleted later all the same"


async def test_what_was_erased_cannot_be_sent_again_and_says_why(ended, clear, operations):
    old = await ended("failed", 31)
    await clear("failed", 30, content_only=True)
    changed = await operations.retry([old])
    assert changed.unchanged == {old: "is already failed, and its content was erased"}


async def test_many_that_ended_in_the_same_moment_are_all_found_in_batches(ended, clear, execute, database):
    moment = "2020-01-01 00:00:00.5" if database.startswith("sqlite") else datetime(2020, 1, 1, tzinfo=UTC)
    for _ in range(260):
        await ended("sent", 0, finished_at=moment)
    batches = await clear("sent", 30)
    assert sum(batches) == 260
    assert len(batches) > 1
    assert await ids(execute) == []


async def test_a_key_can_be_used_again_once_its_row_is_gone(ended, clear, engine, execute):
    async def put():
        async with engine.begin() as connection:
            mail = Email(to="a@example.org", subject="Hi", text="x", idempotency_key="k")
            return await enqueue(connection, mail)

    await ended("sent", 31, idempotency_key="k")
    before = await put()
    await clear("sent", 30)
    assert await put() != before


async def test_shared_files_go_with_their_last_email(clear, engine, execute, database):
    data = b"terms" * 1000
    async with engine.begin() as connection:
        emails = [Email(to="a@example.org", subject="Hi", attachments=[Attachment("a.pdf", data)]) for _ in range(3)]
        one, two, _ = await enqueue(connection, *emails)
    end = {"at": later(database, -31 * DAY), "one": one, "two": two}
    ends = "UPDATE email_outbox SET status = 'sent', due_at = NULL, finished_at = :at WHERE id IN (:one, :two)"
    await execute(ends, end)
    await clear("sent", 30)
    assert len(await execute("SELECT id FROM email_blob")) == 1
    await execute("UPDATE email_outbox SET status = 'sent', due_at = NULL, finished_at = :at", {"at": end["at"]})
    await clear("sent", 30, content_only=True)
    assert await execute("SELECT id FROM email_blob") == []


async def test_a_row_that_somebody_works_on_is_left_alone_and_nobody_waits(postgres_database):
    engine = create_engine(postgres_database)
    store = open_store(engine)
    rule = Rule(Status.FAILED, 0.0, content_only=False)
    async with engine.begin() as connection:
        rows = "('a@x.org', 'failed', NULL, now()), ('b@x.org', 'failed', NULL, now())"
        await connection.execute(
            text(f"INSERT INTO email_outbox (to_addrs, status, due_at, finished_at) VALUES {rows}")
        )
    end = await until(store, rule.age)
    async with engine.connect() as other:
        await other.execute(
            text("UPDATE email_outbox SET status = 'pending', due_at = now(), finished_at = NULL WHERE id = 1")
        )
        assert [done async for done in purge(store, rule, end)] == [1]
        await other.commit()
        assert [tuple(row) for row in await other.execute(text("SELECT id, status FROM email_outbox"))] == [
            (1, "pending")
        ]
    await store.close()
    await engine.dispose()


async def test_what_ended_anew_meanwhile_is_not_old_any_more(ended, store, execute, database, monkeypatch):
    """Retried and failed again between the look and the lock."""
    id_ = await ended("failed", 31)
    rule = Rule(Status.FAILED, 30 * DAY, content_only=False)
    found = purging._next

    async def look(*args, **keywords):
        rows = await found(*args, **keywords)
        if rows:
            await execute("UPDATE email_outbox SET finished_at = :now", {"now": later(database, 0)})
        return rows

    monkeypatch.setattr(purging, "_next", look)
    assert [done async for done in purge(store, rule, await until(store, rule.age))] == [0]
    assert await ids(execute) == [id_]


async def test_purges_and_pollers_at_once_take_every_email_once(ended, engine, execute):
    made = {await ended("sent", 31) for _ in range(300)}
    rule = Rule(Status.SENT, 30 * DAY, content_only=False)
    stores = [open_store(engine) for _ in range(3)]
    end = await until(stores[0], rule.age)

    async def run(store):
        return sum([done async for done in purge(store, rule, end)])

    assert sum(await asyncio.gather(*map(run, stores))) == len(made)
    assert await ids(execute) == []


async def test_a_blob_that_two_transactions_left_behind_is_found(store, execute):
    await execute("INSERT INTO email_blob (sha256, content) VALUES ('unused', :c), ('used', :c)", {"c": b"x"})
    id_ = await insert(execute)
    await execute(
        "INSERT INTO email_attachment (outbox_id, filename, blob_id)"
        f" SELECT {id_}, 'a', id FROM email_blob WHERE sha256 = 'used'"
    )
    assert [done async for done in release_blobs(store)] == [1]
    assert [row.sha256 for row in await execute("SELECT sha256 FROM email_blob")] == ["used"]


ROWS = st.lists(st.tuples(st.sampled_from([*Status]), st.integers(0, 4), st.booleans()), max_size=12)
RULES = st.lists(
    st.builds(Rule, st.sampled_from(sorted(FINAL)), st.sampled_from([0.5 * DAY, 1.5 * DAY, 2.5 * DAY]), st.booleans()),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, rules=RULES)
def test_whatever_is_purged_no_row_is_touched_that_the_rules_do_not_name(database, rows, rules):
    """Against a model: a list of rows in memory."""
    asyncio.run(against_model(database, rows, rules))


async def against_model(database, rows, rules):
    engine = create_engine(database)
    store = open_store(engine)
    try:
        await fill(engine, database, rows)
        model = {str(number): (status, days, True) for number, (status, days, _) in enumerate(rows)}
        for rule in rules:
            done = sum([some async for some in purge(store, rule, await until(store, rule.age))])
            old = [tag for tag, (s, days, _) in model.items() if s is rule.status and days * DAY > rule.age]
            if rule.content_only:
                assert done == sum(model[tag][2] for tag in old)
                model.update({tag: (*model[tag][:2], False) for tag in old})
            else:
                assert done == len(old)
                model = {tag: row for tag, row in model.items() if tag not in old}
        async with engine.connect() as connection:
            left = await connection.execute(text("SELECT tag, status, body_text, erased, due_at FROM email_outbox"))
            found = {row.tag: tuple(row) for row in left}
    finally:
        await store.close()
    assert found.keys() == model.keys()
    for tag, (status, _, content) in model.items():
        _, status_, body, erased, due = found[tag]
        assert (status_, body, bool(erased)) == (status, "body" if content else None, not content)
        assert (due is None) == (status in FINAL)


async def fill(engine, database, rows):
    """Each row is a status, an age in days and whether it is sensitive."""
    columns = ("to_addrs", "body_text", "status", "due_at", "finished_at", "tag", "sensitive")
    marks = ", ".join(f":{name}" for name in columns)
    now = later(database, 0)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM email_outbox"))
        for number, (status, days, sensitive) in enumerate(rows):
            due, finished = (None, later(database, -days * DAY)) if status in FINAL else (now, None)
            values = ("a@x.org", "body", status.value, due, finished, str(number), sensitive)
            statement = f"INSERT INTO email_outbox ({', '.join(columns)}) VALUES ({marks})"
            await connection.execute(text(statement), dict(zip(columns, values, strict=True)))
