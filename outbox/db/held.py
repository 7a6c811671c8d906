"""Emails that wait for a person: held by the flood guard, or because they are for somebody who gets none from here."""

from collections.abc import Collection

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.status import Status
from outbox.db.engine import read_only
from outbox.db.models import Email
from outbox.db.types import UtcNow
from outbox.db.wake import call

BATCH = 500
"""Emails released in one transaction."""

_HELD = (Email.held.is_(True), Email.status == Status.PENDING)


async def count_held(engine: AsyncEngine) -> int:
    """How many there are."""
    async with read_only(engine).connect() as connection:
        # `due_at` is in the index; whatever is held is due in another age.
        waiting = select(func.count()).where(Email.due_at.isnot(None), *_HELD)
        return int((await connection.execute(waiting)).scalar_one())


async def release(engine: AsyncEngine, ids: Collection[int] | None = None) -> list[int]:
    """Have held emails sent now, these or all; which they were. The flood guard lets them pass."""
    released: list[int] = []
    wanted = sorted(set(ids)) if ids is not None else None
    while True:
        some = [] if wanted is None else wanted[:BATCH]
        held = select(Email.id).where(Email.due_at.isnot(None), *_HELD).order_by(Email.id).limit(BATCH)
        rows = Email.id.in_(held if wanted is None else some)
        async with engine.begin() as connection:
            changed = update(Email).where(rows, *_HELD).values(held=False, due_at=UtcNow())
            done = list(await connection.scalars(changed.returning(Email.id)))
            await connection.run_sync(call)
        released += done
        wanted = None if wanted is None else wanted[BATCH:]
        if not (done if wanted is None else wanted):
            return sorted(released)
