"""What goes to a child that composes and comes back: requests as JSON and chunks, replies as JSON and raw bytes.

Large columns and files travel in chunks, so that neither encoding nor writing them holds up the event loop. Nothing
that comes back is more than text and bytes: a child that was taken over by a template cannot reach its parent with it.
"""

import json
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, BinaryIO

from outbox.core.claim import AttachedFile, Claimed

CHUNK = 1 << 18

TIME_IS_UP = signal.SIGPROF
"""What a child dies of that takes more processor time than it was given: the kernel's timer needs nobody's help."""

_LENGTH = struct.Struct("!I")
_SIZES = struct.Struct("!IIi")  # of the head, the content, the content in UTF-8; the last one -1 where there is none
_COLUMNS = (
    *("message_id", "sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "body_text", "body_html"),
    *("template", "context", "locale", "headers"),
)
_VALUES = attrgetter(*_COLUMNS)
_OTHERS: dict[str, Any] = {field.name: None for field in fields(Claimed)}  # nothing that a message depends on


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child answers: a message, or in `head` what is wrong."""

    head: dict[str, Any]
    content: bytes
    utf8_content: bytes | None


def request_of(row: Claimed, files: Sequence[AttachedFile], seconds: float) -> Iterator[bytes]:
    """The pieces of a request to compose `row`: one for a small row, else as they can be written."""
    columns = dict(zip(_COLUMNS, _VALUES(row), strict=True))
    large = [name for name, value in columns.items() if value is not None and len(value) > CHUNK]
    texts = [columns.pop(name) for name in large]
    head = {
        "columns": columns,
        "seconds": seconds,
        "created_at": row.created_at.isoformat(),
        "large": large,
        "files": [(file.filename, file.content_type, file.cid) for file in files],
    }
    yield from frame(head)
    for text in texts:
        for start in range(0, len(text), CHUNK):
            yield from _chunk(text[start : start + CHUNK].encode("utf-8", "surrogatepass"))
        yield _LENGTH.pack(0)
    for file in files:
        content = memoryview(file.content)
        for start in range(0, len(content), CHUNK):
            yield from _chunk(content[start : start + CHUNK])
        yield _LENGTH.pack(0)


def frame(head: dict[str, Any]) -> Iterator[bytes]:
    """`head` as one piece."""
    octets = json.dumps(head).encode()
    yield _LENGTH.pack(len(octets)) + octets


def _chunk(octets: bytes | memoryview) -> Iterator[bytes]:
    yield _LENGTH.pack(len(octets)) + octets


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """The next head from `stream`; None at its end."""
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    head: dict[str, Any] = json.loads(stream.read(_LENGTH.unpack(length)[0]))
    return head


def read_request(stream: BinaryIO) -> tuple[Claimed, list[AttachedFile], float] | None:
    """The next row, its files, and the seconds it may take; None at the end."""
    head = read_frame(stream)
    if head is None:
        return None
    columns = head["columns"]
    for name in head["large"]:
        columns[name] = _read_chunks(stream).decode("utf-8", "surrogatepass")
    files = [AttachedFile(name, _read_chunks(stream), content_type, cid) for name, content_type, cid in head["files"]]
    row = Claimed(**{**_OTHERS, **columns, "created_at": datetime.fromisoformat(head["created_at"]), "history": {}})
    return row, files, head["seconds"]


def _read_chunks(stream: BinaryIO) -> bytes:
    chunks = []
    while length := _LENGTH.unpack(stream.read(_LENGTH.size))[0]:
        chunks.append(stream.read(length))
    return b"".join(chunks)


def reply_of(head: dict[str, Any], content: bytes = b"", utf8_content: bytes | None = None) -> Iterator[bytes]:
    """The pieces of a reply."""
    octets = json.dumps(head).encode()
    yield _SIZES.pack(len(octets), len(content), -1 if utf8_content is None else len(utf8_content)) + octets
    yield content
    yield utf8_content or b""


def reply_length(received: bytearray) -> int | None:
    """How many bytes the reply has that begins with `received`; None while too few are there to tell."""
    if len(received) < _SIZES.size:
        return None
    head, content, utf8_content = _SIZES.unpack_from(received)
    return int(_SIZES.size + head + content + max(utf8_content, 0))


def parse_reply(received: bytearray) -> Reply:
    """A whole reply. Raises ValueError where it is none."""
    head, content, utf8_content = _SIZES.unpack_from(received)
    view = memoryview(received)[_SIZES.size :]
    parsed = json.loads(bytes(view[:head]))
    if not isinstance(parsed, dict):
        raise ValueError("the head of a reply is no object")  # noqa: TRY004  # one kind of error for all nonsense
    rest = view[head:]
    return Reply(parsed, bytes(rest[:content]), None if utf8_content < 0 else bytes(rest[content:]))
