"""The store on SQLite: one writer at a time, rows in and out as JSON lists.

A transaction is one call in a thread of its own. Were its statements awaited one by one, SQLite's lock would be held
while the event loop has other things to do. And every row that is fetched singly is a turn of waiting for Python's own
lock, so rows come as one text.
"""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.claim import INLINE, Claimed, Result
from outbox.core.status import FINAL
from outbox.core.text import clean_text
from outbox.db.attempts import COLUMNS, history, lines
from outbox.db.engine import blocking
from outbox.db.erase import erase
from outbox.db.failure import told
from outbox.db.lanes import LANES, ByGates, Lanes
from outbox.db.store import PATIENCE, SUSPECT, SUSPECT_WAIT, Claim, Store, T
from outbox.db.types import parse_utc

_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

_CLAIMABLE = f"due_at <= {_NOW} AND id NOT IN (SELECT value FROM json_each(:held))"  # noqa: S608  # made of constants
_SUSPECT = "(status = 'sending' AND attempts >= :suspect AND due_at > strftime('%Y-%m-%d %H:%M:%f', 'now', :wait))"

_LARGE = ("body_text", "body_html", "context")
_SIZE = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in _LARGE)  # of text it stops at a NUL
_TEXT, _HTML, _CONTEXT = (
    f"iif(length(CAST({column} AS BLOB)) <= {INLINE}, CAST({column} AS TEXT), NULL)" for column in _LARGE
)
_SENDER, _TO, _CC, _BCC, _REPLY_TO, _SUBJECT, _TEMPLATE, _LOCALE, _HEADERS, _TRANSPORT, _ID, _TAG, _GATE = (
    f"CAST({name} AS TEXT)"  # a column can hold a blob, which JSON cannot
    for name in (
        *("sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "template", "locale", "headers"),
        *("transport", "message_id", "tag", "gate"),
    )
)
_TRIED = """json((
    SELECT json_group_array(json_array(recipient, outcome)) FROM (
        SELECT recipient, outcome FROM email_attempt WHERE outbox_id = email_outbox.id ORDER BY id
    )
))"""
_FILES = "EXISTS (SELECT 1 FROM email_attachment WHERE outbox_id = email_outbox.id)"

# Of a fraction with hundreds of digits SQLite makes no number at all.
_DUE, _EXPIRES = (f"julianday(substr({column}, 1, 26))" for column in ("due_at", "expires_at"))

# As it will be once it is taken, in the order of Claimed.
_ROW = f"""json_array(
    id, :token, min(attempts + 1, 1000000), (julianday({_NOW}) - {_DUE}) * 86400.0,
    json(iif(status = 'sending', 'true', 'false')), coalesce({_ID}, :prefix || id || :suffix), created_at,
    ({_EXPIRES} - julianday({_NOW})) * 86400.0, {_SENDER}, {_TO}, {_CC}, {_BCC}, {_REPLY_TO}, {_SUBJECT},
    {_TEXT}, {_HTML}, {_TEMPLATE}, {_CONTEXT}, {_LOCALE}, {_HEADERS}, priority, max_attempts, {_TRANSPORT}, on_doubt,
    json(iif({_FILES}, 'true', 'false')), {_SIZE}, {_TAG}, json(iif(held, 'true', iif(held IS NULL, 'null', 'false'))),
    {_GATE}, json(iif(sensitive, 'true', 'false')), due_at, iif(message_id IS NULL, NULL, {_TRIED})
)"""

_ANY = f"""
    SELECT 1 FROM email_outbox
    WHERE gate IN (SELECT value FROM json_each(:gates)) AND priority IN (SELECT value FROM json_each(:lanes))
        AND {_CLAIMABLE} AND {_SUSPECT} <= :suspects
    LIMIT 1
"""  # noqa: S608  # made of constants; values are bound

_FILLED = f"""
    SELECT value FROM json_each(:gates) WHERE EXISTS (
        SELECT 1 FROM email_outbox WHERE gate = value AND priority IN {LANES} AND due_at <= {_NOW}
    )
"""  # noqa: S608  # made of constants; values are bound


@cache
def _due(gates: int) -> str:
    """The rows to take, by cell: their ids and lines, and how many they are of each cell."""
    cells = [(gate, lane) for gate in range(gates) for lane in LANES]
    return (
        "SELECT json_group_array(id), '[' || group_concat(line, ',') || ']', "  # noqa: S608  # made of constants; values are bound
        + ", ".join(f"count(*) FILTER (WHERE cell = {cell})" for cell in range(len(cells)))
        + " FROM ("
        + " UNION ALL ".join(
            f"SELECT * FROM (SELECT id, {cell} AS cell, {_ROW} AS line FROM email_outbox"  # noqa: S608  # made of constants; values are bound
            f" WHERE gate = :gate{gate} AND priority = {lane} AND {_CLAIMABLE} AND {_SUSPECT} = :suspects"
            f" ORDER BY due_at, id LIMIT :share{cell})"
            for cell, (gate, lane) in enumerate(cells)
        )
        + ")"
    )


_TAKE = """
    UPDATE email_outbox
    SET status = 'sending', attempts = min(attempts + 1, 1000000), claim_token = :token, claimed_by = :poller,
        due_at = strftime('%Y-%m-%d %H:%M:%f', 'now', :lease),
        message_id = coalesce(message_id, :prefix || id || :suffix)
    WHERE id IN (SELECT value FROM json_each(:ids))
"""

_RENEW = """
    UPDATE email_outbox SET due_at = strftime('%Y-%m-%d %H:%M:%f', 'now', :lease)
    FROM (
        SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token FROM json_each(:claims)
    ) AS held
    WHERE email_outbox.id = held.id AND claim_token = held.token AND status = 'sending'
    RETURNING email_outbox.id
"""

# Which of them are still ours, and which of these are sensitive: one line, where RETURNING would give one for each.
_OWNED = """
    SELECT json_group_array(email_outbox.id), json_group_array(email_outbox.id) FILTER (WHERE sensitive)
    FROM json_each(:results) AS ended JOIN email_outbox ON email_outbox.id = json_extract(ended.value, '$[0]')
    WHERE claim_token = json_extract(ended.value, '$[1]') AND status = 'sending'
"""

_FINISH = f"""
    UPDATE email_outbox
    SET status = ended.status, claim_token = NULL, claimed_by = NULL,
        last_error = CASE WHEN ended.status = 'pending' THEN coalesce(ended.error, last_error) ELSE ended.error END,
        attempts = attempts - ended.given_back,
        due_at = CASE ended.status
            WHEN 'pending' THEN coalesce(ended.due_at, strftime('%Y-%m-%d %H:%M:%f', 'now', ended.delay)) END,
        finished_at = CASE ended.status WHEN 'pending' THEN NULL ELSE {_NOW} END,
        route = coalesce(ended.route, email_outbox.route), held = coalesce(ended.held, email_outbox.held)
    FROM (
        SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token,
            json_extract(value, '$[2]') AS status, json_extract(value, '$[3]') AS delay,
            json_extract(value, '$[4]') AS given_back, json_extract(value, '$[5]') AS error,
            json_extract(value, '$[6]') AS route, json_extract(value, '$[7]') AS held,
            json_extract(value, '$[8]') AS due_at
        FROM json_each(:results)
    ) AS ended
    WHERE email_outbox.id = ended.id AND claim_token = ended.token AND email_outbox.status = 'sending'
"""  # noqa: S608  # made of constants; values are bound

_UNMARK = "DELETE FROM email_attempt WHERE id IN (SELECT value FROM json_each(?))"
_APPEND = (
    f"INSERT INTO email_attempt ({', '.join(COLUMNS)}) SELECT "  # noqa: S608  # made of constants; values are bound
    + ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(COLUMNS)))
    + " FROM json_each(?) ORDER BY key"
)


