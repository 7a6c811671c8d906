"""Composing: from a claimed row to the bytes of its message (RFC 5322, RFC 2045-2049).

The bytes follow from the row alone, so every attempt at it sends the same message. They are 7-bit, which every server
takes. Nothing in a row can add a header: every column is checked before it is written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from outbox.core.address import Mailbox, parse_list, parse_mailbox
from outbox.core.claim import AttachedFile, Claimed
from outbox.core.errors import AddressError, ContentError
from outbox.core.headers import header_fault
from outbox.core.message import check_size, date_of
from outbox.mail.addressees import Addressees
from outbox.mail.body import body_of
from outbox.mail.columns import MAX_HEADERS, check_length, check_line, check_text, line_of, object_of, text_of
from outbox.mail.content import Content
from outbox.mail.headers import AUTOMATIC, address_field, date_field, extra_field, field, sender_field, text_field
from outbox.mail.redirect import original_fields
from outbox.mail.signing import Signer
from outbox.mail.straight import straight

if TYPE_CHECKING:
    from outbox.mail.templates import Templates  # it brings Jinja2 and Babel, which only a child has use for


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What messages are made from besides their rows."""

    sender: Mailbox
    """For rows that name none."""
    templates: "Templates | None"
    """None where no folder is configured."""
    max_size: int
    """Characters and bytes that the bodies and files of a message may have together."""
    signer: Signer | None = None
    """None where no domain has a key."""
    redirect_to: Mailbox | None = None
    """Who gets every message instead of those whom it is for; None in production."""


class Composed(NamedTuple):
    """A message but for its envelope's recipients; see Message."""

    sender: str
    content: bytes
    utf8_content: bytes | None


def compose(row: Claimed, to: Addressees, files: Sequence[AttachedFile], ground: Ground) -> Composed:
    """The message of `row`.

    Raises ContentError, one readable line, for whatever is wrong with the row.
    """
    sender = _mailbox(row, "sender") or ground.sender
    content = _content(row, files, ground)
    octets = None if files or ground.redirect_to else straight(row, to, sender, content)
    if octets is None:
        return _by_the_book(row, to, sender, content, files, ground)
    return Composed(sender.address, _signed(octets, row, sender, ground.signer) if ground.signer else octets, None)


def _signed(content: bytes, row: Claimed, sender: Mailbox, signer: Signer) -> bytes:
    header, _, body = content.partition(b"\r\n\r\n")
    signature = signer.over(sender.domain, _date(row), [body])
    return signature.field(header + b"\r\n") + content if signature else content


def _by_the_book(
    row: Claimed,
    to: Addressees,
    sender: Mailbox,
    content: Content,
    files: Sequence[AttachedFile],
    ground: Ground,
) -> Composed:
    """The message of a row of any kind."""
    reply_to = _reply_to(row)
    start = _identity(row)
    body = body_of(content.text, content.html, files, row.message_id)
    free = "".join(_free_fields(row, content.subject))
    if ground.redirect_to:
        free += "".join(original_fields(to))
        to = Addressees((ground.redirect_to,), (), (), (ground.redirect_to.address,))
    end = free + "MIME-Version: 1.0\r\n" + body.header + "\r\n"
    signature = ground.signer and ground.signer.over(sender.domain, _date(row), body.body)

    def written(*, utf8: bool) -> bytes:
        middle = "".join(_address_fields(sender, reply_to, to, utf8=utf8))
        header = f"{start}{middle}{end}".encode()
        return b"".join((signature.field(header) if signature else b"", header, *body.body))

    shown = (sender, *reply_to, *to.to, *to.cc)
    return Composed(
        sender=sender.address,
        content=written(utf8=False),
        utf8_content=written(utf8=True) if any(mailbox.utf8 for mailbox in shown) else None,
    )


def _mailbox(row: Claimed, column: str) -> Mailbox | None:
    text = line_of(row, column)
    try:
        return parse_mailbox(text) if text else None
    except AddressError as error:
        raise ContentError(f"{column}: {error}") from None


def _content(row: Claimed, files: Sequence[AttachedFile], ground: Ground) -> Content:
    subject, template = line_of(row, "subject"), line_of(row, "template")
    if template is None:
        content = Content(subject, text_of(row, "body_text"), text_of(row, "body_html"))
        if content.subject is content.text is content.html is None and not files:
            raise ContentError("no content: set subject, body_text or body_html, or a template")
        return content
    if ground.templates is None:
        raise ContentError(f"template {template!r}: no template folder is configured; set OUTBOX_TEMPLATES")
    made = ground.templates.render(template, object_of(row, "context"), line_of(row, "locale"))
    subject = subject or made.subject
    if not subject:
        raise ContentError(f"template {template!r} gives no subject ({template}.subject.txt), nor does the row")
    check_size(sum(len(part or "") for part in (made.text, made.html)), ground.max_size)
    # Checked again: the escapes of JSON can bring in what no column can hold.
    text, html = (part and check_text(f"template {template!r}", part) for part in (made.text, made.html))
    return Content(check_line("subject", subject), text, html)


def _identity(row: Claimed) -> str:
    """Date and Message-ID, the same for every attempt."""
    message_id = check_line("message_id", row.message_id)
    if not message_id.isascii() or not message_id.startswith("<") or not message_id.endswith(">") or " " in message_id:
        raise ContentError(f"message_id {message_id[:80]!r} is not of the form <left@right>")
    return date_field(_date(row)) + field("Message-ID", [message_id])


def _date(row: Claimed) -> datetime:
    """That of its header and signature."""
    date = date_of(row.message_id, row.created_at)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _reply_to(row: Claimed) -> tuple[Mailbox, ...]:
    """Where answers go: any number of addresses (RFC 5322 §3.6.2), all of them good ones."""
    try:
        found = parse_list(line_of(row, "reply_to") or "")
    except AddressError as error:
        raise ContentError(f"reply_to: {error}") from None
    if found.bad:
        raise ContentError(f"reply_to: {found.bad[0][1]}")
    return found.mailboxes


def _address_fields(sender: Mailbox, reply_to: Sequence[Mailbox], to: Addressees, *, utf8: bool) -> Iterator[str]:
    yield sender_field(sender, utf8=utf8)
    if reply_to:
        yield address_field("Reply-To", reply_to, utf8=utf8)
    if to.to:
        yield address_field("To", to.to, utf8=utf8)
    if to.cc:
        yield address_field("Cc", to.cc, utf8=utf8)
    if not to.to and not to.cc:
        yield field("To", ["undisclosed-recipients:;"])


def _free_fields(row: Claimed, subject: str | None) -> Iterator[str]:
    """The subject and the extra headers, and that a program wrote it, unless they say something else about that."""
    if subject:
        yield text_field("Subject", subject)
    check_length("headers", row.headers, MAX_HEADERS)
    headers = object_of(row, "headers")
    if not any(name.lower() == "auto-submitted" for name in headers):
        yield AUTOMATIC
    for name, value in headers.items():
        for line in value if isinstance(value, list) else [value]:
            fault = header_fault(name, line)
            if fault:
                raise ContentError(f"headers: {fault}")
            yield extra_field(name, line.strip())
