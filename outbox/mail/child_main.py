"""The program of a child: composes one row after the other, within the memory it is given, until its parent is gone.

Started by `child`, with the socket to its parent as standard input. What happens in here, an endless loop, a crash,
the end of memory, costs the row that it happens to, and nobody else.
"""

import gc
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from outbox.core.address import Mailbox
from outbox.core.claim import AttachedFile, Claimed
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.addressees import addressees
from outbox.mail.compose import Ground, compose
from outbox.mail.frames import TIME_IS_UP, read_frame, read_request, reply_of
from outbox.mail.plain_text import text_of_html
from outbox.mail.templates import Templates

OUT_OF_MEMORY = 3
"""Exit code: the answer was given, but what is left of this process is no place for the next row."""


def main() -> None:
    # Signals for the daemon's whole group are the parent's business; it ends this process by closing the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(TIME_IS_UP, signal.SIG_DFL)
    with socket.socket(fileno=os.dup(0)) as parent, parent.makefile("rb") as requests, parent.makefile("wb") as replies:
        settings = read_frame(requests)
        if settings is None:
            return
        ground = _ground(settings)
        text_of_html("<p>")  # imports what it needs while there is no bound yet
        gc.freeze()
        _bound_memory(settings["memory"])
        _answer(replies, reply_of({}))
        while _serve(requests, replies, ground):
            pass


def _serve(requests: BinaryIO, replies: BinaryIO, ground: Ground) -> bool:
    """Answer the next request; False where there is none."""
    try:
        request = read_request(requests)
        if request is None:
            return False
        row, files, seconds = request
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _reply(row, files, ground)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except MemoryError:
        _answer(replies, reply_of({"out_of_memory": True}))
        os._exit(OUT_OF_MEMORY)
    _answer(replies, answer)
    return True


def _reply(row: Claimed, files: Sequence[AttachedFile], ground: Ground) -> Iterator[bytes]:
    try:
        composed = compose(row, addressees(row), files, ground)
    except ContentError as error:
        return reply_of({"error": str(error)})
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # a bug of ours; it is told, and the next row has its turn
        traceback.print_exc()
        return reply_of({"bug": clean_text(f"{type(error).__name__}: {error}", 200)})
    return reply_of({"sender": composed.sender}, composed.content, composed.utf8_content)


def _answer(stream: BinaryIO, pieces: Iterator[bytes]) -> None:
    stream.writelines(pieces)
    stream.flush()


def _ground(settings: dict[str, Any]) -> Ground:
    folder = settings["templates"]
    templates = None if folder is None else Templates(Path(folder))
    return Ground(sender=Mailbox(*settings["sender"]), templates=templates, max_size=settings["max_size"])


def _bound_memory(limit: int) -> None:
    """`limit` bytes more than are in use now. Where the system does not tell or keep to it, the time is the bound."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        bound = pages * resource.getpagesize() + limit
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    except (OSError, ValueError):
        return


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, ConnectionResetError):  # the parent is gone
        sys.exit(0)
