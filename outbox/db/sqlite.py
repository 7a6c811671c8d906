"""The store on SQLite: one writer at a time, rows in and out as JSON lists."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from outbox.core.claim import INLINE, Claimed, Result
from outbox.core.text import clean_text
from outbox.db.store import SUSPECT, SUSPECT_WAIT, Claim, Store
from outbox.db.types import as_text, parse_utc

_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

_DUE = text(
    " UNION ALL ".join(
        "SELECT * FROM (SELECT id, due_at, status = 'sending' AS taken_over,"  # noqa: S608  # no input
        f" (julianday({_NOW}) - julianday(due_at)) * 86400.0 AS overdue FROM email_outbox"
        f" WHERE priority = {lane} AND due_at <= {_NOW}"
        " AND id NOT IN (SELECT value FROM json_each(:held))"
        " AND coalesce(transport, '') NOT IN (SELECT value FROM json_each(:without))"
        " AND (status = 'sending' AND attempts >= :suspect AND due_at > strftime('%Y-%m-%d %H:%M:%f', 'now', :wait))"
        f" = :suspects ORDER BY due_at, id LIMIT :share{lane})"
        for lane in (0, 1, 2)
    )
)

_LARGE = ("body_text", "body_html", "context")
_SIZE = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in _LARGE)  # of text it stops at a NUL
_TEXT, _HTML, _CONTEXT = (f"iif(length(CAST({name} AS BLOB)) <= {INLINE}, {name}, NULL) AS {name}" for name in _LARGE)

_TAKE = text(f"""
    UPDATE email_outbox
    SET status = 'sending', attempts = min(attempts + 1, 1000000), claim_token = :token, claimed_by = :poller,
        due_at = strftime('%Y-%m-%d %H:%M:%f', 'now', :lease),
        message_id = coalesce(message_id, :prefix || id || :suffix)
    WHERE id IN (SELECT value FROM json_each(:ids))
    RETURNING id, attempts, message_id, created_at, (julianday(expires_at) - julianday({_NOW})) * 86400.0 AS expires_in,
        sender, to_addrs, cc_addrs, bcc_addrs, reply_to, subject, {_TEXT}, {_HTML}, template, {_CONTEXT}, locale,
        headers, priority, max_attempts, transport, on_doubt, {_SIZE} AS size,
        EXISTS (SELECT 1 FROM email_attachment WHERE outbox_id = email_outbox.id) AS has_attachments
""")  # noqa: S608  # no input

_RENEW = text("""
    UPDATE email_outbox SET due_at = strftime('%Y-%m-%d %H:%M:%f', 'now', :lease)
    FROM (
        SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token FROM json_each(:claims)
    ) AS held
    WHERE email_outbox.id = held.id AND claim_token = held.token AND status = 'sending'
    RETURNING email_outbox.id
""")

_FINISH = text(f"""
    UPDATE email_outbox
    SET status = ended.status, claim_token = NULL, claimed_by = NULL,
        last_error = CASE WHEN ended.status = 'pending' THEN coalesce(ended.error, last_error) ELSE ended.error END,
        attempts = attempts - ended.given_back,
        due_at = CASE ended.status WHEN 'pending' THEN strftime('%Y-%m-%d %H:%M:%f', 'now', ended.delay) END,
        finished_at = CASE ended.status WHEN 'pending' THEN NULL ELSE {_NOW} END
    FROM (
        SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS token,
            json_extract(value, '$[2]') AS status, json_extract(value, '$[3]') AS delay,
            json_extract(value, '$[4]') AS given_back, json_extract(value, '$[5]') AS error
        FROM json_each(:results)
    ) AS ended
    WHERE email_outbox.id = ended.id AND claim_token = ended.token AND email_outbox.status = 'sending'
    RETURNING email_outbox.id, sensitive
""")  # noqa: S608  # no input


_TEXTS = (
    *("sender", "cc_addrs", "bcc_addrs", "reply_to", "subject", "body_text", "body_html"),
    *("template", "context", "locale", "headers", "transport"),
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
        self._writing = asyncio.Lock()
        self._clock = clock
        self._owed = 0.0
        """Until when the file is left to others, on our clock, but for a burst."""

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """See Store."""
        async with self._writing:
            await asyncio.sleep(self.rest())
            locked = None
            try:
                async with super().write() as connection:
                    locked = self._clock()
                    yield connection
            finally:
                if locked is not None:
                    now = self._clock()
                    self._owed = min(max(self._owed, locked) + 2 * (now - locked), now + BURST + LONGEST_REST)

    def rest(self) -> float:
        """Seconds for which the next write should wait."""
        return max(0.0, self._owed - BURST - self._clock())

    async def _take(
        self, connection: AsyncConnection, shares: Sequence[int], claim: Claim, *, suspects: bool
    ) -> list[tuple[Claimed, Any]]:
        # Looked up and updated apart, because RETURNING tells only the new status; nobody writes in between.
        which = {
            **{f"share{lane}": share for lane, share in enumerate(shares)},
            "held": json.dumps(list(claim.held)),
            "suspect": SUSPECT,
            "wait": _shift(-SUSPECT_WAIT),
            "suspects": int(suspects),
            "without": json.dumps(list(claim.without)),
        }
        due = {row.id: row for row in await connection.execute(_DUE, which)}
        params = {
            "token": claim.token,
            "poller": claim.poller,
            "lease": _shift(claim.lease),
            "prefix": claim.message_ids.prefix,
            "suffix": claim.message_ids.suffix,
            "ids": json.dumps(list(due)),
        }
        taken = (await connection.execute(_TAKE, params)).all()
        return [(_claimed(row, claim.token, due[row.id]), due[row.id].due_at) for row in taken]

    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """See Store."""
        params = {"claims": json.dumps(list(claims)), "lease": _shift(lease)}
        async with self.write() as connection:
            return set((await connection.execute(_RENEW, params)).scalars())

    async def _finish(self, connection: AsyncConnection, results: Sequence[Result]) -> dict[int, bool]:
        rows = [
            (
                result.id,
                result.claim_token,
                result.verdict.status.value,
                _shift(result.verdict.delay or 0.0),
                0 if result.verdict.counted else 1,
                None if result.verdict.reason is None else clean_text(result.verdict.reason),
            )
            for result in results
        ]
        written = await connection.execute(_FINISH, {"results": json.dumps(rows)})
        return {row.id: bool(row.sensitive) for row in written}


def _shift(seconds: float) -> str:
    """`seconds` as a modifier of SQLite's time functions."""
    return f"{seconds:+.3f} seconds"


def _claimed(row: Row[Any], token: str, before: Row[Any]) -> Claimed:
    """The row as it is, except that what belongs in text columns is text."""
    texts: dict[str, Any] = {name: as_text(getattr(row, name)) for name in _TEXTS}
    return Claimed(
        id=row.id,
        claim_token=token,
        attempts=row.attempts,
        overdue=before.overdue,
        taken_over=bool(before.taken_over),
        message_id=as_text(row.message_id) or "",
        created_at=parse_utc(row.created_at),
        expires_in=row.expires_in,
        to_addrs=as_text(row.to_addrs) or "",
        priority=row.priority,
        max_attempts=row.max_attempts,
        on_doubt=row.on_doubt,
        has_attachments=bool(row.has_attachments),
        size=row.size,
        **texts,
    )
