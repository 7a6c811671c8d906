"""What an email says, before it becomes a message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """What a row says, as a person would read it."""

    subject: str | None
    text: str | None
    html: str | None
