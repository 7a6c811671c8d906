"""Whom a row is for: the three address columns, read once, and the entries in them that are no address."""

from dataclasses import dataclass, field

from outbox.core.address import AddressList, Mailbox, parse_list
from outbox.core.claim import Claimed
from outbox.core.errors import AddressError, ContentError
from outbox.core.outcome import Kind, Outcome
from outbox.mail.columns import text_of


@dataclass(frozen=True, slots=True)
class Addressees:
    """The recipients of one row."""

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    everyone: tuple[str, ...]
    """The unique envelope addresses in order of to, cc, bcc; what is no address stands here by its text."""
    bad: dict[str, Outcome] = field(default_factory=dict)
    """The members of `everyone` that are no address: refused, by us."""


def addressees(row: Claimed) -> Addressees:
    """Whom `row` is for. Raises ContentError for nobody, or for a control character (it could end a header)."""
    lists = [_list_of(row, column) for column in ("to_addrs", "cc_addrs", "bcc_addrs")]
    everyone: dict[str, None] = {}
    bad: dict[str, Outcome] = {}
    for found in lists:
        everyone.update(dict.fromkeys(mailbox.address for mailbox in found.mailboxes))
        everyone.update(dict.fromkeys(text for text, _ in found.bad))
        bad.update((text, Outcome(Kind.REFUSED, note=error)) for text, error in found.bad)
    if not everyone:
        raise ContentError("no recipient: to_addrs, cc_addrs and bcc_addrs name nobody")
    to, cc, bcc = (found.mailboxes for found in lists)
    return Addressees(to, cc, bcc, tuple(everyone), bad)


def _list_of(row: Claimed, column: str) -> AddressList:
    try:
        return parse_list(text_of(row, column) or "")
    except AddressError as error:
        raise ContentError(f"{column}: {error}") from None
