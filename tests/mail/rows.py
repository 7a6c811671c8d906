"""Claimed rows and composed messages, and how a parser that is not ours reads them back."""

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from outbox.core.address import parse_mailbox
from outbox.core.claim import Claimed
from outbox.core.message import Message
from outbox.mail.addressees import addressees
from outbox.mail.compose import Ground, compose
from outbox.mail.templates import Templates

SHOP = parse_mailbox("Shop <shop@example.org>")
MESSAGE_ID = "<20260102T030405.0123456789.7@shop.example>"


def claimed(**columns: Any) -> Claimed:
    """A row to one recipient with a subject and a text, but for `columns`."""
    row: dict[str, Any] = {
        "id": 7,
        "claim_token": "token",
        "attempts": 1,
        "overdue": 0.0,
        "taken_over": False,
        "message_id": MESSAGE_ID,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "expires_in": None,
        "sender": None,
        "to_addrs": "ada@example.org",
        "cc_addrs": None,
        "bcc_addrs": None,
        "reply_to": None,
        "subject": "Hi",
        "body_text": "Hello",
        "body_html": None,
        "template": None,
        "context": None,
        "locale": None,
        "headers": None,
        "priority": 1,
        "max_attempts": None,
        "transport": None,
        "on_doubt": "resend",
        "has_attachments": False,
    }
    return Claimed(**row | columns)


def composed(
    files: Any = (),
    *,
    skip: Any = (),
    shop: Any = SHOP,
    templates: Any = None,
    signer: Any = None,
    redirect_to: Any = None,
    **columns: Any,
) -> Message:
    """The message of such a row."""
    row = claimed(**columns)
    found = Templates(templates) if templates else None
    ground = Ground(sender=shop, templates=found, max_size=1 << 20, signer=signer, redirect_to=redirect_to)
    to = addressees(row)
    made = compose(row, to, files, ground)
    return Message(made.sender, tuple(r for r in to.everyone if r not in skip), made.content, made.utf8_content)


def read(content: bytes) -> EmailMessage:
    """`content` as Python's own parser understands it."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(part: Any) -> str:
    """The text of a part, as its reader sees it, with `\\n` line ends."""
    text: str = part.get_payload(decode=True).decode(part.get_content_charset())
    return text.replace("\r\n", "\n")


def raw_lines(message: Message) -> list[bytes]:
    """The lines of the header, still folded."""
    return message.content.partition(b"\r\n\r\n")[0].split(b"\r\n")
