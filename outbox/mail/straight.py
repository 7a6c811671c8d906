"""The straight path: the message of an everyday email, filled into a form.

Header fields of plain ASCII that need no folding; a text, or text and HTML. Whatever needs a closer look is left to
`compose`, which makes the very same bytes of what can be made here.
"""

import re
from operator import attrgetter

from outbox.core.address import Mailbox
from outbox.core.claim import Claimed
from outbox.core.message import date_of
from outbox.mail.addressees import Addressees
from outbox.mail.content import Content
from outbox.mail.headers import AUTOMATIC, FOLD, LONGEST_PHRASE, date_field, sender_field
from outbox.mail.part import Part, boundary_of, text_part

_RARE = attrgetter("cc_addrs", "bcc_addrs", "reply_to", "headers")
_NONE = (None,) * 4

_MESSAGE_ID = re.compile(r"<[0-9T]{15}\.[0-9a-z]{1,64}\.[0-9]{1,20}@[A-Za-z0-9.-]{1,255}>")
_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/^_`{|}~-]+)*")
_SUBJECT = re.compile(rf"[!-~](?:[ -~]{{0,{FOLD - len('Subject: ') - 2}}}[!-~])?")

_ALTERNATIVE = b'Content-Type: multipart/alternative;\r\n boundary="%b"\r\n\r\n--%b\r\n%b\r\n--%b\r\n%b\r\n--%b--\r\n'


def straight(row: Claimed, to: Addressees, sender: Mailbox, content: Content) -> bytes | None:
    """The bytes of the message; None where anything needs a closer look."""
    if _RARE(row) != _NONE or sender.utf8 or len(to.to) != 1:
        return None
    header = _header(row, to.to[0], sender, content.subject)
    body = header and _body(row, content)
    return header.encode() + body if header and body else None


def _header(row: Claimed, recipient: Mailbox, sender: Mailbox, subject: str | None) -> str | None:
    """Up to the header of the body."""
    name, shown, message_id = recipient.name, recipient.address, row.message_id
    if name:
        shown = f"{name} <{shown}>" if len(name) <= LONGEST_PHRASE and _WORDS.fullmatch(name) else ""
    if not shown.isascii() or not 0 < len(shown) <= FOLD - len("To: "):
        return None
    if not subject or not _SUBJECT.fullmatch(subject) or "=?" in subject:
        return None
    # `str`, since a database may hold bytes there.
    if not _MESSAGE_ID.fullmatch(str(message_id)) or row.created_at.tzinfo is None:
        return None
    return (
        f"{date_field(date_of(message_id, row.created_at))}Message-ID: {message_id}\r\n"
        f"{sender_field(sender, utf8=False)}To: {shown}\r\nSubject: {subject}\r\n{AUTOMATIC}MIME-Version: 1.0\r\n"
    )


def _body(row: Claimed, content: Content) -> bytes | None:
    """From its header on."""
    text, html = content.text, content.html
    if not text or text.isspace() or html == "" or (html and html.isspace()):
        return None
    readable = _written(text_part("plain", text))
    if html is None:
        return readable
    boundary = boundary_of("alternative", row.message_id).encode()
    return _ALTERNATIVE % (boundary, boundary, readable, boundary, _written(text_part("html", html)), boundary)


def _written(part: Part) -> bytes:
    return b"".join((part.header.encode(), b"\r\n", *part.body))
