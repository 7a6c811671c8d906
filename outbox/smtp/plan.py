"""What a transaction will say, as far as it can be known before a word is said: who cannot be offered to any server,
which commands it takes, and which bytes follow them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from outbox.core.message import Message
from outbox.core.outcome import Kind, Outcome
from outbox.core.text import CONTROL_CLASS
from outbox.smtp.connection import Features

_SAFE = re.compile(rf'(?:[^\s<>"\\{CONTROL_CLASS}]|"(?:[^"\\{CONTROL_CLASS}]|\\[^{CONTROL_CLASS}])*")*')


class Plan(NamedTuple):
    """Made by `plan_of` for one server."""

    sender: str
    recipients: Sequence[str]
    """Those who can be offered."""
    refused: dict[str, Outcome]
    """The others."""
    content: bytes
    size: bool
    """MAIL announces it (RFC 1870)."""
    utf8: bool
    """An address needs SMTPUTF8 (RFC 6531)."""
    eightbitmime: bool

    def commands(self, *, reset: bool, plain: bool) -> list[bytes]:
        """From MAIL to DATA, one for each reply; with RSET before them. `plain`: without what MAIL can do without."""
        size = f" SIZE={len(self.content)}" if self.announces_size(plain=plain) else ""
        utf8 = (" BODY=8BITMIME SMTPUTF8" if self.eightbitmime else " SMTPUTF8") if self.utf8 else ""
        lines = [f"MAIL FROM:<{self.sender}>{size}{utf8}", *(f"RCPT TO:<{r}>" for r in self.recipients), "DATA"]
        return [line.encode() for line in (["RSET", *lines] if reset else lines)]

    def announces_size(self, *, plain: bool) -> bool:
        """Whether MAIL carries a parameter that it can do without."""
        return self.size and not plain


def plan_of(message: Message, recipients: Sequence[str], features: Features) -> Plan:
    """What to say to a server with these `features`. Nothing where nobody can be offered."""
    sender = message.sender
    if found := _refusal_of_sender(sender, features):
        refused = dict.fromkeys(recipients, found)
    else:
        refused = {r: found for r in recipients if (found := _refusal_of(r, features))}
    left = [r for r in recipients if r not in refused]
    utf8 = not (sender.isascii() and all(map(str.isascii, left)))
    content = (utf8 and message.utf8_content) or message.content
    if features.size and len(content) > features.size:
        found = _refused(f"5.3.4 the message has {len(content)} bytes, the server takes {features.size}")
        refused.update(dict.fromkeys(left, found))
        left = []
    return Plan(sender, left, refused, content, features.offers_size, utf8, features.eightbitmime)


def _refusal_of_sender(sender: str, features: Features) -> Outcome | None:
    if not _SAFE.fullmatch(sender):
        return _refused("5.1.7 the sender's address cannot be written to a server safely")
    return None if sender.isascii() or features.smtputf8 else _needs_utf8("the sender's address")


def _refusal_of(recipient: str, features: Features) -> Outcome | None:
    if not _SAFE.fullmatch(recipient) or not recipient:
        return _refused("5.1.3 the address cannot be written to a server safely")
    return None if recipient.isascii() or features.smtputf8 else _needs_utf8("this address")


def _needs_utf8(what: str) -> Outcome:
    return _refused(f"5.6.7 {what} is internationalised, and the server does not offer SMTPUTF8")


def _refused(note: str) -> Outcome:
    return Outcome(Kind.REFUSED, note=note)


def stuffed(content: bytes) -> bytes:
    """`content` with the dots of RFC 5321 §4.5.2 doubled: no line of it can end the message."""
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled
