"""What settings are made of: durations, lists, addresses and URLs as people write them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from outbox.core.address import parse_mailbox
from outbox.core.duration import parse_duration
from outbox.core.smtp_url import parse_smtp_url


def split(value: Any) -> Any:
    """Lists in variables are comma-separated."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def mailbox_text(value: Any) -> Any:
    if isinstance(value, str):
        parse_mailbox(value)
    return value


def smtp_url_text(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str):
        parse_smtp_url(text)
    return value


Seconds = Annotated[float, BeforeValidator(parse_duration)]
PositiveSeconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
SmtpUrlText = Annotated[SecretStr, BeforeValidator(smtp_url_text)]
