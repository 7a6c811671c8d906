"""Rows for the tests of the store, inserted as any program would."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from outbox.core.claim import Claimed
from outbox.core.message import MessageIds
from outbox.db.store import Store

Execute = Callable[..., Awaitable[list[Any]]]


async def insert(execute: Execute, **columns: Any) -> int:
    """One email; its id."""
    values = {"to_addrs": "a@example.org", "subject": "Hi", **columns}
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    [row] = await execute(f"INSERT INTO email_outbox ({names}) VALUES ({marks}) RETURNING id", values)
    return int(row.id)


async def insert_many(execute: Execute, count: int, *, priority: int = 1) -> None:
    """Many emails in one statement."""
    values = ", ".join([f"('a@example.org', 'Hi', {priority})"] * count)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject, priority) VALUES {values}")


async def claim(
    store: Store,
    limit: int = 10,
    *,
    lease: float = 60.0,
    poller: str = "poller",
    held: Collection[int] = (0,),
    gates: Sequence[str] = ("",),
) -> list[Claimed]:
    """A thorough claim with Message-IDs of its own, by a poller that holds something: ids begin at 1."""
    ids = MessageIds.new(datetime.now(UTC), "example.org")
    return await store.claim(limit, poller=poller, lease=lease, message_ids=ids, held=held, gates=gates, thorough=True)


def later(database: str, seconds: float) -> datetime | str:
    """So many seconds from now, as the driver of `database` takes it in plain SQL."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment if database.startswith("postgresql") else f"{moment:%Y-%m-%d %H:%M:%S.%f}"
