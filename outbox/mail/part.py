"""A MIME part: its header, its body, and the transfer encodings (RFC 2045 §6, RFC 2046 §5.1)."""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from outbox.core.headers import MAX_LINE
from outbox.mail.headers import field

_UNSAFE = re.compile(rb"[^\t\r\n -~]|=_")  # "=_" begins our boundaries, and never occurs in base64 or quoted-printable
_LONG_LINE = re.compile(rb"\n[^\r\n]{%d}" % (MAX_LINE + 1))  # anchored, or it would look from every byte on


@dataclass(frozen=True, slots=True)
class Part:
    """One part, ready to be written: complete header fields, and the body in pieces that are joined once."""

    header: str
    body: tuple[bytes, ...]


def text_part(subtype: str, text: str) -> Part:
    """Text as UTF-8 with CRLF line ends, quoted-printable unless little of it would stay readable."""
    octets = _with_crlf(text.encode()).removesuffix(b"\r\n") + b"\r\n"
    body, encoding = seven_bit(octets), "7bit"
    if body is None:
        non_ascii = len(octets) - len(octets.translate(None, bytes(range(128, 256))))
        if non_ascii * 3 > len(octets):
            body, encoding = (base64_lines(octets),), "base64"
        else:
            body, encoding = (b2a_qp(octets),), "quoted-printable"
    header = field("Content-Type", [f"text/{subtype};", 'charset="utf-8"'])
    return Part(header + field("Content-Transfer-Encoding", [encoding]), body)


def multipart(subtype: str, message_id: str, parts: Sequence[Part], *parameters: str) -> Part:
    """Parts in one. The boundary follows from `message_id`, so that every attempt sends the same bytes."""
    boundary = f"=_{sha256(f'{subtype} {message_id}'.encode()).hexdigest()[:32]}"
    delimiter = f"--{boundary}".encode()
    pieces: list[bytes] = []
    for part in parts:
        pieces += (delimiter, b"\r\n", part.header.encode("ascii"), b"\r\n", *part.body, b"\r\n")
    tokens = [f"multipart/{subtype};", *(f"{parameter};" for parameter in parameters), f'boundary="{boundary}"']
    return Part(field("Content-Type", tokens), (*pieces, delimiter, b"--\r\n"))


def seven_bit(octets: bytes) -> tuple[bytes, ...] | None:
    """`octets` as it is but for its line ends, which become CRLF; None where it needs an encoding."""
    lines = _with_crlf(octets)
    long = len(lines) > MAX_LINE and b"\r" not in lines[: MAX_LINE + 1]
    return None if long or _LONG_LINE.search(lines) or _UNSAFE.search(lines) else (lines,)


def _with_crlf(octets: bytes) -> bytes:
    # Not by a pattern: it would take a second for a few megabytes of line ends.
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def base64_lines(octets: bytes) -> bytes:
    """Base64 in lines of 76 columns."""
    encoded = b2a_base64(octets, newline=False)
    return b"\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76)) + b"\r\n"
