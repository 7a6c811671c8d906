"""INSERT of emails in the caller's own transaction. It never commits: if you roll back, they never existed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Insert, bindparam, func, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from outbox.db.conflict import conflict_insert
from outbox.db.models import Attachment, Email
from outbox.db.types import UtcNow, UtcTimestamp
from outbox.db.wake import announce

Target = Session | Connection | scoped_session[Session]
AsyncTarget = AsyncSession | AsyncConnection | async_scoped_session[AsyncSession]

_DEFAULTS = {"to_addrs": "", "priority": 1, "on_doubt": "resend", "sensitive": False}
"""The defaults of the table, which a bulk INSERT has to name where only some of its rows do."""

_COLUMNS = (
    *("sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "body_text", "body_html", "template"),
    *("context", "locale", "headers", "priority", "expires_at", "max_attempts", "transport", "on_doubt"),
    *("idempotency_key", "tag", "sensitive"),
)


async def enqueue(session_or_connection: AsyncTarget | Target, *emails: Email) -> list[int]:
    """Insert `emails` in the transaction of `session_or_connection`; their ids, in the order given.

    An email whose `idempotency_key` is known already is not inserted again: its id is the one of the first. Raises
    ValueError for an email that is in a session or in the table already.
    """
    target = session_or_connection
    if isinstance(target, async_scoped_session):
        target = target()
    if isinstance(target, AsyncSession | AsyncConnection):
        return await target.run_sync(enqueue_sync, *emails)
    return enqueue_sync(target, *emails)


def enqueue_sync(session_or_connection: Target, *emails: Email) -> list[int]:
    """`enqueue` for code without a loop."""
    if not emails:
        return []
    for number, email in enumerate(emails):
        if not inspect(email).transient:
            raise ValueError(f"emails[{number}] was added to a session already; do one or the other")
    connection = _connection(session_or_connection)
    rows = [_row(email) for email in emails]
    ids = _insert_all(connection, [row for row in rows if row["idempotency_key"] is None])
    keyed = {row["idempotency_key"]: row for row in reversed(rows) if row["idempotency_key"] is not None}
    by_key = _insert_once(connection, keyed)
    files: list[dict[str, Any]] = []
    order, answer = iter(ids), []
    for email in emails:
        if email.idempotency_key is None:
            id_, new = next(order), True
        else:
            id_, new = by_key[email.idempotency_key]
            by_key[email.idempotency_key] = id_, False  # a second one in this call is the same email
        answer.append(id_)
        files += _files(id_, email.attachments if new else ())
    if files:
        connection.execute(insert(Attachment), files)
    announce(connection)
    return answer


def _connection(target: Target) -> Connection:
    if isinstance(target, scoped_session):
        target = target()
    return target.connection(bind_arguments={"mapper": inspect(Email)}) if isinstance(target, Session) else target


def _row(email: Email) -> dict[str, Any]:
    given = {name: getattr(email, name) for name in _COLUMNS}
    row = {name: _DEFAULTS.get(name) if value is None else value for name, value in given.items()}
    return {**row, "due": email.due_at}


def _with_due(statement: Insert) -> Insert:
    return statement.values(due_at=func.coalesce(bindparam("due", type_=UtcTimestamp()), UtcNow()))


def _insert_all(connection: Connection, rows: Sequence[dict[str, Any]]) -> Sequence[int]:
    if not rows:
        return []
    statement = _with_due(insert(Email)).returning(Email.id, sort_by_parameter_order=True)
    return connection.execute(statement, rows).scalars().all()


def _insert_once(connection: Connection, rows: dict[str, dict[str, Any]]) -> dict[str, tuple[int, bool]]:
    """By key, the id of the one email that has it, and whether it is new."""
    found: dict[str, tuple[int, bool]] = {}
    # In the order of their keys, so that two transactions never wait for each other in a circle.
    missing = sorted(rows)
    statement = _with_due(conflict_insert(Email, connection.dialect.name).on_conflict_do_nothing())
    while missing:
        inserted = connection.execute(
            statement.returning(Email.idempotency_key, Email.id), [rows[key] for key in missing]
        )
        found.update({str(key): (id_, True) for key, id_ in inserted})
        missing = [key for key in missing if key not in found]
        known = select(Email.idempotency_key, Email.id).where(Email.idempotency_key.in_(missing))
        found.update({str(key): (id_, False) for key, id_ in connection.execute(known)})
        missing = [key for key in missing if key not in found]  # deleted in between: it may be inserted now
    return found


def _files(outbox_id: int, attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    return [
        {
            "outbox_id": outbox_id,
            "position": position,
            "filename": file.filename,
            "content_type": file.content_type,
            "cid": file.cid,
            "content": file.content,
        }
        for position, file in enumerate(attachments)
    ]
