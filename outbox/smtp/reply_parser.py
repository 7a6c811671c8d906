"""Reads replies from the bytes of a server, however they arrive: split, merged, over several lines (RFC 5321 §4.2)."""

import re
from collections.abc import Sequence

from outbox.core.reply import Reply

MAX_LINE = 8192
"""Bytes of one line, its end included. RFC 5321 §4.5.3.1.5 allows 512; some servers write more."""

MAX_REPLY = 4 * MAX_LINE
"""Bytes of all lines of one reply: the bound on what a hostile server can make us keep."""

KNOWN = 64
"""Lines whose reply is remembered; a server says the same few things again and again."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\s+")


class MalformedReplyError(ValueError):
    """What the server sent is not SMTP; nothing it says later can be trusted to answer the right command."""

    before: Sequence[Reply] = ()
    """Replies that were complete before it, in the same bytes: they answer what they answer."""


class ReplyParser:
    """Turns bytes into replies. Lines may end with LF alone; everything else must be as RFC 5321 has it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._code = 0
        self._lines: list[str] = []
        self._size = 0
        self._known: dict[bytes, Reply] = {}

    @property
    def midway(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. Raises MalformedReplyError."""
        self._buffer += data
        replies: list[Reply] = []
        try:
            self._take_lines(replies)
        except MalformedReplyError as error:
            error.before = replies
            raise
        return replies

    def _take_lines(self, replies: list[Reply]) -> None:
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            reply = None if self._lines else self._known.get(line)
            if reply is not None or (reply := self._take(line)) is not None:
                replies.append(reply)
        if len(self._buffer) > MAX_LINE:
            raise MalformedReplyError("a line without end")

    def _take(self, line: bytes) -> Reply | None:
        self._size += len(line)
        if len(line) > MAX_LINE or self._size > MAX_REPLY:
            raise MalformedReplyError("an over-long reply")
        match = _LINE.fullmatch(line.rstrip(b"\r\n"))
        if match is None or (self._lines and int(match[1]) != self._code):
            raise MalformedReplyError(f"the line {line[:80]!r}")
        self._code = int(match[1])
        self._lines.append((match[3] or b"").decode("utf-8", "replace"))
        if match[2] == b"-":
            return None
        reply = Reply.of(self._code, _joined(self._lines))
        if len(self._lines) == 1:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[line] = reply
        self._lines, self._size = [], 0
        return reply


def _joined(lines: list[str]) -> str:
    """One line of text; servers repeat the enhanced code on every line, once is enough for a reader."""
    first, *others = lines
    code = _ENHANCED.match(first)
    if code:
        others = [line.removeprefix(code[0]) for line in others]
    return " ".join([first, *others])
