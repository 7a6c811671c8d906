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
    wanted = None if ids is None else sorted(set(ids))
    last = 0
    while wanted is None or wanted:
        held = select(Email.id).where(Email.due_at.isnot(None), *_HELD)
        # Each once: what is for somebody who gets none from here is held again by the next poller that sees it.
        next_ones = held.where(Email.id > last).order_by(Email.id).limit(BATCH)
        some = next_ones if wanted is None else wanted[:BATCH]
        async with engine.begin() as connection:
            changed = update(Email).where(Email.id.in_(some), *_HELD).values(held=False, due_at=UtcNow())
            done = list(await connection.scalars(changed.returning(Email.id)))
            await connection.run_sync(call)
        released += done
        if wanted is not None:
            wanted = wanted[BATCH:]
        elif done:
            last = max(done)
        else:
            break
    return sorted(released)
