"""Whom a row is for: the three address columns, read once, and the entries in them that are no address."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from outbox.core.address import AddressList, Mailbox, parse_list, simple_mailbox
from outbox.core.claim import NOBODY, Claimed
from outbox.core.errors import AddressError, ContentError
from outbox.core.outcome import Kind, Outcome
from outbox.mail.columns import check_length, text_of

MAX_RECIPIENTS = 5000
"""Recipients of one email, To, Cc and Bcc together."""

MAX_LIST = 524_288
"""Characters of an address column."""

LONG_LIST = 8192
"""Characters of address columns that are read in a thread: it may take longer than others should wait."""


class Addressees(NamedTuple):
    """The recipients of one row."""

    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    bcc: tuple[Mailbox, ...]
    everyone: tuple[str, ...]
    """The unique envelope addresses in order of to, cc, bcc; what is no address stands here by its text."""
    bad: Mapping[str, Outcome] = NOBODY
    """The members of `everyone` that are no address: refused, by us."""


async def read_addressees(row: Claimed) -> Addressees:
    """`addressees`, without holding up the event loop for a long list."""
    if len(row.to_addrs or "") + len(row.cc_addrs or "") + len(row.bcc_addrs or "") > LONG_LIST:
        return await asyncio.to_thread(addressees, row)
    return addressees(row)


def addressees(row: Claimed) -> Addressees:
    """Whom `row` is for. Raises ContentError for nobody, too many, or a control character, which could end a header."""
    if row.cc_addrs is None and row.bcc_addrs is None and isinstance(row.to_addrs, str):
        mailbox = simple_mailbox(row.to_addrs)
        if mailbox:
            return Addressees((mailbox,), (), (), (mailbox.address,))
    lists = [_list_of(row, column) for column in ("to_addrs", "cc_addrs", "bcc_addrs")]
    everyone: dict[str, None] = {}
    bad: dict[str, Outcome] = {}
    for found in lists:
        everyone.update(dict.fromkeys(mailbox.address for mailbox in found.mailboxes))
        everyone.update(dict.fromkeys(text for text, _ in found.bad))
        bad.update((text, Outcome(Kind.REFUSED, note=error)) for text, error in found.bad)
    if not everyone:
        raise ContentError("no recipient: to_addrs, cc_addrs and bcc_addrs name nobody")
    if len(everyone) > MAX_RECIPIENTS:
        raise ContentError(f"{len(everyone)} recipients; an email goes to {MAX_RECIPIENTS} at most, insert several")
    to, cc, bcc = (found.mailboxes for found in lists)
    return Addressees(to, cc, bcc, tuple(everyone), bad)


def _list_of(row: Claimed, column: str) -> AddressList:
    check_length(column, getattr(row, column), MAX_LIST)
    try:
        return parse_list(text_of(row, column) or "")
    except AddressError as error:
        raise ContentError(f"{column}: {error}") from None
