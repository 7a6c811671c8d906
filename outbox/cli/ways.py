"""Over which transport an email would go, and what is in its way there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from outbox.cli.output import moment_text
from outbox.cli.pausing import pause_text
from outbox.core.duration import format_duration
from outbox.core.errors import SettingsError

if TYPE_CHECKING:
    from outbox.db.models import Attempt, Email
    from outbox.db.operations import TransportFacts
    from outbox.settings import Settings

CONFIGURATION = "configuration: "
"""How the reason of a pause begins that a person must end."""


FOR_EVER = datetime.max.replace(tzinfo=UTC)
"""When that ends which waits for a person."""


class Obstacle(NamedTuple):
    """Something in the way, and until when. Of several, the one that ends last is what an email waits for."""

    until: datetime
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Ways:
    """As this command's settings have them, and as they are on record."""

    settings: "Settings"
    transports: "Mapping[str, TransportFacts]"
    limits: Mapping[str, datetime]
    """Limits that let nothing go before that time: by transport, or `@domain` of recipients."""

    def obstacle(self, row: "Email", attempts: "Sequence[Attempt]", now: datetime) -> tuple[str, str] | None:
        """What keeps a due email from going, as a code and in words; None where nothing does."""
        if not self.settings.transports:  # this shell does not know what the pollers know
            own = row.route or row.transport or ""
        elif row.transport and row.transport not in self.settings.transports:
            known = ", ".join(sorted(self.settings.transports))
            return "not_configured", f"transport {row.transport!r} is not configured here (there is: {known})"
        else:
            own = self._stand_in(self._own(row), attempts)
        found = [*self._limits_of(row, own, now), *self._pause_of(own, now)]
        last = max(found, key=lambda one: one.until, default=None)
        return (last.code, last.text) if last else None

    def _own(self, row: "Email") -> str:
        """The row's choice, else that of the poller that routed it, else of the routes as they are set here."""
        from outbox.core.routing import Facts, choose
        from outbox.gates import domains_of

        default = self.settings.default_transport
        if row.route and row.route in self.settings.transports:
            return row.route
        if row.transport:
            return row.transport
        senders = domains_of(row.sender) or self._default_domain()
        everyone = [d for column in (row.to_addrs, row.cc_addrs, row.bcc_addrs) for d in domains_of(column)]
        facts = Facts(senders[0] if senders else "", everyone, row.tag, row.priority)
        return choose([one.route for one in self.settings.routes], facts, default)

    def _default_domain(self) -> list[str]:
        try:
            return [self.settings.default_sender.domain]
        except SettingsError:
            return []

    def _stand_in(self, own: str, attempts: "Sequence[Attempt]") -> str:
        """The one that stands in for a transport with a fault; never for an email that may have gone out already."""
        here = self._unwell(own)
        if here is None or here.by_hand or _in_doubt(attempts):
            return own
        others = self.settings.transports[own].failover if own in self.settings.transports else ()
        return next((name for name in others if self._unwell(name) is None), own)

    def _unwell(self, name: str) -> "TransportFacts | None":
        """What is on record of a transport that is paused or on probation. A pause made by SQL may have no reason."""
        facts = self.transports.get(name)
        return facts if facts and (facts.reason or facts.paused) else None

    def _limits_of(self, row: "Email", own: str, now: datetime) -> "Iterator[Obstacle]":
        domain = row.route if row.route and row.route.startswith("@") else None
        for name, code, whose in (
            (domain, "domain_limit", f"to recipients {domain}"),
            (own, "rate_limit", f"over {own}"),
        ):
            if name and (until := self.limits.get(name)) and until > now:
                rates = ", ".join(map(str, self.settings.limits.get(name, ())))
                when = f"{moment_text(until)} (in {format_duration((until - now).total_seconds())})"
                limit = f"the limit of {rates or 'emails'} {whose}"
                yield Obstacle(until, code, f"it waits for {limit}; the next one may go at {when}")

    def _pause_of(self, name: str, now: datetime) -> "Iterator[Obstacle]":
        transport = self._unwell(name)
        if transport is None:
            return
        if paused := pause_text(transport):
            text = f"transport {name} is paused{paused}"
            if transport.by_hand:
                yield Obstacle(FOR_EVER, "paused_by_hand", text)
            elif (transport.reason or "").startswith(CONFIGURATION):
                yield Obstacle(FOR_EVER, "paused_configuration", text)
            else:
                yield Obstacle(transport.paused_until or now, "paused", text)
            return
        tried = f"transport {name} is on probation, one email at a time tries it: {transport.reason}"
        yield Obstacle(now, "probation", tried)


def _in_doubt(attempts: "Sequence[Attempt]") -> bool:
    """Whether it may have gone out already, as a poller reads the record."""
    from outbox.core.outcome import Kind
    from outbox.db.attempts import history

    return Kind.IN_DOUBT in history([(one.recipient, one.outcome) for one in attempts]).values()
