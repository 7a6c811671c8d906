"""Gates: where emails wait, and which of them can go over which transport now.

An email waits at the gate of its transport, or at that of a recipient's domain which has a limit of its own; and at
`''` until it is routed. So what cannot go now is never looked at: claims ask for the gates that are open.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from outbox.core.address import parse_list
from outbox.core.claim import Claimed
from outbox.core.errors import AddressError
from outbox.core.outcome import Fault, Scope
from outbox.core.rate import Rate
from outbox.core.routing import Facts, Route, choose

SHARE = 0.25
"""Seconds of a pace that a poller reserves at a time."""

UNROUTED = ""
"""The gate of emails that nobody has looked at yet."""


class WayOut(Protocol):
    """What is needed of a transport."""

    @property
    def fault(self) -> Fault | None:
        """What is wrong with it."""
        ...


class Gates:
    """`default` is for emails that name no transport and match none of `routes`. `instead` gives, for a transport,
    those to be used while it has a fault, in their order. `limits` are the rates of transports and, as `@domain`, of
    recipients' domains.
    """

    def __init__(
        self,
        transports: Mapping[str, WayOut],
        default: str,
        *,
        sender_domain: str = "",
        routes: Sequence[Route] = (),
        instead: Mapping[str, Sequence[str]] | None = None,
        limits: Mapping[str, Sequence[Rate]] | None = None,
    ) -> None:
        self._transports = transports
        self._default = default
        self._sender_domain = sender_domain
        self._routes = routes
        self._instead = instead or {}
        self._limits = limits or {}
        self.domains = sorted(name for name in self._limits if name.startswith("@"))
        """Those of recipients' domains."""
        self._mixed = bool(self._routes or self.domains)
        self._closed: dict[str, float] = {}

    @property
    def known(self) -> list[str]:
        """All there are. What waits elsewhere names a transport that is not configured."""
        return [UNROUTED, *self._transports, *self.domains]

    def of(self, name: str) -> list[str]:
        """The gates whose emails may go over transport `name` now: its own, and those of the transports that it stands
        in for."""
        stands_for = [other for other in self._transports if other == name or self._stand_in(other) == name]
        gates = sorted(stands_for, key=lambda other: other != name)
        return [*gates, UNROUTED] if self._default in stands_for and not self._mixed else gates

    def mixed(self, now: float) -> list[str]:
        """The open gates at which emails of any transport wait."""
        return [UNROUTED, *(name for name in self.domains if self.is_open(name, now))] if self._mixed else []

    def close(self, limit: str, until: float) -> None:
        """Nothing more goes by this limit until then."""
        self._closed[limit] = until

    def is_open(self, limit: str, now: float) -> bool:
        """Whether anything may go by it."""
        return self._closed.get(limit, now) <= now

    def closed_for(self, limit: str, now: float) -> float:
        """Seconds for which nothing goes by it; 0 where something may."""
        return max(self._closed.get(limit, now) - now, 0.0)

    def opens_in(self, now: float) -> float | None:
        """Seconds until a limit lets something through again; None where none is closed."""
        return min((until - now for until in self._closed.values() if until > now), default=None)

    def limits_of(self, row: Claimed) -> list[str]:
        """The limits that it needs to pass on its way: of its recipients' domains, and of its transport."""
        if not self._limits:
            return []
        found = dict.fromkeys(map(self._limit_of, recipient_domains(row))) if self.domains else {}
        return [*filter(None, found), *([row.way] if row.way in self._limits else [])]

    def share(self, limit: str) -> int | None:
        """How many emails a poller asks to be let through at once, so that others have their turn; None: any number."""
        interval = self.interval(limit)
        return max(1, round(SHARE / interval)) if interval else None

    def interval(self, limit: str) -> float:
        """Seconds between two emails where they are spread, 0 where they are not."""
        return max((rate.interval for rate in self._limits.get(limit, ()) if rate.paced), default=0.0)

    def moved(self, row: Claimed, limit: str | None = None) -> str | None:
        """The gate at which a row should wait that cannot go now; because of `limit`, if it is one. None: where it
        was, as does whatever only the server of that gate could know: it would not be found there from elsewhere."""
        chosen = self._chosen(row)
        own = self._bound_to(row) or chosen
        if limit in self.domains and own == chosen:
            return limit
        stays = row.gate == own or (row.gate == UNROUTED and own == self._default and not self._mixed)
        return None if stays else own

    def _limit_of(self, domain: str) -> str | None:
        parts = domain.split(".")
        above = [f"@*.{'.'.join(parts[start:])}" for start in range(1, len(parts))]
        return next((name for name in (f"@{domain}", *above) if name in self._limits), None)

    def direct(self, row: Claimed, claimed_for: str | None = None) -> None:
        """Decide the way of `row`, if it was `claimed_for` one transport, or for any.

        While its own one has a fault, another stands in for it; but never where it may have gone out already, since
        only the same server could recognise a copy.
        """
        chosen = self._chosen(row)
        own = self._bound_to(row) or chosen
        other = None if own == claimed_for or row.is_doubtful else self._stand_in(own)
        row.way = other or own
        routed = row.gate in self._transports
        row.to_note = row.way != (row.gate if routed else chosen)
        home = chosen if routed else row.gate
        row.home = home if row.to_note or home != row.gate else None

    def _bound_to(self, row: Claimed) -> str | None:
        """The transport whose server may have it already, where that is known."""
        return row.gate if row.is_doubtful and row.gate in self._transports else None

    def _chosen(self, row: Claimed) -> str:
        if row.transport:
            return row.transport if row.transport in self._transports else self._default
        if not self._routes:
            return self._default
        return choose(self._routes, self._facts(row), self._default)

    def _stand_in(self, name: str) -> str | None:
        """The first one that is well, of those for a transport with a fault. One that is paused by hand is not: its own
        mail is meant to wait, not that of others."""
        if not _has_fault(self._transports[name]):
            return None
        return next((one for one in self._instead.get(name, ()) if self._transports[one].fault is None), None)

    def _facts(self, row: Claimed) -> Facts:
        sender = domains_of(row.sender)
        return Facts(sender[0] if sender else self._sender_domain, recipient_domains(row), row.tag, row.priority)


def recipient_domains(row: Claimed) -> list[str]:
    """All of them, in their order."""
    return list(dict.fromkeys(d for column in (row.to_addrs, row.cc_addrs, row.bcc_addrs) for d in domains_of(column)))


def domains_of(column: str | None) -> list[str]:
    """The domains of an address list; none of a list that is broken, whose attempt will say so."""
    try:
        return [mailbox.domain for mailbox in parse_list(column).mailboxes] if isinstance(column, str) else []
    except AddressError:
        return []


def _has_fault(transport: WayOut) -> bool:
    return transport.fault is not None and transport.fault.scope in {Scope.PAUSE, Scope.CONFIG}
