"""One reply of an SMTP server, read once: code, enhanced code, text (RFC 5321 §4.2, RFC 3463)."""

import re
from typing import NamedTuple

from outbox.core.text import clean_text

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")
_WAIT = re.compile(r"\b(?:in|after|for)\s+(\d{1,6})\s*(s|sec|secs|second|m|min|mins|minute|h|hour)s?\b", re.IGNORECASE)


class Reply(NamedTuple):
    """A complete reply. `text` is one clean line and includes the enhanced code as the server sent it."""

    code: int
    text: str = ""

    @classmethod
    def of(cls, code: int, text: str) -> "Reply":
        """A reply whose text came from the network."""
        return cls(code, clean_text(text))

    @property
    def enhanced(self) -> str | None:
        """The enhanced code (`5.1.1`) where the server gave one of the same class as the code, else None."""
        match = _ENHANCED.match(self.text)
        # "550 4.7.1 …" contradicts itself: the basic code decides (RFC 5321 §4.2 gives it the meaning).
        return match[0] if match and int(match[1]) == self.code // 100 else None

    @property
    def positive(self) -> bool:
        """2yz: done. 252 and 251 count, by the first-digit rule (RFC 5321 §4.3.2)."""
        return 200 <= self.code <= 299

    @property
    def wait(self) -> float | None:
        """Seconds to wait that the text asks for ("try again in 92 seconds"), or None."""
        match = _WAIT.search(self.text)
        if not match:
            return None
        unit = {"s": 1, "m": 60, "h": 3600}[match[2][0].lower()]
        return float(int(match[1]) * unit)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()
