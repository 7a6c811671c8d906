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
    return None


def _show(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")
