"""A message ready for the wire, and how its identity is fixed once (RFC 5322 §3.6.1, §3.6.4)."""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from outbox.core.errors import ContentError

_MESSAGE_ID = re.compile(r"<(\d{8}T\d{6})\.[0-9a-z]+\.\d+@[^<>@\s]+>")
_STAMP = "%Y%m%dT%H%M%S"


class Message(NamedTuple):
    """What the transport needs: envelope and bytes. Bcc recipients are in the envelope only."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """Pure ASCII, CRLF line ends, ends with CRLF, not dot-stuffed. Good for every server."""
    utf8_content: bytes | None = None
    """The form with raw UTF-8 header addresses (RFC 6532), only where an address has a non-ASCII local part."""
    urgent: bool = False
    """Whether it goes before others."""
    sensitive: bool = False
    """Whether no word may be kept of what a server says once it has seen the content, or a part of it."""


@dataclass(frozen=True, slots=True)
class MessageIds:
    """Makes the Message-IDs of one claim: `<time.token.row@domain>`.

    The time is the email's Date as well, so fixing the Message-ID in the claim fixes both, in one column, before
    anything is sent. The random token keeps ids unique across databases.
    """

    prefix: str
    suffix: str

    @classmethod
    def new(cls, now: datetime, domain: str) -> "MessageIds":
        """For emails first claimed at `now` (UTC)."""
        return cls(f"<{now.astimezone(UTC).strftime(_STAMP)}.{secrets.token_hex(5)}.", f"@{domain}>")

    def of(self, row: int) -> str:
        """The Message-ID of one row."""
        return f"{self.prefix}{row}{self.suffix}"


def date_of(message_id: str, created_at: datetime) -> datetime:
    """The Date that belongs to `message_id`; `created_at` where the id is not one of ours."""
    match = _MESSAGE_ID.fullmatch(message_id)
    return (match and _time_of(match[1])) or created_at


@lru_cache(maxsize=256)
def _time_of(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def check_size(size: int, most: int) -> None:
    """Raises ContentError where content of `size` bytes is more than a message may have."""
    if size > most:
        raise ContentError(f"its content has {size} bytes, more than max_message_size allows ({most})")
