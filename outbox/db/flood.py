"""The flood guard in the database, so that all pollers count together: one short transaction for each claim."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Connection, select

from outbox.core.address import Mailbox, parse_list
from outbox.core.claim import Claimed
from outbox.core.errors import AddressError
from outbox.core.flood import Recent, admit
from outbox.core.rate import Rate
from outbox.db.limits import lock, remember
from outbox.db.models import LimitState
from outbox.db.store import Store
from outbox.db.types import ClockTime

PREFIX = "flood "

LONGEST = 500
"""Characters of a name as it is kept. An index of PostgreSQL takes 2704 bytes, and a tag can be of any length."""


class FloodGuard:
    """At most `limit` emails to one recipient; `per` names the column whose values are counted apart, if any."""

    def __init__(self, store: Store, limit: Rate, per: str) -> None:
        self._store = store
        self._limit = limit
        self._per = per

    async def check(self, rows: Sequence[Claimed]) -> dict[int, str]:
        """Of these the ones that are too many, each with one line that says so. Raises DatabaseError."""
        # One that a person released passes, and one that was tried before: somebody may have got it already.
        new = [row for row in rows if not (row.held is False or row.taken_over or row.history)]
        emails = [(row.id, self._keys(row)) for row in new]
        if not any(keys for _, keys in emails):
            return {}
        refused = await self._store.write(lambda connection: self._count(connection, emails))
        return {id_: self._reason(key) for id_, key in refused.items()}

    def _count(self, connection: Connection, emails: Sequence[tuple[int, Sequence[str]]]) -> dict[int, str]:
        names = {key: _name(key) for _, keys in emails for key in keys}
        states = lock(connection, LimitState, sorted(set(names.values())))
        recent = {key: Recent.read(states[name]) for key, name in names.items()}
        now = connection.execute(select(ClockTime())).scalar_one()
        refused = admit(emails, recent, self._limit, now.timestamp())
        remember(connection, LimitState, {names[key]: (one.write(), None) for key, one in recent.items()}, now)
        return refused

    def _keys(self, row: Claimed) -> list[str]:
        label = {"tag": row.tag, "template": row.template}.get(self._per) or ""
        addresses = dict.fromkeys(
            mailbox.address.lower()
            for column in (row.to_addrs, row.cc_addrs, row.bcc_addrs)
            for mailbox in _mailboxes(column)
        )
        return [f"{PREFIX}{address} {label}".rstrip() for address in addresses]

    def _reason(self, key: str) -> str:
        recipient, _, label = key.removeprefix(PREFIX).partition(" ")
        of = f" of {self._per} {label!r}" if label else ""
        return f"flood guard: {recipient} has had {self._limit}{of} already"


def _name(key: str) -> str:
    """What it is kept as."""
    if len(key) <= LONGEST:
        return key
    return PREFIX + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _mailboxes(column: str | None) -> Sequence[Mailbox]:
    try:
        return parse_list(column).mailboxes if isinstance(column, str) else ()
    except AddressError:
        return ()  # its attempt will say so
