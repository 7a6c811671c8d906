"""The store on PostgreSQL: claims by SKIP LOCKED, so that pollers never wait for each other; results in as JSON.

A claim is one statement, and so is a group of results: each a transaction and a round trip of its own. They are given
to asyncpg directly, since SQLAlchemy's part of a short statement would cost more than the statement.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import Connection, PoolProxiedConnection, text
from sqlalchemy.exc import EmulatedDBAPIException
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from outbox.core.claim import INLINE, Claimed, Result
from outbox.core.status import FINAL
from outbox.core.text import clean_text
from outbox.db.attempts import COLUMNS, history, lines
from outbox.db.failure import FAILURES, told
from outbox.db.lanes import LANES, ByGates, Lanes
from outbox.db.marks import Bounds, Marks, everything
from outbox.db.store import PATIENCE, SUSPECT, SUSPECT_WAIT, Claim, Store, T

KEPT = 60.0
"""Seconds for which an idle connection is used again without a look from the pool, which replaces those of old age."""

LOCK_PATIENCE = "1s"
"""For which results wait for a row that somebody has locked; then smaller groups are written, until it is alone."""

DRIVER_FAILURES = (
    *FAILURES,
    EmulatedDBAPIException,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a database that fails makes asyncpg raise, and SQLAlchemy when it connects by it."""

_LARGE = ("body_text", "body_html", "CAST(context AS text)")
_SIZE = " + ".join(f"coalesce(octet_length({column}), 0)" for column in _LARGE)
_TEXT, _HTML, _CONTEXT = (f"CASE WHEN octet_length({column}) <= {INLINE} THEN {column} END" for column in _LARGE)

# MATERIALIZED: were the subquery joined anew for every row, its LIMIT would not hold. ARRAY: how many rows a LIMIT
# gives that is not known yet, the planner overestimates, and then it reads the whole table; of an array it expects ten.
# Taken rows come in the order of Claimed; `due_at` after them.
_TAKE = f"""
    WITH due AS MATERIALIZED (
        SELECT found.id, found.due_at, found.status = 'sending' AS taken_over
        FROM unnest($1::text[], $2::smallint[], $3::int[], $4::timestamptz[], $5::bigint[], $6::float8[])
            AS cell (gate, priority, share, behind, behind_id, age)
        CROSS JOIN LATERAL (
            SELECT id, due_at, status FROM email_outbox
            WHERE gate = cell.gate AND priority = cell.priority AND due_at <= now() AND id <> ALL ($7::bigint[])
                AND (due_at, id) > (greatest(cell.behind, now() - make_interval(secs => cell.age)), cell.behind_id)
                AND (status = 'sending' AND attempts >= {SUSPECT}
                    AND due_at > now() - make_interval(secs => {SUSPECT_WAIT})) = $8::boolean
            ORDER BY due_at, id LIMIT cell.share FOR NO KEY UPDATE SKIP LOCKED
        ) AS found
        LIMIT $9
    ), taken AS (
        UPDATE email_outbox
        SET status = 'sending', attempts = least(attempts + 1, 1000000), claim_token = $10::text,
            claimed_by = $11::text, due_at = now() + make_interval(secs => $12::float8),
            message_id = coalesce(message_id, $13::text || id || $14::text)
        WHERE id = ANY (ARRAY(SELECT id FROM due))
        RETURNING id, claim_token, attempts, message_id, created_at,
            CAST(extract(epoch FROM expires_at - now()) AS float8) AS expires_in,
            sender, to_addrs, cc_addrs, bcc_addrs, reply_to, subject, {_TEXT} AS body_text, {_HTML} AS body_html,
            template, {_CONTEXT} AS context, locale, CAST(headers AS text) AS headers, priority, max_attempts,
            transport, on_doubt,
            EXISTS (SELECT 1 FROM email_attachment WHERE outbox_id = email_outbox.id) AS has_attachments,
            {_SIZE} AS size, tag, held, gate, sensitive
    )
    SELECT id, claim_token, attempts, CAST(extract(epoch FROM now() - due_at) AS float8), taken_over, message_id,
        created_at, expires_in, sender, to_addrs, cc_addrs, bcc_addrs, reply_to, subject, body_text, body_html,
        template, context, locale, headers, priority, max_attempts, transport, on_doubt, has_attachments, size, tag,
        held, gate, sensitive, due_at
    FROM taken JOIN due USING (id)
"""  # noqa: S608  # made of constants; values are bound

# LATERAL, so that it looks into the index for each cell, however many rows there are.
_FILLED = f"""
    SELECT DISTINCT one.gate
    FROM unnest($1::text[]) AS one (gate) CROSS JOIN unnest(ARRAY{list(LANES)}::smallint[]) AS lane (priority)
    CROSS JOIN LATERAL (
        SELECT FROM email_outbox
        WHERE gate = one.gate AND priority = lane.priority AND due_at <= now()
            AND due_at > greatest($2::timestamptz, now() - make_interval(secs => $3::float8))
        ORDER BY due_at LIMIT 1
    ) AS found
"""  # noqa: S608  # made of constants; values are bound

