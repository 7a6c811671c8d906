"""What settings are made of: durations, lists, addresses and URLs as people write them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, Field, PlainSerializer, SecretStr

from outbox.core.address import parse_mailbox
from outbox.core.duration import parse_duration
from outbox.core.errors import AddressError
from outbox.core.rate import Rate, parse_rate
from outbox.core.smtp_url import parse_smtp_url


def split(value: Any) -> Any:
    """Lists in variables are comma-separated."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def listed(value: Any) -> Any:
    """One value stands for a list of it."""
    return [value] if isinstance(value, str | int) else value


def domain_text(value: Any) -> Any:
    """A domain in lower case and ASCII, as the addresses of emails have it; `*.` may stand before it."""
    if not isinstance(value, str):
        return value
    star = "*." if value.startswith("*.") else ""
    try:
        return star + parse_mailbox(f"postmaster@{value.removeprefix('*.').removeprefix('@')}").domain
    except AddressError:
        raise ValueError(f"{value!r} is not a domain; write it like example.org or *.example.org") from None


def different_domains(value: Any) -> Any:
    """A table by domain: two spellings of one would be the same key, and what one of them says be lost."""
    spelt: dict[Any, str] = {}
    for name in value if isinstance(value, dict) else ():
        try:
            domain = domain_text(name)
        except ValueError:
            continue  # told of as what it is
        if domain in spelt:
            raise ValueError(f"{spelt[domain]!r} and {name!r} are the same domain; keep one of them")
        spelt[domain] = name
    return value


def mailbox_text(value: Any) -> Any:
    if isinstance(value, str):
        parse_mailbox(value)
    return value


def smtp_url_text(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str):
        parse_smtp_url(text)
    return value


def only_text(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """`parse` for what is text; anything else is left to the type."""
    return lambda value: parse(value) if isinstance(value, str) else value


def rates(value: Any) -> Any:
    """One rate, several with commas between them, or a list."""
    found = split(value)
    return [*map(only_text(parse_rate), found)] if isinstance(found, list) else found


def no_truth(value: Any) -> Any:
    """`true` is no number, although Python takes it for 1."""
    if isinstance(value, bool):
        raise ValueError(f"a number is expected, not {str(value).lower()}")  # noqa: TRY004  # pydantic's way
    return value


def no_nul(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{value!r} cannot be a path")
    return value


def fault_of_file(path: Path) -> str | None:
    """Why `path` is no file, to be said behind its name; None where it is one."""
    try:
        return None if path.is_file() else "is not a file" if path.exists() else "does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


Whole = Annotated[int, BeforeValidator(no_truth)]
Size = Annotated[ByteSize, BeforeValidator(no_truth), Field(le=1 << 50)]
FilePath = Annotated[Path, BeforeValidator(no_nul)]
Rates = Annotated[tuple[Rate, ...], BeforeValidator(rates), PlainSerializer(lambda found: [str(one) for one in found])]
Seconds = Annotated[float, BeforeValidator(parse_duration)]
PositiveSeconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
Domain = Annotated[str, BeforeValidator(domain_text)]
SmtpUrlText = Annotated[SecretStr, BeforeValidator(smtp_url_text)]
