"""Which pollers there are: each reports that it lives, and the emails of one that is gone are freed."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from outbox.core.status import Status
from outbox.db.models import Email, PollerState
from outbox.db.store import Store
from outbox.db.types import UtcNow, later

FORGOTTEN = 86400.0
"""Seconds after which a poller that never signed off is forgotten."""


class Registry:
    """The table `email_poller`. Everything raises DatabaseError where the database fails."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def sign_on(self, name: str, *, host: str, pid: int, version: str) -> None:
        """Report that the poller `name` begins, and forget those not heard of for a day."""
        new = {"name": name, "host": host, "pid": pid, "version": version}

        def write(connection: Connection) -> None:
            connection.execute(insert(PollerState).values(new))
            connection.execute(delete(PollerState).where(PollerState.seen_at < later(-FORGOTTEN)))

        await self._store.write(write)

    async def show_life(self, name: str) -> bool:
        """Report that the poller `name` lives. False where it is not on record any more."""
        seen = update(PollerState).where(PollerState.name == name).values(seen_at=UtcNow())
        return bool(await self._store.write(lambda connection: connection.execute(seen).rowcount))

    async def sign_off(self, name: str) -> None:
        """Report that the poller `name` ends."""
        await self._store.write(lambda connection: _forget(connection, name))

    async def others(self, name: str) -> Mapping[str, datetime]:
        """All pollers on record but `name`, with the last sign of life of each."""
        async with self._store.read() as connection:
            found = await connection.execute(
                select(PollerState.name, PollerState.seen_at).where(PollerState.name != name)
            )
            return {row.name: row.seen_at for row in found}

    async def free(self, name: str) -> int:
        """Make the emails of a poller that is gone due now, and take it off the record; how many they were.

        They stay `sending`, with their attempt counted: whoever claims them knows that they were lost once.
        """
        held = update(Email).where(Email.claimed_by == name, Email.status == Status.SENDING, Email.due_at > UtcNow())

        def write(connection: Connection) -> int:
            freed = connection.execute(held.values(due_at=UtcNow())).rowcount
            _forget(connection, name)
            return freed

        return await self._store.write(write)


def _forget(connection: Connection, name: str) -> None:
    connection.execute(delete(PollerState).where(PollerState.name == name))
