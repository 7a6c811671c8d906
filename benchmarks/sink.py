"""The SMTP server of all measurements, a process of its own: `python -m benchmarks.sink`. It takes everything.

Each line of stdin is an order in JSON, answered by a line on stdout: {"begin": options} forgets what was counted and
sets how it behaves from now on, {"report": true} tells what was counted, {"report": "times"} also when it was.
"""

import asyncio
import json
import signal
import sys
import time
from array import array
from typing import Any, cast

EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n250 SMTPUTF8\r\n"
END = b"\r\n.\r\n"


class Board:
    """What all sessions share: how they behave, and when they took a message."""

    def __init__(self) -> None:
        self.begin()

    def begin(self, round_trip: float = 0.0, dot_delay: float = 0.0, watch: str = "") -> dict[str, Any]:
        """Start to count. Seconds: of a round trip to this server, and from a final dot to its answer. `times` are
        those of messages to `watch`, or of all."""
        self.round_trip = round_trip
        self.dot_delay = dot_delay
        self.watch = f"RCPT TO:<{watch}".encode() if watch else b""
        self.times = array("d")
        self.count = 0
        self._processor = time.process_time()
        return {"begun": True}

    def report(self, what: object) -> dict[str, Any]:
        """What was counted; `first` and `last` are readings of the monotonic clock, which all processes share."""
        facts: dict[str, Any] = {"count": self.count, "processor": time.process_time() - self._processor}
        if self.times:
            facts |= {"first": self.times[0], "last": self.times[-1]}
        if what == "times":
            facts["times"] = self.times.tolist()
        return facts

    def took(self, *, watched: bool) -> None:
        """A message was taken."""
        self.count += 1
        if watched or not self.watch:
            self.times.append(time.monotonic())

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order."""
        return self.begin(**order["begin"]) if "begin" in order else self.report(order["report"])


class Session(asyncio.Protocol):
    """The server's side of one connection. All that is read at once is answered at once."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._in_data = False
        self._watched = False  # whether this message is one to a recipient that is watched
        self._waiting = False  # for the delayed answer to a dot; what comes meanwhile stays in the buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        if self._board.round_trip:  # one for the handshake, which was none here, and one until the greeting is there
            self._loop.call_later(2 * self._board.round_trip, self._say, b"220 sink.test\r\n")
        else:
            self._say(b"220 sink.test\r\n")

    def data_received(self, data: bytes) -> None:
        # Both halves of the round trip are spent here: to the client that is the same.
        if self._board.round_trip:
            self._loop.call_later(self._board.round_trip, self._take, data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._waiting:
            self._advance()

    def _advance(self) -> None:
        buffer, place, replies = self._buffer, 0, []
        while not self._waiting:
            if self._in_data:
                found = buffer.find(END, place)
                if found < 0:
                    place = max(place, len(buffer) - len(END) + 1)
                    break
                place, self._in_data = found + len(END), False
                replies.append(self._accept())
            else:
                found = buffer.find(b"\r\n", place)
                if found < 0:
                    break
                if self._board.watch:
                    self._watched = self._watched or buffer.startswith(self._board.watch, place)
                reply = self._reply(buffer[place : place + 4].upper())
                # The end of the line that says DATA is the one before the dot where the message is empty.
                place = found if reply.startswith(b"354") else found + 2
                replies.append(reply)
        self._buffer = buffer[place:]
        if replies:
            self._say(b"".join(replies))

    def _accept(self) -> bytes:
        if self._board.dot_delay:
            self._waiting = True
            self._loop.call_later(self._board.dot_delay, self._answer_dot)
            return b""
        self._took()
        return b"250 taken\r\n"

    def _took(self) -> None:
        self._board.took(watched=self._watched)
        self._watched = False

    def _answer_dot(self) -> None:
        self._waiting = False
        self._took()
        self._say(b"250 taken\r\n")
        self._advance()

    def _reply(self, verb: bytes) -> bytes:
        match verb:
            case b"DATA":
                self._in_data = True
                return b"354 go on\r\n"
            case b"EHLO":
                return EHLO
            case b"QUIT":
                # With a round trip to spend, the client closes; it has asked for it.
                return b"221 bye\r\n"
            case _:
                return b"250 ok\r\n"

    def _say(self, reply: bytes) -> None:
        if reply and not self._transport.is_closing():
            self._transport.write(reply)


async def serve() -> None:
    """Until stdin ends."""
    loop, orders = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    board = Board()
    server = await loop.create_server(lambda: Session(board), "127.0.0.1", 0, backlog=1000)
    tell({"port": server.sockets[0].getsockname()[1]})
    async for line in orders:
        tell(board.obey(json.loads(line)))


def tell(facts: dict[str, Any]) -> None:
    """A line on stdout."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    import uvloop

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
