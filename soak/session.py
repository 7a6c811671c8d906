"""One SMTP connection of the sink: parses, answers, goes wrong where told, and writes down what it took.

Written for speed and for the truth of its log, not as a mail server.
"""

import asyncio
import re
import time
from collections.abc import Callable
from random import Random
from typing import Protocol

from soak.faults import Fault, always, choose

_HEADER = re.compile(rb"^(message-id|date):[ \t]*([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)", re.IGNORECASE | re.MULTILINE)
_PATH = re.compile(rb"<([^>]*)>")


class Switchboard(Protocol):
    """What all sessions of a sink share."""

    seed: int
    table: dict[str, list[tuple[float, Fault]]]
    pipelining: bool
    ordinary_delay: float

    def serial(self) -> int:
        """A new number for a connection or a message."""

    def times(self, key: str) -> int:
        """How often `key` was asked for before."""

    def log(self, event: str, **facts: object) -> None:
        """Write a line to the log, at once."""

    def reached(self, who: str, point: str, go_on: Callable[[], None]) -> bool:
        """A daemon came to a named point; it may be killed there. True: the answer waits until `go_on` is called."""


class Session(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._number = board.serial()
        self._commands = 0
        self._who = "?"
        self._buffer = b""
        self._in_data = False
        self._waiting = True  # for a delayed answer of ours; what comes meanwhile stays in the buffer
        self._recipients: list[str] = []
        self._begun = False  # MAIL was accepted
        self._message = 0  # the one whose answer is due

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        fault = choose(self._board.table, "greeting", f"{self._board.seed}/{self._number}")
        self._answer("greeting", "220 sink.test ready", fault)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if self._message:
            self._board.log("gone", who=self._who, message=self._message)
        self._message = 0

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        while not self._waiting and not self._transport.is_closing():
            end = b"\r\n.\r\n" if self._in_data else b"\r\n"
            taken, found, rest = self._buffer.partition(end)
            if not found:
                return
            self._buffer = rest
            self._waiting = True
            if self._in_data:
                self._in_data = False
                self._take(taken)
            else:
                self._commands += 1
                self._obey(taken)

    def _obey(self, line: bytes) -> None:
        verb = line[:4].upper()
        key = f"{self._board.seed}/{self._number}/{self._commands}"
        table = self._board.table
        match verb:
            case b"EHLO" | b"HELO":
                self._who = line[5:].decode().strip()
                offers = "250-PIPELINING\r\n" if self._board.pipelining else ""
                self._answer("EHLO", f"250-sink.test\r\n{offers}250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")
            case b"MAIL":
                self._recipients = []
                self._at("MAIL", "250 2.1.0 ok", choose(table, "mail", key))
            case b"RCPT" if not self._begun:
                self._answer("RCPT", "503 5.5.1 MAIL first")
            case b"RCPT":
                self._rcpt(_path(line))
            case b"DATA" if not self._recipients:
                self._answer("DATA", "503 5.5.1 no recipients")
            case b"DATA":
                self._at("DATA", "354 go on", choose(table, "data", key))
            case b"RSET":
                self._recipients, self._begun = [], False
                self._answer("RSET", "250 2.0.0 ok")
            case b"QUIT":
                self._say("221 2.0.0 bye")
                self._transport.close()
            case _:
                self._answer(verb.decode("ascii", "replace"), "250 2.0.0 ok")

    def _rcpt(self, recipient: str) -> None:
        fault = always(recipient)
        if fault is None:
            nth = self._board.times(f"rcpt/{recipient}")
            fault = choose(self._board.table, "rcpt", f"{self._board.seed}/{recipient}/{nth}")
        if fault is None or fault.reply is None:
            self._recipients.append(recipient)
        self._at("RCPT", "250 2.1.5 ok", fault)

    def _take(self, content: bytes) -> None:
        """The final dot is here. What we decide about the message is on record before a word is said about it."""
        key = f"{self._board.seed}/{self._recipients[0]}"
        fault = choose(self._board.table, "dot", f"{key}/{self._board.times(f'dot/{key}')}")
        self._message = self._board.serial()
        headers = {name.lower(): " ".join(value.decode().split()) for name, value in _HEADER.findall(content)}
        self._board.log(
            "dot",
            who=self._who,
            message=self._message,
            recipients=self._recipients,
            message_id=headers.get(b"message-id"),
            date=headers.get(b"date"),
            taken=fault is None or fault.reply is None,
        )
        if fault is None and self._board.ordinary_delay:
            delay = Random(f"delay/{key}").uniform(0, 2 * self._board.ordinary_delay)
            fault = Fault("", delay=delay)
        self._at("dot", f"250 2.0.0 taken as {self._message}", fault)

    def _at(self, point: str, reply: str, fault: Fault | None) -> None:
        if not self._board.reached(self._who, point, lambda: self._answer(point, reply, fault)):
            self._answer(point, reply, fault)

    def _answer(self, point: str, reply: str, fault: Fault | None = None) -> None:
        if fault and fault.name:
            self._board.log("fault", who=self._who, at=point, what=fault.name, message=self._message)
        if fault and fault.drop:
            self._transport.abort()
        elif fault and fault.delay:
            asyncio.get_running_loop().call_later(fault.delay, self._answer, point, fault.reply or reply)
        else:
            self._finish(point, (fault and fault.reply) or reply)

    def _finish(self, point: str, reply: str) -> None:
        if self._transport.is_closing():
            return
        self._say(reply)
        if point == "MAIL":
            self._begun = reply.startswith("2")
        if point == "dot":
            self._board.log("answer", who=self._who, message=self._message, code=int(reply[:3]))
            self._message = 0
            self._recipients, self._begun = [], False
            self._board.reached(self._who, "answered", lambda: None)
        if reply.startswith("354"):
            self._in_data = True
            self._buffer = b"\r\n" + self._buffer  # a message may be empty
        if reply.startswith("421"):
            self._transport.close()
        self._waiting = False
        self._advance()

    def _say(self, reply: str) -> None:
        self._transport.write(reply.encode() + b"\r\n")


def _path(line: bytes) -> str:
    found = _PATH.search(line)
    return found[1].decode() if found else ""


def now() -> float:
    """The clock of all logs: the same in every process of this machine."""
    return time.monotonic()
