"""Which extra headers an email may carry: one rule for `Email(headers=…)` and for composing (RFC 5322 §2.2)."""

import re

from outbox.core.text import CONTROL_BUT_TAB

_NAME = re.compile(r"[!-9;-~]{1,76}")  # ftext; longer ones could not be folded within 78 columns

_ARGUMENTS = {
    "from": "sender",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "reply-to": "reply_to",
    "subject": "subject",
}
"""Headers that have a column of their own."""

MAX_LINE = 998
"""Octets of any line, without CRLF (RFC 5322 §2.1.1)."""

_PRINTABLE = re.compile(r"[ -~]*")
_BETWEEN_ENTRIES = re.compile(r"(?<=>)\s*,\s*(?=<)")
_LIST_ID_END = re.compile(r"[!-;=?-~]+>")
_NEVER_ENCODED = frozenset({"references", "in-reply-to"})  # and List-*

_OURS = frozenset({"date", "message-id", "sender", "return-path", "received"})
_OUR_PREFIXES = ("mime-", "content-", "resent-")


def header_fault(name: str, value: object) -> str | None:
    """What is wrong with one extra header, in one line, or None.

    A name is RFC 5322 ftext, a value is text without control characters (a tab is fine), so that no header can end
    early and begin another. Structural headers are refused: they are made from the columns.
    """
    if not _NAME.fullmatch(name):
        return f"header name {_show(name)} is not valid (RFC 5322: printable ASCII without space and colon)"
    lower = name.lower()
    if lower in _ARGUMENTS:
        return f"header {name!r} is set by {_ARGUMENTS[lower]!r}"
    if lower in _OURS or lower.startswith(_OUR_PREFIXES):
        return f"header {name!r} is structural and made by outbox"
    if not isinstance(value, str):
        return f"header {name!r} must have a text value, not {type(value).__name__}"
    if CONTROL_BUT_TAB.search(value):
        return f"header {name!r} contains a control character or line break"
    return _verbatim_fault(name, value.strip())


def verbatim(name: str, value: str) -> list[str] | None:
    """The entries of a header that is never encoded, since nobody would decode it: URLs and message ids. Such a header
    is folded between its entries only. None for every other header.
    """
    key = name.lower()
    if key in _NEVER_ENCODED:
        return value.split()
    if not key.startswith("list-") or list_id(name, value):
        return None
    *entries, last = _BETWEEN_ENTRIES.split(value)
    return [*(f"{entry}," for entry in entries), last]


def list_id(name: str, value: str) -> tuple[str, str] | None:
    """Description and `<identifier>` of a List-Id (RFC 2919 §3)."""
    description, _, identifier = value.rpartition("<")
    if name.lower() != "list-id" or not _LIST_ID_END.fullmatch(identifier):
        return None
    return description.rstrip(), f"<{identifier}"


def _verbatim_fault(name: str, value: str) -> str | None:
    entries = verbatim(name, value)
    if not entries:
        return None
    if not _PRINTABLE.fullmatch(value):
        return f"header {name!r} may hold printable ASCII only; percent-encode URLs"
    longest = max(len(entry) for entry in entries)
    room = MAX_LINE - len(f"{name}: ")
    if longest > room:
        return f"header {name!r} has an entry of {longest} characters, and a line of an email has room for {room}"
    return None


def _show(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")
