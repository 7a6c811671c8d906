"""What goes to a child that composes and comes back.

Large columns and files travel in chunks, so that neither encoding nor writing them holds up the event loop. Nothing
that comes back is more than text and bytes: a child that was taken over by a template cannot reach its parent with it.
(What goes there may be `marshal`: a child has no reason to distrust its parent.)
"""

import json
import marshal
import mmap
import os
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from io import BufferedIOBase
from operator import attrgetter
from typing import Any

from outbox.core.claim import AttachedFile, Claimed

CHUNK = 1 << 18

TIME_IS_UP = signal.SIGPROF
"""What a child dies of that takes more processor time than it was given: the kernel's timer needs nobody's help."""

_HEAD = struct.Struct("!dI")  # seconds, length
_LENGTH = struct.Struct("!I")
_NUMBER = struct.Struct("=Q")
_SIZES = struct.Struct("!IIIi")  # of the trouble, the sender, the content, its UTF-8 form; the last one -1 without one
_COLUMNS = (
    *("message_id", "sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "body_text", "body_html"),
    *("template", "context", "locale", "headers"),
)
_VALUES = attrgetter(*_COLUMNS)
_OTHERS: dict[str, Any] = {field.name: None for field in fields(Claimed)} | {"history": {}}  # no message depends on it


@dataclass(frozen=True, slots=True)
class Reply:
    """What a child answers: a message, or in `trouble` what is wrong, or what it has found."""

    sender: str
    content: bytes
    utf8_content: bytes | None
    trouble: dict[str, Any] = field(default_factory=dict)


Question = tuple[str | None, ...]
"""What is asked about the templates themselves: see `survey.answer`."""

Bulk = Sequence[str | bytes]
"""What is too large to travel in one piece."""


def request_of(row: Claimed, files: Sequence[AttachedFile]) -> tuple[bytes, Bulk]:
    """A request to compose `row`, and what has to follow in chunks."""
    columns: list[Any] = list(_VALUES(row))
    large = [place for place, value in enumerate(columns) if isinstance(value, str) and len(value) > CHUNK]
    bulk = [*(columns[place] for place in large), *(file.content for file in files)]
    for place in large:
        columns[place] = None
    named = [(file.filename, file.content_type, file.cid) for file in files]
    return marshal.dumps((columns, row.created_at.isoformat(), large, named)), bulk


def question_of(question: Question) -> bytes:
    """A request that is no row."""
    return marshal.dumps(question)


def settings_of(settings: dict[str, Any]) -> bytes:
    """What a child is told before any request."""
    return marshal.dumps(settings)


def framed(request: bytes, seconds: float) -> bytes:
    """A request as it travels, and how long the child may take."""
    return _HEAD.pack(seconds, len(request)) + request


def chunks_of(bulk: Bulk) -> Iterator[bytes]:
    """`bulk` as it travels."""
    for value in bulk:
        view = value if isinstance(value, str) else memoryview(value)
        for start in range(0, len(view), CHUNK):
            piece = view[start : start + CHUNK]
            octets = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else bytes(piece)
            yield _LENGTH.pack(len(octets)) + octets
        yield _LENGTH.pack(0)


def map_progress(file: int) -> mmap.mmap:
    """Memory that is shared with a child: the number of the request it works at or waits for. Whatever the child dies
    of, it tells who is to blame, although answers are sent together."""
    os.ftruncate(file, _NUMBER.size)
    return mmap.mmap(file, _NUMBER.size)


def read_progress(progress: mmap.mmap) -> int:
    """The number that stands there."""
    return int(_NUMBER.unpack_from(progress)[0])


def write_progress(progress: mmap.mmap, number: int) -> None:
    """Write it there."""
    _NUMBER.pack_into(progress, 0, number)


def read_frame(stream: BufferedIOBase) -> tuple[Any, float] | None:
    """What comes next from `stream`, and the seconds it may take; None at the end."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    seconds, length = _HEAD.unpack(head)
    return marshal.loads(stream.read(length)), seconds  # noqa: S302  # from our parent


def read_request(stream: BufferedIOBase) -> tuple[Claimed | Question, list[AttachedFile], float] | None:
    """The next row, its files, and the seconds it may take; or a question. None at the end."""
    found = read_frame(stream)
    if found is None:
        return None
    asked, seconds = found
    if isinstance(asked[0], str):
        return asked, [], seconds
    values, created_at, large, named = asked
    for place in large:
        values[place] = _read_chunks(stream).decode("utf-8", "surrogatepass")
    files = [AttachedFile(name, _read_chunks(stream), content_type, cid) for name, content_type, cid in named]
    columns = dict(zip(_COLUMNS, values, strict=True))
    return Claimed(**_OTHERS | columns | {"created_at": datetime.fromisoformat(created_at)}), files, seconds


def _read_chunks(stream: BufferedIOBase) -> bytes:
    chunks = []
    while length := _LENGTH.unpack(stream.read(_LENGTH.size))[0]:
        chunks.append(stream.read(length))
    return b"".join(chunks)


def message_reply(sender: str, content: bytes, utf8_content: bytes | None) -> Iterator[bytes]:
    """The pieces of a reply that is a message."""
    octets = sender.encode()
    yield _SIZES.pack(0, len(octets), len(content), -1 if utf8_content is None else len(utf8_content)) + octets
    yield content
    if utf8_content is not None:
        yield utf8_content


def trouble_reply(trouble: dict[str, Any]) -> Iterator[bytes]:
    """The pieces of a reply that tells what is wrong."""
    octets = json.dumps(trouble).encode()
    yield _SIZES.pack(len(octets), 0, 0, -1) + octets


def reply_length(received: bytearray, start: int) -> int | None:
    """How many bytes the reply has that begins at `start`; None while too few are there to tell."""
    if len(received) - start < _SIZES.size:
        return None
    trouble, sender, content, utf8_content = _SIZES.unpack_from(received, start)
    return int(_SIZES.size + trouble + sender + content + max(utf8_content, 0))


def parse_reply(received: bytearray, start: int) -> Reply:
    """The whole reply that begins at `start`. Raises ValueError where it is none."""
    trouble, sender, content, utf8_content = _SIZES.unpack_from(received, start)
    first = start + _SIZES.size
    second = first + trouble
    third = second + sender
    fourth = third + content
    with memoryview(received) as view:
        utf8 = bytes(view[fourth : fourth + utf8_content]) if utf8_content >= 0 else None
        octets, name = bytes(view[third:fourth]), bytes(view[second:third])
    try:
        told = json.loads(received[first:second]) if trouble else {}
    except RecursionError as error:
        raise ValueError("the trouble of a reply is a maze") from error
    if not isinstance(told, dict):
        raise ValueError("the trouble of a reply is no object")  # noqa: TRY004  # one kind of error for all nonsense
    return Reply(name.decode(), octets, utf8, told)