_RECALL = "SELECT outbox_id, recipient, outcome FROM email_attempt WHERE outbox_id = ANY ($1::bigint[]) ORDER BY id"

_RENEW = text("""
    UPDATE email_outbox SET due_at = now() + make_interval(secs => :lease)
    WHERE id = ANY (ARRAY(
        SELECT email.id
        FROM email_outbox AS email
        JOIN unnest(CAST(:ids AS bigint[]), CAST(:tokens AS text[])) AS held (id, token) ON held.id = email.id
        WHERE email.claim_token = held.token AND email.status = 'sending'
        ORDER BY email.id FOR NO KEY UPDATE OF email SKIP LOCKED
    ))
    RETURNING id
""")

_KINDS = ("bigint", "int", "text", "text", "int", "text", "text", "text", "text")
"""The types of COLUMNS."""

# JSON, since asyncpg takes longer to look at the elements of so many arrays than it takes to write texts. Results are
# an array of them: of that the planner expects ten and goes by the index, of one text it expects a hundred.
# `patience` is joined, so that it is set before any row is locked: it ends with the statement.
_RECORD = f"""
    WITH patience AS MATERIALIZED (
        SELECT set_config('lock_timeout', '{LOCK_PATIENCE}', true)
    ), written AS (
        UPDATE email_outbox AS email
        SET status = ended.status, claim_token = NULL, claimed_by = NULL,
            last_error = CASE WHEN ended.status = 'pending' THEN coalesce(ended.error, last_error) ELSE ended.error END,
            attempts = attempts - ended.given_back,
            due_at = CASE WHEN ended.status = 'pending'
                THEN coalesce(ended.due_at, now() + make_interval(secs => ended.delay)) END,
            finished_at = CASE WHEN ended.status <> 'pending' THEN now() END,
            route = coalesce(ended.route, email.route), held = coalesce(ended.held, email.held),
            body_text = CASE WHEN NOT (ended.final AND sensitive) THEN body_text END,
            body_html = CASE WHEN NOT (ended.final AND sensitive) THEN body_html END,
            context = CASE WHEN NOT (ended.final AND sensitive) THEN context END,
            erased = ended.final AND sensitive
        FROM patience CROSS JOIN unnest($1::text[]) AS one CROSS JOIN LATERAL json_to_record(one::json) AS ended (
            id bigint, token text, status text, delay float8, given_back int, error text, final boolean,
            route text, held boolean, due_at timestamptz
        )
        WHERE email.id = ended.id AND email.claim_token = ended.token AND email.status = 'sending'
        RETURNING email.id, email.erased
    ), emptied AS (
        DELETE FROM email_attachment WHERE outbox_id = ANY (ARRAY(SELECT id FROM written WHERE erased))
    ), unmarked AS (
        DELETE FROM email_attempt WHERE id = ANY ($2::bigint[]) AND outbox_id = ANY (ARRAY(SELECT id FROM written))
    ), appended AS (
        INSERT INTO email_attempt ({", ".join(COLUMNS)})
        SELECT {", ".join(f"(line ->> {place})::{kind}" for place, kind in enumerate(_KINDS))}
        FROM json_array_elements($3::json) WITH ORDINALITY AS found (line, number)
        WHERE (line ->> 0)::bigint = ANY (ARRAY(SELECT id FROM written))
        ORDER BY number
    )
    SELECT id FROM written
"""  # noqa: S608  # made of constants; values are bound


