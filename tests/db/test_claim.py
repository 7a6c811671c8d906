"""Claiming, on both databases: what is taken, in which order, by whom, and that nothing can spoil it."""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from outbox.core.claim import AttachedFile, Result
from outbox.core.message import MessageIds
from outbox.core.outcome import Kind, Outcome
from outbox.core.retry import Verdict
from outbox.core.status import Status
from outbox.db.engine import create_engine
from outbox.db.store import Store, open_store
from tests.db.rows import claim, insert, insert_many, later


async def test_a_bare_insert_is_a_complete_email_that_can_be_claimed(store, execute):
    await execute("INSERT INTO email_outbox (to_addrs, subject, body_text) VALUES ('a@example.org', 'Hi', 'Hello')")
    [row] = await claim(store)
    assert (row.to_addrs, row.subject, row.body_text) == ("a@example.org", "Hi", "Hello")
    assert (row.attempts, row.taken_over, row.priority, row.on_doubt) == (1, False, 1, "resend")
    assert (row.cc_addrs, row.headers, row.expires_in, row.has_attachments, row.history) == (
        None,
        None,
        None,
        False,
        {},
    )
    assert abs((datetime.now(UTC) - row.created_at).total_seconds()) < 3600


async def test_a_claim_marks_the_row_and_fixes_its_message_id(store, execute):
    id_ = await insert(execute)
    ids = MessageIds.new(datetime.now(UTC), "example.org")
    [row] = await store.claim(10, poller="p1", lease=60, message_ids=ids)
    assert row.message_id == ids.of(id_)
    [stored] = await execute("SELECT status, attempts, claim_token, claimed_by, message_id FROM email_outbox")
    assert tuple(stored) == ("sending", 1, row.claim_token, "p1", row.message_id)
    assert 50 < await store.next_due() <= 60


async def test_a_claimed_row_is_not_claimed_again_while_its_lease_runs(store, execute):
    await insert(execute)
    assert len(await claim(store)) == 1
    assert await claim(store) == []


async def test_a_row_that_is_not_due_yet_is_left(store, execute, database):
    await insert(execute, due_at=later(database, 3600))
    assert await claim(store) == []


async def test_a_row_whose_lease_ended_is_taken_over_with_its_message_id(store, execute):
    await insert(execute)
    [first] = await claim(store, lease=-1)
    assert await claim(store, held=[first.id]) == [], "its own rows it renews"
    [second] = await claim(store, poller="another")
    assert (second.taken_over, second.attempts) == (True, 2)
    assert second.message_id == first.message_id
    assert second.claim_token != first.claim_token


async def test_a_poller_that_never_heard_of_its_claim_takes_the_rows_when_their_lease_ends(store, execute):
    id_ = await insert(execute)
    await claim(store, lease=-1)  # committed, and the answer was lost with the connection
    [row] = await claim(store)
    assert (row.id, row.taken_over) == (id_, True)


async def test_a_row_lost_three_times_is_claimed_only_by_a_poller_that_holds_nothing_else(store, execute):
    suspect = await insert(execute)
    for number in range(3):
        await claim(store, lease=-1, poller=f"killed-{number}")
    good = await insert(execute)
    assert [row.id for row in await claim(store)] == [good]
    assert await claim(store) == []
    [row] = await claim(store, held=())
    assert (row.id, row.attempts) == (suspect, 4)


async def test_a_suspect_that_no_poller_gets_to_alone_is_claimed_like_any_other_after_a_minute(store, execute):
    await insert(execute)
    for number in range(3):
        await claim(store, lease=-70 if number == 2 else -1, poller=f"killed-{number}")
    assert len(await claim(store)) == 1


async def test_the_most_urgent_come_first_then_the_longest_due(store, execute, database):
    bulk = await insert(execute, priority=2)
    late = await insert(execute, due_at=later(database, -10))
    early = await insert(execute, due_at=later(database, -20))
    urgent = await insert(execute, priority=0)
    assert [row.id for row in await claim(store)] == [urgent, early, late, bulk]


@pytest.mark.parametrize("limit", [1, 2, 8])
async def test_no_lane_starves_behind_urgent_mail_and_no_claim_exceeds_its_limit(store, execute, limit):
    await insert_many(execute, 40, priority=0)
    for priority in (1, 2):
        await insert_many(execute, 3, priority=priority)
    seen = set()
    for _ in range(8):
        rows = await claim(store, limit=limit)
        assert len(rows) <= limit
        seen |= {row.priority for row in rows}
    assert seen == {0, 1, 2}


async def test_a_lane_takes_the_places_that_others_leave(store, execute):
    await insert_many(execute, 10, priority=2)
    assert len(await claim(store, limit=10)) == 10


