"""Which transport an email goes over: the row's own choice, or the first route that matches it. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of `[[routes]]`: emails that match all that is given go over `transport`.

    A domain matches itself and, written `*.example.org`, all below it. Of the recipients' domains any one will do: an
    email goes over one transport as a whole.
    """

    transport: str
    sender_domain: Collection[str] = ()
    recipient_domain: Collection[str] = ()
    tag: Collection[str] = ()
    priority: Collection[int] = ()

    def matches(self, facts: "Facts") -> bool:
        """Whether the email of these facts goes here."""
        return (
            (not self.sender_domain or _is_among(facts.sender_domain, self.sender_domain))
            and (not self.recipient_domain or any(_is_among(d, self.recipient_domain) for d in facts.domains))
            and (not self.tag or facts.tag in self.tag)
            and (not self.priority or facts.priority in self.priority)
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What routes look at; domains are lower case and ASCII."""

    sender_domain: str
    domains: Collection[str]
    tag: str | None
    priority: int


def choose(routes: Sequence[Route], facts: Facts, default: str) -> str:
    """The transport of the first route that matches, else `default`."""
    return next((route.transport for route in routes if route.matches(facts)), default)


def _is_among(domain: str, patterns: Collection[str]) -> bool:
    return any(domain == p or (p.startswith("*.") and domain.endswith(p[1:])) for p in patterns)