BURST = 0.05
"""Seconds of writing without a pause; nobody who waits for SQLite's lock looks for it more often for long."""

LONGEST_REST = 0.2
"""Seconds of one pause, at most."""


class SqliteStore(Store):
    """One write at a time: SQLite allows no more. And others get their turn: SQLite's lock has no queue, whoever waits
    for it looks now and then whether it is free. So in the long run we hold it half of the time."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(engine)
        self._blocking = blocking(engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox-sqlite")
        self._writing = asyncio.Lock()
        self._clock = clock
        self._lanes = ByGates(Lanes)
        self._owed = 0.0
        """Until when the file is left to others, on our clock, but for a burst."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See Store."""
        return await self._in_turn(partial(self._transaction, work))

    def rest(self) -> float:
        """Seconds for which the next write should wait."""
        return max(0.0, self._owed - BURST - self._clock())

    async def _in_turn(self, work: Callable[[Connection], T]) -> T:
        with told(self._engine.url):
            async with asyncio.timeout(PATIENCE), self._writing:
                if rest := self.rest():
                    await asyncio.sleep(rest)
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._connected, work)

    def _connected(self, work: Callable[[Connection], T]) -> T:
        with self._blocking.connect() as connection:
            return work(connection)

    def _transaction(self, work: Callable[[Connection], T], connection: Connection) -> T:
        locked = None
        try:
            with connection.begin():
                locked = self._clock()
                return work(connection)
        finally:
            if locked is not None:
                now = self._clock()
                self._owed = min(max(self._owed, locked) + 2 * (now - locked), now + BURST + LONGEST_REST)

    async def _claim(self, limit: int, claim: Claim) -> list[Claimed]:
        found = await self._in_turn(partial(self._take_due, limit, claim))
        return [_claimed(*values) for text in found for values in json.loads(text)]

    def _take_due(self, limit: int, claim: Claim, connection: Connection) -> list[str]:
        """JSON texts of the rows taken. No lock is taken to find that there are none."""
        driver: Any = connection.connection.driver_connection
        which = {
            "held": json.dumps(list(claim.held)),
            "gates": json.dumps(list(claim.gates)),
            "lanes": json.dumps(LANES[:1] if claim.urgent else LANES),
            "suspect": SUSPECT,
            "wait": _shift(-SUSPECT_WAIT),
            "suspects": 0 if claim.held else 1,
        }
        if driver.execute(_ANY, which).fetchone() is None:
            return []
        how = {
            **which,
            "token": claim.token,
            "poller": claim.poller,
            "lease": _shift(claim.lease),
            "prefix": claim.message_ids.prefix,
            "suffix": claim.message_ids.suffix,
        }
        return self._transaction(lambda _: self._take_all(driver, limit, claim, how), connection)

    def _take_all(self, driver: Any, limit: int, claim: Claim, how: dict[str, Any]) -> list[str]:
        held, taken = list(claim.held), []
        how |= {f"gate{number}": gate for number, gate in enumerate(claim.gates)}
        sharing = self._lanes[tuple(claim.gates)].sharing(limit, urgent=claim.urgent)
        while shares := sharing.next():
            ids, rows, counts = _take(driver, shares, {**how, "held": json.dumps(held), "suspects": 0})
            sharing.found(counts)
            if any(counts):
                held += json.loads(ids)
                taken.append(rows)
        cells = range(len(claim.gates) * len(LANES))
        for cell in () if claim.held or taken else cells:
            one = [int(cell == other) for other in cells]
            _, rows, counts = _take(driver, one, {**how, "suspects": 1})
            if any(counts):
                return [rows]
        return taken

    async def filled(self, gates: Sequence[str], *, thorough: bool = False) -> set[str]:  # noqa: ARG002  # all are
        """See Store."""
        async with self.read() as connection:
            return set(await connection.scalars(text(_FILLED), {"gates": json.dumps(list(gates))}))

    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """See Store."""
        params = {"claims": json.dumps(list(claims)), "lease": _shift(lease)}

        def write(connection: Connection) -> set[int]:
            return {id_ for (id_,) in connection.exec_driver_sql(_RENEW, params)}

        return await self.write(write)

    async def _record(self, results: Sequence[Result], poller: str) -> set[int]:
        verdicts = json.dumps([_verdict(result) for result in results])
        found = [line for result in results for line in lines(result, poller)]
        appended = json.dumps(found)
        marked = any(result.marks for result in results)

        def write(connection: Connection) -> set[int]:
            driver: Any = connection.connection.driver_connection
            owned, sensitive = map(json.loads, driver.execute(_OWNED, {"results": verdicts}).fetchone())
            written = set(owned)
            driver.execute(_FINISH, {"results": verdicts})
            if sensitive:
                final = {result.id for result in results if result.verdict.status in FINAL}
                erase(connection, final.intersection(sensitive))
            if marked:
                marks = [mark for result in results if result.id in written for mark in result.marks]
                driver.execute(_UNMARK, (json.dumps(marks),))
            complete = len(written) == len(results)
            kept = appended if complete else json.dumps([line for line in found if line[0] in written])
            driver.execute(_APPEND, (kept,))
            return written

        return await self.write(write)

    async def close(self) -> None:
        """See Store."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._blocking.dispose)
        self._thread.shutdown(wait=False)
        await super().close()


def _take(driver: Any, shares: Sequence[int], how: dict[str, Any]) -> tuple[str, str, list[int]]:
    """Their ids and the rows as JSON, and how many they are of each cell."""
    # Looked up and updated apart, because RETURNING tells only the new status; nobody writes in between.
    places = {f"share{cell}": share for cell, share in enumerate(shares)}
    ids, rows, *counts = driver.execute(_due(len(shares) // len(LANES)), {**how, **places}).fetchone()
    if any(counts):
        driver.execute(_TAKE, {**how, "ids": ids})
    return ids, rows, counts


def _verdict(result: Result) -> tuple[int, str, str, str, int, str | None, str | None, bool | None, str | None]:
    verdict = result.verdict
    reason = None if verdict.reason is None else clean_text(verdict.reason)
    given_back = 0 if verdict.counted else 1
    delay = _shift(verdict.delay or 0.0)
    ended = (verdict.status.value, delay, given_back, reason, verdict.route, verdict.held, verdict.due_at)
    return (result.id, result.claim_token, *ended)


def _shift(seconds: float) -> str:
    """`seconds` as a modifier of SQLite's time functions."""
    return f"{seconds:+.3f} seconds"


def _claimed(*values: Any) -> Claimed:
    id_, token, attempts, overdue, taken_over, message_id, created_at, *rest, tried = values
    row = Claimed(id_, token, attempts, overdue, taken_over, message_id, parse_utc(created_at), *rest)
    if tried:
        row.history = history(tried)
    return row
