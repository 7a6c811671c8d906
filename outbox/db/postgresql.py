"""The store on PostgreSQL: claims by SKIP LOCKED, so that pollers never wait for each other; rows in as arrays."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.core.claim import INLINE, Claimed, Result
from outbox.core.text import clean_text
from outbox.db.lanes import LANES
from outbox.db.store import SUSPECT, SUSPECT_WAIT, Claim, Store

_LARGE = ("body_text", "body_html", "CAST(context AS text)")
_SIZE = " + ".join(f"coalesce(octet_length({column}), 0)" for column in _LARGE)
_TEXT, _HTML, _CONTEXT = (f"CASE WHEN octet_length({column}) <= {INLINE} THEN {column} END" for column in _LARGE)

# MATERIALIZED: were the subquery joined anew for every row, its LIMIT would not hold.
_TAKE = text(f"""
    WITH due AS MATERIALIZED (
        SELECT found.id, found.due_at, found.status = 'sending' AS taken_over
        FROM unnest(CAST(:lanes AS smallint[]), CAST(:shares AS int[])) AS lane (priority, share)
        CROSS JOIN LATERAL (
            SELECT id, due_at, status FROM email_outbox
            WHERE priority = lane.priority AND due_at <= now() AND id <> ALL (CAST(:held AS bigint[]))
                AND coalesce(transport, '') <> ALL (CAST(:without AS text[]))
                AND (status = 'sending' AND attempts >= :suspect AND due_at > now() - make_interval(secs => :wait))
                    = CAST(:suspects AS boolean)
            ORDER BY due_at, id LIMIT lane.share FOR NO KEY UPDATE SKIP LOCKED
        ) AS found
    )
    UPDATE email_outbox AS email
    SET status = 'sending', attempts = least(attempts + 1, 1000000),
        claim_token = :token, claimed_by = CAST(:poller AS text), due_at = now() + make_interval(secs => :lease),
        message_id = coalesce(message_id, CAST(:prefix AS text) || email.id || CAST(:suffix AS text))
    FROM due WHERE email.id = due.id
    RETURNING due.due_at AS was_due, CAST(extract(epoch FROM now() - due.due_at) AS float8) AS overdue,
        due.taken_over, email.id, attempts, message_id, created_at,
        CAST(extract(epoch FROM expires_at - now()) AS float8) AS expires_in,
        sender, to_addrs, cc_addrs, bcc_addrs, reply_to, subject, template, {_TEXT} AS body_text, {_HTML} AS body_html,
        {_CONTEXT} AS context, {_SIZE} AS size, locale, CAST(headers AS text) AS headers, priority, max_attempts,
        transport, on_doubt, EXISTS (SELECT 1 FROM email_attachment WHERE outbox_id = email.id) AS has_attachments
""")  # noqa: S608  # no input

_RENEW = text("""
    UPDATE email_outbox AS email SET due_at = now() + make_interval(secs => :lease)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:tokens AS text[])) AS held (id, token)
    WHERE email.id = held.id AND email.claim_token = held.token AND email.status = 'sending'
    RETURNING email.id
""")

_FINISH = text("""
    UPDATE email_outbox AS email
    SET status = ended.status, claim_token = NULL, claimed_by = NULL,
        last_error = CASE WHEN ended.status = 'pending' THEN coalesce(ended.error, last_error) ELSE ended.error END,
        attempts = attempts - ended.given_back,
        due_at = CASE WHEN ended.status = 'pending' THEN now() + make_interval(secs => ended.delay) END,
        finished_at = CASE WHEN ended.status <> 'pending' THEN now() END
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:tokens AS text[]), CAST(:statuses AS text[]), CAST(:delays AS float8[]),
        CAST(:given_back AS int[]), CAST(:errors AS text[])
    ) AS ended (id, token, status, delay, given_back, error)
    WHERE email.id = ended.id AND email.claim_token = ended.token AND email.status = 'sending'
    RETURNING email.id, sensitive
""")


class PostgresqlStore(Store):
    """For any number of pollers on any number of machines."""

    async def _take(
        self, connection: AsyncConnection, shares: Sequence[int], claim: Claim, *, suspects: bool
    ) -> list[tuple[Claimed, Any]]:
        params = {
            "lanes": list(LANES),
            "shares": list(shares),
            "without": list(claim.without),
            "token": claim.token,
            "poller": claim.poller,
            "lease": claim.lease,
            "prefix": claim.message_ids.prefix,
            "suffix": claim.message_ids.suffix,
            "held": list(claim.held),
            "suspect": SUSPECT,
            "wait": SUSPECT_WAIT,
            "suspects": suspects,
        }
        taken = []
        for row in (await connection.execute(_TAKE, params)).mappings():
            values = dict(row)
            was_due = values.pop("was_due")
            taken.append((Claimed(claim_token=claim.token, **values), was_due))
        return taken

    async def renew(self, claims: Collection[tuple[int, str]], lease: float) -> set[int]:
        """See Store."""
        held = sorted(claims)  # in one order everywhere, so that writers never wait in a circle
        params = {"ids": [id_ for id_, _ in held], "tokens": [token for _, token in held], "lease": lease}
        async with self.write() as connection:
            return set((await connection.execute(_RENEW, params)).scalars())

    async def _finish(self, connection: AsyncConnection, results: Sequence[Result]) -> dict[int, bool]:
        ordered = sorted(results, key=lambda result: result.id)
        verdicts = [result.verdict for result in ordered]
        params = {
            "ids": [result.id for result in ordered],
            "tokens": [result.claim_token for result in ordered],
            "statuses": [verdict.status.value for verdict in verdicts],
            "delays": [verdict.delay or 0.0 for verdict in verdicts],
            "given_back": [0 if verdict.counted else 1 for verdict in verdicts],
            "errors": [None if verdict.reason is None else clean_text(verdict.reason) for verdict in verdicts],
        }
        written = await connection.execute(_FINISH, params)
        return {row.id: row.sensitive for row in written}
