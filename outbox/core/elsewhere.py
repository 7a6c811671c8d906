"""Where this is not production: whom all email goes to instead of its recipients, and who may get any at all."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from outbox.core.address import Mailbox, parse_mailbox
from outbox.core.errors import AddressError
from outbox.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """In production neither is set."""

    redirect_to: Mailbox | None = None
    """Everything goes there."""
    allowed: tuple[str, ...] | None = None
    """Patterns as `parse_pattern` gives them; None allows everybody."""

    def objection(self, recipients: Iterable[str]) -> str | None:
        """Why an email to these must be held, and what to do; None where it may go."""
        if self.allowed is None or self.redirect_to:
            return None
        outside = [recipient for recipient in recipients if not self.allows(recipient)]
        if not outside:
            return None
        more = f" (nor are {len(outside) - 1} more)" if len(outside) > 1 else ""
        return f"{outside[0]} is not in allow_recipients{more}; add it there and restart the daemon before a release"

    def allows(self, address: str) -> bool:
        """Whether it fits a pattern, in whatever case."""
        address = address.lower()  # not casefold(), for which ß is ss: that is somebody else
        return self.allowed is None or any(_matches(pattern, address) for pattern in self.allowed)

    def told(self, outcomes: Mapping[str, Outcome], recipients: Iterable[str]) -> Mapping[str, Outcome]:
        """The outcome of whom it was redirected to, as that of those whom it was for."""
        if self.redirect_to is None or not outcomes:
            return outcomes
        target = self.redirect_to.address
        outcome = outcomes[target]
        note = " — ".join(part for part in (outcome.note, f"redirected to {target}") if part)
        return dict.fromkeys(recipients, outcome._replace(note=note))

    def warnings(self) -> Iterator[str]:
        """What nobody should miss who expects email to arrive, a line each."""
        if self.redirect_to:
            yield f"redirect_to: every email goes to {self.redirect_to.address}, none to its recipients"
        elif self.allowed is not None:
            yield f"allow_recipients: emails to others than {', '.join(self.allowed)} are held"


def parse_pattern(text: str) -> str:
    """`ada@example.org`, `*@example.org` or `*@*.example.org`, in lower case and ASCII. Raises AddressError."""
    local, _, domain = text.strip().rpartition("@")
    star = "*." if domain.startswith("*.") else ""
    try:
        mailbox = parse_mailbox(f"{local.replace('*', 'x')}@{domain.removeprefix('*.')}")
    except AddressError:
        mailbox = None
    if mailbox is None or "<" in text:
        raise AddressError(f"{text!r} is no pattern; write it like *@example.org, *@*.example.org or ada@example.org")
    return f"{local.lower()}@{star}{mailbox.domain}"


def _matches(pattern: str, address: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), address) is not None