async def test_two_pollers_racing_never_get_the_same_row(database, store, execute):
    await insert_many(execute, 120)
    engine = create_engine(database)
    other = open_store(engine)
    taken: list[int] = []

    async def drain(one: Store) -> None:
        while rows := await claim(one, limit=7):
            taken.extend(row.id for row in rows)

    await asyncio.gather(drain(store), drain(other), drain(store), drain(other))
    while rows := await claim(store):  # whoever found every row locked had stopped early
        taken.extend(row.id for row in rows)
    await other.close()
    assert len(taken) == len(set(taken)) == 120


async def test_a_claim_does_not_wait_for_rows_that_somebody_else_has_locked(postgres_database):
    engine = create_engine(postgres_database)
    store = open_store(engine)
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO email_outbox (to_addrs) VALUES ('a@x.org'), ('b@x.org')"))
    async with engine.begin() as other, asyncio.timeout(10):
        await other.execute(text("SELECT 1 FROM email_outbox WHERE to_addrs = 'a@x.org' FOR UPDATE"))
        assert [row.to_addrs for row in await claim(store)] == ["b@x.org"]
    assert [row.to_addrs for row in await claim(store)] == ["a@x.org"]
    await store.close()


async def test_history_tells_who_accepted_whatever_came_later(store, execute):
    id_ = await insert(execute)
    [row] = await claim(store)
    outcomes = {"a@x.org": Outcome(Kind.ACCEPTED), "b@x.org": Outcome(Kind.DEFERRED), "c@x.org": Outcome(Kind.IN_DOUBT)}
    retry = Verdict(Status.PENDING, delay=0.0)
    await store.record([Result(id_, row.claim_token, 1, retry, outcomes)], poller="p")
    await execute(
        "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome) VALUES (:id, 2, 'a@x.org', 'deferred')",
        {"id": id_},
    )
    [again] = await claim(store)
    assert again.history == {"a@x.org": Kind.ACCEPTED, "b@x.org": Kind.DEFERRED, "c@x.org": Kind.IN_DOUBT}


async def test_expiry_is_told_as_seconds_left(store, execute, database):
    await insert(execute, expires_at=later(database, 100))
    [row] = await claim(store)
    assert 90 < float(row.expires_in or 0) <= 100


async def test_a_message_id_of_the_application_is_kept(store, execute):
    await insert(execute, message_id="<mine@example.org>")
    [row] = await claim(store)
    assert row.message_id == "<mine@example.org>"


async def test_json_comes_as_text_and_attachments_are_announced(store, execute):
    id_ = await insert(execute, context='{"n": 1}', headers='{"X-A": "b"}')
    await execute(
        "INSERT INTO email_attachment (outbox_id, filename, content) VALUES (:id, 'a.txt', :content)",
        {"id": id_, "content": b"abc"},
    )
    [row] = await claim(store)
    assert (row.context, row.headers, row.has_attachments) == ('{"n": 1}', '{"X-A": "b"}', True)


async def test_nonsense_in_sqlite_columns_does_not_spoil_the_claim_of_others(sqlite_database):
    engine = create_engine(sqlite_database)
    store = open_store(engine)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO email_outbox (to_addrs, subject, body_text, context, locale) VALUES"
                " (x'61ff', 17, x'ff', 'not json', CAST(x'ff61' AS TEXT)), ('b@x.org', 'fine', 'fine', NULL, NULL)"
            )
        )
    first, second = await claim(store)
    assert (first.to_addrs, first.subject, first.body_text) == ("a\udcff", "17", "\udcff")
    assert (first.context, first.locale) == ("not json", "\udcffa")
    assert second.subject == "fine"
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO email_attachment (outbox_id, filename, content) VALUES (:id, x'ff', 'text')"),
            {"id": first.id},
        )
    assert await store.attachments(first.id) == [AttachedFile("\udcff", b"text")]
    await store.close()


async def test_an_idle_claim_takes_no_write_lock(sqlite_database):
    engine = create_engine(sqlite_database)
    store = open_store(engine)
    async with engine.begin() as writer:  # IMMEDIATE: the lock is held now
        await writer.execute(text("SELECT 1"))
        async with asyncio.timeout(10):
            assert await claim(store) == []
            assert await store.next_due() is None
            assert await store.expire() == 0
    await store.close()


async def test_tokens_are_new_with_every_claim(store, execute):
    await insert(execute)
    await insert(execute)
    [one] = await claim(store, limit=1)
    [two] = await claim(store, limit=1)
    assert one.claim_token != two.claim_token
    assert uuid.UUID(one.claim_token).version == 4


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_time_of_hundreds_of_digits_is_a_time(store, execute):
    fraction = "1" * 400
    await insert(execute, due_at=f"2020-01-01 00:00:00.{fraction}", expires_at=f"2021-01-01 00:00:00.{fraction}")
    due = await store.next_due()
    assert due is not None
    assert due < -1e8
    [row] = await claim(store)
    assert row.overdue > 1e8
    assert row.expires_in is not None
    assert row.expires_in < -1e8
