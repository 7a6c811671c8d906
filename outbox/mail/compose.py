"""Composing: from a claimed row to the bytes of its message (RFC 5322, RFC 2045-2049).

The bytes follow from the row alone, so every attempt at it sends the same message. They are 7-bit, which every server
takes. Nothing in a row can add a header: every column is checked before it is written.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC
from email.utils import format_datetime

from outbox.core.address import Mailbox, parse_mailbox
from outbox.core.claim import AttachedFile, Claimed
from outbox.core.errors import AddressError, ContentError
from outbox.core.headers import header_fault
from outbox.core.message import Message, date_of
from outbox.mail.addressees import Addressees
from outbox.mail.body import body_of
from outbox.mail.columns import check_line, check_text, line_of, object_of, text_of
from outbox.mail.headers import address_field, extra_field, field, text_field
from outbox.mail.templates import Content, Templates


class Composer:
    """Composes messages; `sender` is for rows that name none, `templates` is None where no folder is configured."""

    def __init__(self, sender: Mailbox, templates: Templates | None) -> None:
        self._sender = sender
        self._templates = templates

    def compose(self, row: Claimed, to: Addressees, files: Sequence[AttachedFile], skip: Collection[str]) -> Message:
        """The message of `row`. Recipients in `skip` are settled: the header shows them, the envelope does not.

        Raises ContentError, one readable line, for whatever is wrong with the row.
        """
        sender = self._mailbox(row, "sender") or self._sender
        reply_to = self._mailbox(row, "reply_to")
        content = self._content(row, files)
        body = body_of(content.text, content.html, files, row.message_id)
        start = _identity(row)
        end = "".join(_free_fields(row, content.subject)) + "MIME-Version: 1.0\r\n" + body.header + "\r\n"

        def written(*, utf8: bool) -> bytes:
            middle = "".join(_address_fields(sender, reply_to, to, utf8=utf8))
            return b"".join((f"{start}{middle}{end}".encode(), *body.body))

        shown = (sender, *([reply_to] if reply_to else []), *to.to, *to.cc)
        return Message(
            sender=sender.address,
            recipients=tuple(recipient for recipient in to.everyone if recipient not in skip),
            content=written(utf8=False),
            utf8_content=written(utf8=True) if any(mailbox.utf8 for mailbox in shown) else None,
        )

    def _mailbox(self, row: Claimed, column: str) -> Mailbox | None:
        text = line_of(row, column)
        try:
            return parse_mailbox(text) if text else None
        except AddressError as error:
            raise ContentError(f"{column}: {error}") from None

    def _content(self, row: Claimed, files: Sequence[AttachedFile]) -> Content:
        subject, template = line_of(row, "subject"), line_of(row, "template")
        if template is None:
            content = Content(subject, text_of(row, "body_text"), text_of(row, "body_html"))
            if content == Content(None, None, None) and not files:
                raise ContentError("no content: set subject, body_text or body_html, or a template")
            return content
        if self._templates is None:
            raise ContentError(f"template {template!r}: no template folder is configured; set OUTBOX_TEMPLATES")
        made = self._templates.render(template, object_of(row, "context"), line_of(row, "locale"))
        subject = subject or made.subject
        if not subject:
            raise ContentError(f"template {template!r} gives no subject ({template}.subject.txt), nor does the row")
        # Checked again: the escapes of JSON can bring in what no column can hold.
        text, html = (part and check_text(f"template {template!r}", part) for part in (made.text, made.html))
        return Content(check_line("subject", subject), text, html)


def _identity(row: Claimed) -> str:
    """Date and Message-ID, the same for every attempt."""
    message_id = check_line("message_id", row.message_id)
    if not message_id.isascii() or not message_id.startswith("<") or not message_id.endswith(">") or " " in message_id:
        raise ContentError(f"message_id {message_id[:80]!r} is not of the form <left@right>")
    date = date_of(message_id, row.created_at)
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return field("Date", [format_datetime(date)]) + field("Message-ID", [message_id])


def _address_fields(sender: Mailbox, reply_to: Mailbox | None, to: Addressees, *, utf8: bool) -> Iterator[str]:
    yield address_field("From", [sender], utf8=utf8)
    if reply_to:
        yield address_field("Reply-To", [reply_to], utf8=utf8)
    if to.to:
        yield address_field("To", to.to, utf8=utf8)
    if to.cc:
        yield address_field("Cc", to.cc, utf8=utf8)
    if not to.to and not to.cc:
        yield field("To", ["undisclosed-recipients:;"])


def _free_fields(row: Claimed, subject: str | None) -> Iterator[str]:
    """The subject and the extra headers."""
    if subject:
        yield text_field("Subject", subject)
    for name, value in object_of(row, "headers").items():
        for line in value if isinstance(value, list) else [value]:
            fault = header_fault(name, line)
            if fault:
                raise ContentError(f"headers: {fault}")
            yield extra_field(name, line.strip())
