"""Mistakes in an email that can be known at once. Every check raises a ValueError that names the argument."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from outbox.core.address import parse_list, parse_mailbox
from outbox.core.errors import AddressError
from outbox.core.headers import header_fault
from outbox.core.names import locale_fault, template_fault
from outbox.core.text import CONTROL
from outbox.db.types import utc

T = TypeVar("T")

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # PostgreSQL takes no NUL, UTF-8 no lone surrogate
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:\s*;[^\x00-\x1f\x7f]*)?")
_CID = re.compile(r"[!-;=?-~]+")  # printable ASCII without space and angle brackets


def address_list(name: str, value: str | Iterable[str] | None) -> str | None:
    """An address list as one text; a list of texts is joined."""
    if value is None:
        return None
    if not isinstance(value, str):
        if not isinstance(value, Iterable):
            raise ValueError(f"{name} must be text or a list of texts, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
        parts = list(value)
        for part in parts:
            _text(name, part)
        value = ", ".join(parts)
    try:
        bad = parse_list(value).bad
    except AddressError as error:
        raise ValueError(f"{name}: {error}") from None
    if bad:
        raise ValueError(f"{name}: {bad[0][1]}")
    return value


def instances(name: str, value: Iterable[T], of: type[T]) -> list[T]:
    """A list of these."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list of {of.__name__}, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
    found = list(value)
    for one in found:
        if not isinstance(one, of):
            raise ValueError(f"{name} must be a list of {of.__name__}, not of {type(one).__name__}")  # noqa: TRY004  # documented as ValueError
    return found


def some_recipient(*lists: str | None) -> None:
    """There is somebody to send to."""
    if not any(parse_list(text).mailboxes for text in lists if text):
        raise ValueError("to: no recipient in to, cc and bcc together")


def one_mailbox(name: str, value: str | None) -> str | None:
    """Exactly one address."""
    if value is not None:
        try:
            parse_mailbox(_text(name, value))
        except AddressError as error:
            raise ValueError(f"{name}: {error}") from None
    return value


def line(name: str, value: str | None) -> str | None:
    """One line of text, such as a header's value."""
    if value is not None and CONTROL.search(_text(name, value)):
        raise ValueError(f"{name} contains a control character or line break")
    return value


def template(name: str, value: str | None) -> str | None:
    """The name of a template, wherever that will be looked for."""
    if value is not None and (fault := template_fault(_text(name, value).strip())):
        raise ValueError(fault)
    return value


def locale(name: str, value: str | None) -> str | None:
    """A language tag; blank is none."""
    if value is not None and (tag := _text(name, value).strip()) and (fault := locale_fault(tag)):
        raise ValueError(fault)
    return value


def body(name: str, value: str | None) -> str | None:
    """Text of any length, with line breaks."""
    if value is not None and _UNSTORABLE.search(_text(name, value)):
        raise ValueError(f"{name} contains a NUL or half a surrogate pair")
    return value


def some_content(template: str | None, subject: str | None, text: str | None, html: str | None) -> None:
    """Either a template or literal content."""
    if template is not None and (text is not None or html is not None):
        raise ValueError("template: give either a template or text and html, not both")
    if template is None and subject is None and text is None and html is None:
        raise ValueError("text: no content; give subject, text or html, or a template")


def json_object(name: str, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A mapping that JSON can hold."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a mapping, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
    document = dict(value)
    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from None
    if _UNSTORABLE.search(text):
        raise ValueError(f"{name} contains half a surrogate pair")
    return document


def header_object(name: str, value: Mapping[str, str] | None) -> dict[str, Any] | None:
    """Extra headers, none of them structural."""
    document = json_object(name, value)
    for header, text in (document or {}).items():
        fault = header_fault(header, text)
        if fault:
            raise ValueError(f"{name}: {fault}")
    return document


def moment(name: str, value: datetime | None) -> datetime | None:
    """An aware datetime, in UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ValueError(f"{name} must be a datetime, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
    try:
        return utc(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}") from None


def whole_number(name: str, value: int | None, lowest: int, highest: int) -> int | None:
    """An integer within bounds, both included."""
    if value is not None and (type(value) is not int or not lowest <= value <= highest):
        raise ValueError(f"{name} must be a whole number from {lowest} to {highest}, not {value!r}")
    return value


def one_of(name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """One of a few words."""
    if value is not None and value not in known:
        raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")
    return value


def content_type(name: str, value: str | None) -> str | None:
    """`type/subtype`, perhaps with parameters (RFC 2045 §5.1)."""
    if value is not None and not _CONTENT_TYPE.fullmatch(_text(name, value)):
        raise ValueError(f"{name} must look like 'image/png', not {value!r}")
    return value


def cid(name: str, value: str | None) -> str | None:
    """A content id as it stands behind `cid:` in the HTML (RFC 2392)."""
    if value is not None and not _CID.fullmatch(_text(name, value)):
        raise ValueError(f"{name} must be printable ASCII without spaces and angle brackets, not {value!r}")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
    return value