class PostgresqlStore(Store):
    """For any number of pollers on any number of machines."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(engine)
        self._memories = ByGates(lambda gates: _Memory(gates, clock))
        self._filled = Marks(clock, 1)
        self._clock = clock
        self._kept: list[tuple[PoolProxiedConnection, float]] = []  # and since when each has been idle

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See Store."""
        with told(self._engine.url):
            async with asyncio.timeout(PATIENCE), self._engine.begin() as connection:
                return await connection.run_sync(work)

    async def _claim(self, limit: int, claim: Claim) -> list[Claimed]:
        rows: list[Claimed] = []
        memory = self._memories[tuple(claim.gates)]
        async with self._driver() as driver:
            sharing = memory.lanes.sharing(limit, urgent=claim.urgent)
            while shares := sharing.next():
                bounds = memory.marks.look(thorough=claim.thorough)
                places = await self._take(driver, claim, shares, bounds, rows)
                memory.marks.found(shares, places)
                sharing.found([len(taken) for taken in places])
            if not (claim.held or rows):
                every = [1 for _ in memory.everything.places]
                await self._take(driver, claim, every, memory.everything, rows, suspects=True)
            if tried := [row for row in rows if not row.message_id.startswith(claim.message_ids.prefix)]:
                await _recall(driver, tried)
        return rows

    async def _take(
        self,
        driver: Any,
        claim: Claim,
        shares: Sequence[int],
        bounds: Bounds,
        rows: list[Claimed],
        *,
        suspects: bool = False,
    ) -> list[list[tuple[Any, int]]]:
        """Add the rows taken to `rows`, one of them where suspects are looked for; the places of those of each cell."""
        ids = claim.message_ids
        cells = [(gate, lane) for gate in claim.gates for lane in LANES]
        taken = await driver.fetch(
            _TAKE,
            [gate for gate, _ in cells],
            [lane for _, lane in cells],
            shares,
            [due for due, _ in bounds.places],
            [id_ for _, id_ in bounds.places],
            bounds.ages,
            [*claim.held, *(row.id for row in rows)],
            suspects,
            1 if suspects else sum(shares),
            claim.token,
            claim.poller,
            claim.lease,
            ids.prefix,
            ids.suffix,
        )
        taken.sort(key=lambda record: (record[-1], record[0]))
        places: dict[tuple[str, int], list[tuple[Any, int]]] = {cell: [] for cell in cells}
        for record in taken:
            row = Claimed(*record[:-1])
            row.due_at = record[-1].isoformat()
            rows.append(row)
            places[row.gate, row.priority].append((record[-1], row.id))
        return [*places.values()]

    async def filled(self, gates: Sequence[str], *, thorough: bool = False) -> set[str]:
        """See Store."""
        bounds = self._filled.look(thorough=thorough)
        async with self._driver() as driver:
            found = await driver.fetch(_FILLED, gates, bounds.places[0][0], bounds.ages[0])
        self._filled.found((1,), ((),))  # nothing of what falls due later was seen
        return {gate for (gate,) in found}

    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """See Store."""
        held = sorted(claims)
        params = {"ids": [id_ for id_, _ in held], "tokens": [token for _, token in held], "lease": lease}
        return await self.write(lambda connection: set(connection.scalars(_RENEW, params)))

    async def _record(self, results: Sequence[Result], poller: str) -> set[int]:
        ordered = sorted(results, key=lambda result: result.id)
        attempts = [line for result in ordered for line in lines(result, poller)]
        marks = [mark for result in ordered for mark in result.marks]
        async with self._driver() as driver:
            ended = [json.dumps(_ended(result)) for result in ordered]
            written = await driver.fetch(_RECORD, ended, marks, json.dumps(attempts))
        return {id_ for (id_,) in written}

    async def close(self) -> None:
        """See Store."""
        while self._kept:
            await greenlet_spawn(self._kept.pop()[0].close)
        await super().close()

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[Any]:
        """asyncpg's own connection: every statement is a transaction. Not given back to the pool each time, which would
        cost as much as the statement."""
        with told(self._engine.url, DRIVER_FAILURES):
            async with asyncio.timeout(PATIENCE):
                session = await self._session()
                try:
                    yield session.driver_connection
                except BaseException:
                    session.invalidate()  # in whatever state it is
                    while self._kept:  # whatever befell it may have befallen the others
                        self._kept.pop()[0].invalidate()
                    raise
                self._kept.append((session, self._clock()))

    async def _session(self) -> PoolProxiedConnection:
        while self._kept:
            session, since = self._kept.pop()
            if self._clock() - since < KEPT and not _is_closed(session):
                return session
            await greenlet_spawn(session.close)
        while True:
            session = await self._engine.raw_connection()
            if not _is_closed(session):
                return session
            session.invalidate()  # a restart of the server is no failure of ours


class _Memory:
    """What claims from the same gates remember."""

    def __init__(self, gates: int, clock: Callable[[], float]) -> None:
        self.lanes = Lanes(gates)
        self.marks = Marks(clock, gates * len(LANES))
        self.everything = everything(gates * len(LANES))


def _is_closed(session: PoolProxiedConnection) -> bool:
    driver: Any = session.driver_connection
    return driver is None or bool(driver.is_closed())


def _ended(result: Result) -> dict[str, Any]:
    verdict = result.verdict
    return {
        "id": result.id,
        "token": result.claim_token,
        "status": verdict.status.value,
        "delay": verdict.delay or 0.0,
        "given_back": 0 if verdict.counted else 1,
        "error": None if verdict.reason is None else clean_text(verdict.reason),
        "final": verdict.status in FINAL,
        "route": verdict.route,
        "held": verdict.held,
        "due_at": verdict.due_at,
    }


async def _recall(driver: Any, rows: Sequence[Claimed]) -> None:
    """Fill in the history of rows that were tried before. In a statement of its own: what the last owner wrote just
    before we took the row, the claim itself could not see yet."""
    by_id: dict[int, list[tuple[str, str]]] = {row.id: [] for row in rows}
    for id_, recipient, outcome in await driver.fetch(_RECALL, list(by_id)):
        by_id[id_].append((recipient, outcome))
    for row in rows:
        row.history = history(by_id[row.id])
