"""INSERT of emails in the caller's own transaction. It never commits: if you roll back, they never existed."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, bindparam, func, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from outbox.db.blobs import share
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
    *("idempotency_key", "tag", "sensitive", "due_at"),
)

_DUE = "due"
"""In place of `due_at` where some have none."""

_TABLE = Email.metadata.tables[Email.__tablename__]
_INSERT = insert(_TABLE)
_INSERT_MANY = _INSERT.returning(_TABLE.c.id, sort_by_parameter_order=True)

Ins = TypeVar("Ins", bound=Insert)


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
    ids = _insert_all(connection, _rows([email for email in emails if email.idempotency_key is None]))
    keyed = {email.idempotency_key: email for email in reversed(emails) if email.idempotency_key is not None}
    by_key = _insert_once(connection, dict(zip(keyed, _rows([*keyed.values()]), strict=True)))
    files: list[tuple[int, int, Attachment]] = []
    order, answer = iter(ids), []
    for email in emails:
        if email.idempotency_key is None:
            id_, new = next(order), True
        else:
            id_, new = by_key[email.idempotency_key]
            by_key[email.idempotency_key] = id_, False  # a second one in this call is the same email
        answer.append(id_)
        files += [(id_, position, file) for position, file in enumerate(email.attachments if new else ())]
    if files:
        _insert_files(connection, files)
    announce(connection)
    return answer


def _connection(target: Target) -> Connection:
    if isinstance(target, scoped_session):
        target = target()
    return target.connection(bind_arguments={"mapper": inspect(Email)}) if isinstance(target, Session) else target


def _rows(emails: Sequence[Email]) -> list[dict[str, Any]]:
    """What was given, and the table's defaults where only others gave something: the rows of one INSERT have the same
    columns."""
    given = [{name: value for name in _COLUMNS if (value := getattr(email, name)) is not None} for email in emails]
    names = set().union(*given)
    if all(len(row) == len(names) for row in given):
        return given
    if "due_at" in names:
        names = names - {"due_at"} | {_DUE}
        given = [{_DUE if name == "due_at" else name: value for name, value in row.items()} for row in given]
    ordered = sorted(names)  # so that the statement is the same one every time
    return [{name: row.get(name, _DEFAULTS.get(name)) for name in ordered} for row in given]


def _columns_of(statement: Ins, rows: Sequence[dict[str, Any]]) -> Ins:
    """`statement` for these rows."""
    if _DUE not in rows[0]:
        return statement
    return statement.values(due_at=func.coalesce(bindparam(_DUE, type_=UtcTimestamp()), UtcNow()))


def _insert_all(connection: Connection, rows: Sequence[dict[str, Any]]) -> Sequence[int]:
    if not rows:
        return []
    if len(rows) == 1:  # SQLAlchemy's shortest way to its id
        key: Any = connection.execute(_INSERT, rows[0]).inserted_primary_key
        return [key[0]]
    return connection.execute(_columns_of(_INSERT_MANY, rows), rows).scalars().all()


@cache
def _insert_new(dialect: str) -> Insert:
    return conflict_insert(Email, dialect).on_conflict_do_nothing().returning(Email.idempotency_key, Email.id)


def _insert_once(connection: Connection, rows: dict[str, dict[str, Any]]) -> dict[str, tuple[int, bool]]:
    """By key, the id of the one email that has it, and whether it is new."""
    found: dict[str, tuple[int, bool]] = {}
    # In the order of their keys, so that two transactions never wait for each other in a circle.
    missing = sorted(rows)
    while missing:
        new = [rows[key] for key in missing]
        statement = _columns_of(_insert_new(connection.dialect.name), new)
        inserted = connection.execute(statement, new if len(new) > 1 else new[0])
        found.update({str(key): (id_, True) for key, id_ in inserted})
        missing = [key for key in missing if key not in found]
        if not missing:
            break
        known = select(Email.idempotency_key, Email.id).where(Email.idempotency_key.in_(missing))
        found.update({str(key): (id_, False) for key, id_ in connection.execute(known)})
        missing = [key for key in missing if key not in found]  # deleted in between: it may be inserted now
    return found


def _insert_files(connection: Connection, files: Sequence[tuple[int, int, Attachment]]) -> None:
    """Of each the id of its email and its place there."""
    blobs = share(connection, {file.content for _, _, file in files})
    rows = [
        {
            "outbox_id": outbox_id,
            "position": position,
            "filename": file.filename,
            "content_type": file.content_type,
            "cid": file.cid,
            "content": None if file.content in blobs else file.content,
            "blob_id": blobs.get(file.content),
        }
        for outbox_id, position, file in files
    ]
    connection.execute(insert(Attachment), rows)
