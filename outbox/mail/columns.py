"""The text columns of a row, checked before use: a database may hold bytes, NULs or broken JSON there."""

import json
from typing import Any

from outbox.core.claim import Claimed
from outbox.core.errors import ContentError
from outbox.core.text import CONTROL_BUT_TAB, clean_text

MAX_LINE_TEXT = 65_536
"""Characters of a column that becomes a line of the header, far above what servers take."""

MAX_HEADERS = 262_144
"""Characters of the JSON of extra headers."""


def check_line(where: str, text: Any) -> str:
    """`text`, stripped, if it can stand in one header line. Raises ContentError, which says where it comes from."""
    check_length(where, text, MAX_LINE_TEXT)
    if isinstance(text, str) and text.isascii() and text.isprintable():
        return text.strip()
    line = check_text(where, text)
    if CONTROL_BUT_TAB.search(line):
        raise ContentError(f"{where}: {clean_text(line, 80)!r} contains a control character or line break")
    return line.strip()


def check_length(where: str, text: Any, most: int) -> None:
    """Before anything looks at `text`: raises ContentError where it is longer than `most`."""
    if isinstance(text, str) and len(text) > most:
        raise ContentError(f"{where}: it has {len(text)} characters; at most {most} are possible")


def check_text(where: str, text: Any) -> str:
    """`text` if it is text that any charset can carry. Raises ContentError, which says where it comes from."""
    if not isinstance(text, str):
        raise ContentError(f"{where}: it holds {type(text).__name__} where text is expected")
    if "\0" in text or not (text.isascii() or _can_be_encoded(text)):
        raise ContentError(f"{where}: it contains a NUL or half a character (a lone surrogate)")
    return text


def _can_be_encoded(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def line_of(row: Claimed, column: str) -> str | None:
    """A column for one header line; None where it is null or blank. Raises ContentError."""
    value = getattr(row, column)
    return None if value is None else check_line(column, value) or None


def text_of(row: Claimed, column: str) -> str | None:
    """A column of any number of lines; None where it is null. Raises ContentError."""
    value = getattr(row, column)
    return None if value is None else check_text(column, value)


def object_of(row: Claimed, column: str) -> dict[str, Any]:
    """A column of JSON text that holds an object; empty where it is null. Raises ContentError."""
    text = text_of(row, column)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"{column}: not valid JSON: {clean_text(str(error), 160)}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ContentError(f"{column}: a JSON object is expected, not {type(value).__name__}")
    return value
