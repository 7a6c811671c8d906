"""The rows this poller owns, until when, and the renewal of their leases off the send path."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from outbox.core.claim import Claimed
from outbox.db.store import Store

log = logging.getLogger("outbox.leases")


@dataclass(slots=True)
class _Held:
    claim_token: str
    until: float


class Leases:
    """Who owns what, on this process's monotonic clock.

    A lease counts from before the statement that took it was sent, so that we never believe to own a row longer than
    the database does.
    """

    def __init__(self, store: Store, lease: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._lease = lease
        self._clock = clock
        self._held: dict[int, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, rows: Iterable[Claimed], since: float) -> None:
        """Hold `rows`, claimed by a statement sent at `since`."""
        for row in rows:
            self._held[row.id] = _Held(row.claim_token, since + self._lease)

    def drop(self, ids: Collection[int]) -> None:
        """These are written, or lost: nothing of them is renewed any more."""
        for row in ids:
            self._held.pop(row, None)

    def owns(self, row: Claimed) -> bool:
        """Whether the lease of this very claim still runs."""
        held = self._held.get(row.id)
        return held is not None and held.claim_token == row.claim_token and self._clock() < held.until

    async def keep(self) -> None:
        """Renew every lease at a third of its length, until cancelled."""
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self.renew()
            except Exception:
                log.exception("leases could not be renewed; retrying (%d rows held)", len(self._held))

    async def renew(self) -> None:
        """Renew all leases once; rows that are no longer ours are dropped."""
        claims = [(row, held.claim_token) for row, held in self._held.items()]
        if not claims:
            return
        since = self._clock()
        owned = await self._store.renew(claims, self._lease)
        for row, token in claims:
            held = self._held.get(row)
            if held is None or held.claim_token != token:
                continue  # written meanwhile
            if row in owned:
                held.until = since + self._lease
            else:
                log.warning("lease_lost: email %d is no longer ours", row)
                del self._held[row]
