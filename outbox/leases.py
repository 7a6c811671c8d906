"""The rows this poller owns, until when, and the renewal of their leases off the send path."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from outbox.core.claim import Claimed, Result
from outbox.core.errors import DatabaseError
from outbox.db.store import Store

log = logging.getLogger("outbox.leases")

RETRY = 1.0
"""Seconds after which a renewal that failed is tried again."""


def lease_clock() -> Callable[[], float]:
    """A clock that never goes back and does not stand still while the machine is suspended.

    Linux's CLOCK_BOOTTIME counts suspension. A virtual machine that was frozen and is let go on does not even see
    that; its wall clock is set right afterwards. So whichever went on further since the last look counts: too fast a
    clock gives a row back untried, too slow a one would send it twice.
    """
    boot_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    boot, wall, gone = time.clock_gettime(boot_id), time.time(), 0.0

    def clock() -> float:
        nonlocal boot, wall, gone
        boot_before, boot = boot, time.clock_gettime(boot_id)
        wall_before, wall = wall, time.time()
        gone += max(boot - boot_before, wall - wall_before)  # the former never goes back
        return gone

    return clock


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
        self.trusted = True
        """False while others may believe that we are gone: then nothing is ours."""
        self.lost = 0
        """Rows that somebody else took over while we held them."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def ids(self) -> Collection[int]:
        """The rows that are held."""
        return self._held.keys()

    def add(self, rows: Iterable[Claimed], since: float) -> None:
        """Hold `rows`, claimed by a statement sent at `since`."""
        for row in rows:
            self._held[row.id] = _Held(row.claim_token, since + self._lease)

    def drop(self, results: Iterable[Result]) -> None:
        """These are written, or lost: nothing of these claims is renewed any more."""
        for result in results:
            held = self._held.get(result.id)
            if held is not None and held.claim_token == result.claim_token:
                del self._held[result.id]

    def owns(self, row: Claimed) -> bool:
        """Whether the lease of this very claim still runs."""
        held = self._held.get(row.id)
        ours = held is not None and held.claim_token == row.claim_token and self._clock() < held.until
        return ours and self.trusted

    def lose(self, id: int, what: str) -> None:  # noqa: A002  # the column's name
        """Count and log that somebody else owns this row now."""
        self.lost += 1
        log.warning("lease_lost: email %d %s", id, what, extra={"event": "lease_lost", "email": id})

    async def keep(self) -> None:
        """Renew every lease at a third of its length, until cancelled."""
        pause = self._lease / 3
        while True:
            await asyncio.sleep(pause)
            try:
                await self.renew()
                pause = self._lease / 3
            except DatabaseError as error:
                pause = min(RETRY, self._lease / 3)
                log.warning("the leases of %d emails could not be renewed, trying again: %s", len(self), error)

    async def renew(self) -> None:
        """Renew all leases once, also those that have ended and nobody took; rows that somebody took are dropped. The
        lease of a row that is only locked stays as it was. Raises DatabaseError.
        """
        claims = [(row, held.claim_token) for row, held in self._held.items()]
        if not claims:
            return
        since = self._clock()
        renewed = await self._store.renew(claims, self._lease)
        others = {(row, token) for row, token in claims if row not in renewed}
        locked = await self._store.owned(others) if others else set()
        for row, token in claims:
            held = self._held.get(row)
            if held is None or held.claim_token != token:
                continue  # written meanwhile
            if row in renewed:
                held.until = since + self._lease
            elif row not in locked:
                self.lose(row, "is no longer ours")
                del self._held[row]
            elif not self.trusted:
                held.until = since  # whoever believed that we are gone may have ended it
