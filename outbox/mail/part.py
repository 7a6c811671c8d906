"""A MIME part: its header, its body, and the transfer encodings (RFC 2045 §6, RFC 2046 §5.1)."""

from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from outbox.core.headers import MAX_LINE
from outbox.mail.headers import field

_PLAIN = bytes([*b"\t\r\n", *range(32, 127)])
_BLOCK = 57 << 12  # of whole lines
_NON_ASCII = bytes(range(128, 256))
_BOUNDARY = "=_"
"""Begins our boundaries. It never occurs in base64 or quoted-printable."""


class Part(NamedTuple):
    """One part, ready to be written: complete header fields, and the body in pieces that are joined once."""

    header: str
    body: tuple[bytes, ...]


def text_part(subtype: str, text: str, *parameters: str) -> Part:
    """Text as UTF-8 with CRLF line ends, quoted-printable unless little of it would stay readable."""
    octets, encoding = lines_of(text), "7bit"
    body: tuple[bytes, ...] = (octets,)
    if not is_seven_bit(octets):
        non_ascii = len(octets) - len(octets.translate(None, _NON_ASCII))
        if non_ascii * 3 > len(octets):
            body, encoding = base64_lines(octets), "base64"
        else:
            body, encoding = (b2a_qp(octets),), "quoted-printable"
    return Part(text_header(subtype, encoding, *parameters), body)


@lru_cache
def text_header(subtype: str, encoding: str, *parameters: str) -> str:
    """The header of a text."""
    kind = field("Content-Type", with_semicolons([f"text/{subtype}", 'charset="utf-8"', *parameters]))
    return kind + field("Content-Transfer-Encoding", [encoding])


def multipart(subtype: str, message_id: str, parts: Sequence[Part], *parameters: str) -> Part:
    """Parts in one."""
    boundary = boundary_of(subtype, message_id)
    delimiter = f"--{boundary}".encode()
    pieces: list[bytes] = []
    for part in parts:
        pieces += (delimiter, b"\r\n", part.header.encode("ascii"), b"\r\n", *part.body, b"\r\n")
    tokens = with_semicolons([f"multipart/{subtype}", *parameters, f'boundary="{boundary}"'])
    return Part(field("Content-Type", tokens), (*pieces, delimiter, b"--\r\n"))


def with_semicolons(tokens: Sequence[str]) -> list[str]:
    """A value and its parameters, as they stand in a field."""
    *first, last = tokens
    return [*(f"{token};" for token in first), last]


def boundary_of(subtype: str, message_id: str) -> str:
    """It follows from `message_id`, so that every attempt sends the same bytes."""
    return f"{_BOUNDARY}{sha256(f'{subtype} {message_id}'.encode()).hexdigest()[:32]}"


def is_seven_bit(lines: bytes) -> bool:
    """Whether `lines`, which end with CRLF, need no encoding."""
    return not lines.translate(None, _PLAIN) and _BOUNDARY.encode() not in lines and not _has_long_line(lines)


def _has_long_line(lines: bytes) -> bool:
    start = 0
    while len(lines) - start > MAX_LINE:
        end = lines.rfind(b"\n", start, start + MAX_LINE + 2)
        if end < 0:
            return True
        start = end + 1
    return False


def lines_of(text: str) -> bytes:
    """`text` in lines that all end with CRLF."""
    octets = with_crlf(text.encode())
    return octets if octets.endswith(b"\n") else octets + b"\r\n"


def with_crlf(octets: bytes) -> bytes:
    """All line ends as CRLF."""
    if b"\r" in octets:  # not by a pattern: it would take a second for a few megabytes of line ends
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", b"\r\n")


def base64_lines(octets: bytes) -> tuple[bytes, ...]:
    """Base64 in lines of 76 columns, in pieces: cut all at once it would need three times the memory."""
    view = memoryview(octets)
    return tuple(_base64_lines(view[start : start + _BLOCK]) for start in range(0, max(len(view), 1), _BLOCK))


def _base64_lines(octets: memoryview) -> bytes:
    encoded = b2a_base64(octets, newline=False)
    return b"\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76)) + b"\r\n"
