"""The header of an email that goes to somebody else than it is for, and says whom."""

from collections.abc import Iterator, Sequence

from outbox.core.address import Mailbox
from outbox.mail.addressees import Addressees
from outbox.mail.headers import encoded_words, field

SHOWN = 100
"""Addresses of one list that are shown: servers cut or refuse a header of many kilobytes."""


def original_fields(to: Addressees) -> Iterator[str]:
    """Whom it is for, those of Bcc as well: they get none, and the one who does has to know."""
    for name, mailboxes in (("To", to.to), ("Cc", to.cc), ("Bcc", to.bcc)):
        if mailboxes:
            yield field(f"X-Original-{name}", [*_tokens(mailboxes)])


def _tokens(mailboxes: Sequence[Mailbox]) -> Iterator[str]:
    more = len(mailboxes) - SHOWN
    for position, mailbox in enumerate(mailboxes[:SHOWN], 1):
        *words, last = [mailbox.address] if not mailbox.utf8 else encoded_words(mailbox.address, 64)
        yield from words
        yield f"{last}," if position < len(mailboxes) else last
    if more > 0:
        yield from f"and {more} more".split()
