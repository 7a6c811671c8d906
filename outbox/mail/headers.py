"""Header fields as they go over the wire: folding, encoded words, addresses (RFC 5322 §2.2.3 and §3.4, RFC 2047).

Python's own folding is not used: its released versions encode long URLs (cpython#85725) and have changed the meaning of
address lists (CVE-2025-1795, gh-121284).
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from outbox.core.address import Mailbox
from outbox.core.errors import ContentError
from outbox.core.headers import MAX_LINE, list_id, verbatim

FOLD = 76
"""Octets of a header line where it can be folded: the bound for lines with encoded words (RFC 2047 §2)."""

LONGEST_PHRASE = 60
"""Characters of a display name that stands as it is."""

AUTOMATIC = "Auto-Submitted: auto-generated\r\n"
"""Keeps absence notes and other answering programs quiet (RFC 3834 §5)."""

_PRINTABLE = re.compile(r"[ -~]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_LIKE_ENCODED = re.compile(r"=\?[^?]*\?[bqBQ]\?")
_QUOTED = re.compile(r'(["\\])')
_SINGLE_SPACE = re.compile(r"(?<! ) (?! )")
_Q_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # in every place (§5)
_FRAME = len("=?utf-8?q??=")


def field(name: str, tokens: Sequence[str]) -> str:
    """The field `name` of these tokens, a space between them, folded at these spaces only; ends with CRLF.

    Raises ContentError where a token is longer than a line may be.
    """
    line = " ".join((f"{name}:", *tokens))
    if len(line) <= FOLD:
        return f"{line}\r\n"
    lines: list[str] = []
    line = f"{name}:"
    for position, token in enumerate(tokens):
        if position and len(line) + 1 + len(token) > FOLD:
            lines.append(line)
            line = f" {token}"
        else:
            line = f"{line} {token}"
    lines.append(line)
    if any(len(line) > MAX_LINE for line in lines):
        raise ContentError(f"header {name}: an entry is longer than a line may be ({MAX_LINE} octets)")
    return "\r\n".join(lines) + "\r\n"


def text_field(name: str, text: str) -> str:
    """An unstructured field: plain where printable ASCII and the limits allow it, else encoded words."""
    if len(text) <= FOLD - len(name) - 2 and text.isascii() and text.isprintable() and "=?" not in text:
        return f"{name}: {text}\r\n"
    tokens = _SINGLE_SPACE.split(text)
    fits = max(map(len, tokens)) <= MAX_LINE - len(name) - 2
    if not fits or not _PRINTABLE.fullmatch(text) or _LIKE_ENCODED.search(text):
        tokens = encoded_words(text, max(FOLD - len(name) - 2, 32))
    return field(name, tokens)


@lru_cache(maxsize=256)
def sender_field(sender: Mailbox, *, utf8: bool) -> str:
    """Whom a message is from: one of few."""
    return address_field("From", [sender], utf8=utf8)


@lru_cache(maxsize=256)
def date_field(date: datetime) -> str:
    """When it was written: emails that are claimed together share it."""
    return field("Date", [format_datetime(date)])


def address_field(name: str, mailboxes: Sequence[Mailbox], *, utf8: bool) -> str:
    """An address list. `utf8`: local parts are raw UTF-8 (RFC 6532); else see `_mailbox_tokens`."""
    tokens: list[str] = []
    for mailbox in mailboxes:
        if tokens:
            tokens[-1] += ","
        tokens += _mailbox_tokens(mailbox, utf8=utf8)
    return field(name, tokens)


def extra_field(name: str, value: str) -> str:
    """A field the application asked for, in which `header_fault` finds nothing."""
    if found := list_id(name, value):
        description, identifier = found
        return field(name, [*_phrase(description), identifier])
    entries = verbatim(name, value)
    return text_field(name, value) if entries is None else field(name, entries)


def encoded_words(text: str, limit: int) -> list[str]:
    """`text` as RFC 2047 encoded words of at most `limit` octets, split between characters, in the shorter encoding."""
    room = limit - _FRAME
    quoted = [_quoted(character) for character in text]
    octets = [len(character.encode()) for character in text]
    if sum(map(len, quoted)) <= (sum(octets) + 2) // 3 * 4:
        return [f"=?utf-8?q?{''.join(quoted[part])}?=" for part in _split(map(len, quoted), room)]
    return [
        f"=?utf-8?b?{b2a_base64(text[part].encode(), newline=False).decode()}?="
        for part in _split(octets, room // 4 * 3)
    ]


def _quoted(character: str) -> str:
    if character in _Q_SAFE:
        return character
    return "_" if character == " " else "".join(f"={octet:02X}" for octet in character.encode())


def _split(sizes: Iterable[int], room: int) -> list[slice]:
    """Consecutive slices whose sizes sum to `room` at most."""
    slices: list[slice] = []
    start = end = used = 0
    for end, size in enumerate(sizes):
        if used + size > room:
            slices.append(slice(start, end))
            start, used = end, 0
        used += size
    slices.append(slice(start, end + 1))
    return slices


def _mailbox_tokens(mailbox: Mailbox, *, utf8: bool) -> list[str]:
    """One address. A non-ASCII local part has no ASCII form: it is shown as the empty group of RFC 6857 §3.1.8."""
    if mailbox.utf8 and not utf8:
        return [*encoded_words(f"{mailbox.name} {mailbox.address}".strip(), 64), ":;"]
    if not mailbox.name:
        return [mailbox.address]
    return [*_phrase(mailbox.name), f"<{mailbox.address}>"]


def _phrase(name: str) -> list[str]:
    """A display name: atoms, one quoted string, or encoded words, which hold no syntax a hasty parser could trip on."""
    if len(name) <= LONGEST_PHRASE and "=?" not in name:
        if _ATOMS.fullmatch(name):
            return _SINGLE_SPACE.split(name)
        if _PRINTABLE.fullmatch(name):
            return ['"' + _QUOTED.sub(r"\\\1", name) + '"']
    return encoded_words(name, 64)
