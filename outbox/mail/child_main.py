"""The program of a child: composes one row after the other, within the memory it is given, until its parent is gone.

Started by `child`, with the socket to its parent as standard input, and the file of its progress as argument. What
happens in here, an endless loop, a crash, the end of memory, costs the row that it happens to, and nobody else.
"""

import gc
import io
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outbox.core.address import Mailbox
from outbox.core.claim import AttachedFile, Claimed
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.addressees import addressees
from outbox.mail.compose import Ground, compose
from outbox.mail.frames import (
    TIME_IS_UP,
    Question,
    map_progress,
    message_reply,
    read_frame,
    read_request,
    trouble_reply,
    write_progress,
)
from outbox.mail.plain_text import text_of_html
from outbox.mail.signing import Signer
from outbox.mail.signing_key import KeyFile
from outbox.tuning import give_large_blocks_back

if TYPE_CHECKING:
    from outbox.mail.templates import Templates

READ_AHEAD = 1 << 16
"""Bytes that are read at once: the requests of many small rows."""

TOGETHER = 1 << 14
"""Bytes of answers that are sent together."""

LONGEST_TRACEBACK = 10_000
"""Characters of its end that are told: of a recursion it repeats one line."""

OUT_OF_MEMORY = 3
"""Exit code: the answer was given, but what is left of this process is no place for the next row."""


class _Parent(io.RawIOBase):
    """The socket to it. What was composed is sent before anything is waited for."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._unsent: list[bytes] = []
        self._size = 0

    def readable(self) -> bool:
        """See io."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io."""
        self.send()
        return self._line.recv_into(buffer)

    def answer(self, pieces: Iterable[bytes]) -> None:
        """Send this, a few of them together."""
        for piece in pieces:
            self._unsent.append(piece)
            self._size += len(piece)
        if self._size > TOGETHER:
            self.send()

    def send(self) -> None:
        """Send what is not sent yet."""
        unsent, self._unsent, self._size = self._unsent, [], 0
        small: list[bytes] = []
        for piece in unsent:
            if len(piece) > READ_AHEAD:
                self._line.sendall(b"".join(small))
                self._line.sendall(piece)
                small = []
            else:
                small.append(piece)
        if small:
            self._line.sendall(b"".join(small))


def main() -> None:
    # Signals for the daemon's whole group are the parent's business; it ends this process by closing the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(TIME_IS_UP, signal.SIG_DFL)
    with socket.socket(fileno=os.dup(0)) as line, map_progress(int(sys.argv[1])) as progress:
        os.close(int(sys.argv[1]))
        parent = _Parent(line)
        requests = io.BufferedReader(parent, READ_AHEAD)
        found = read_frame(requests)
        if found is None:
            return
        settings, _ = found
        ground = _ground(settings)
        text_of_html("<p>")  # imports what it needs while there is no bound yet
        gc.freeze()
        give_large_blocks_back()
        _bound_memory(settings["memory"])
        write_progress(progress, 1)
        parent.answer(trouble_reply({}))
        parent.send()
        for following in count(2):
            if not _serve(requests, parent, ground):
                return
            write_progress(progress, following)


def _serve(requests: io.BufferedIOBase, parent: _Parent, ground: Ground) -> bool:
    """Answer the next request; False where there is none."""
    try:
        request = read_request(requests)
        if request is None:
            return False
        asked, files, seconds = request
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _reply(asked, files, ground)
        signal.setitimer(signal.ITIMER_PROF, 0)
    except MemoryError:
        parent.answer(trouble_reply({"out_of_memory": True}))
        parent.send()
        os._exit(OUT_OF_MEMORY)
    parent.answer(answer)
    return True


def _reply(asked: Claimed | Question, files: Sequence[AttachedFile], ground: Ground) -> Iterator[bytes]:
    try:
        if not isinstance(asked, Claimed):
            return trouble_reply({"found": _found(asked, ground)})
        composed = compose(asked, addressees(asked), files, ground)
    except ContentError as error:
        return trouble_reply({"error": str(error)})
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # a bug of ours; it is told, and the next row has its turn
        said = clean_text(f"{type(error).__name__}: {error}", 200)
        return trouble_reply({"bug": said, "traceback": traceback.format_exc()[-LONGEST_TRACEBACK:]})
    return message_reply(composed.sender, composed.content, composed.utf8_content)


def _found(question: Question, ground: Ground) -> Any:
    from outbox.mail.survey import answer

    if ground.templates is None:
        raise ContentError("no template folder is configured; set OUTBOX_TEMPLATES")
    return answer(ground.templates, question)


def _ground(settings: dict[str, Any]) -> Ground:
    folder = settings["templates"]
    templates = None if folder is None else _templates(Path(folder))
    keys = [KeyFile(domain, selector, pem.encode("latin-1")) for domain, selector, pem in settings["keys"]]
    return Ground(
        sender=Mailbox(*settings["sender"]),
        templates=templates,
        max_size=settings["max_size"],
        signer=Signer(keys) if keys else None,
        redirect_to=settings["redirect_to"] and Mailbox(*settings["redirect_to"]),
    )


def _templates(folder: Path) -> "Templates":
    """With everything that they may need loaded, while there is no bound yet."""
    from outbox.mail.styles import with_inline_styles
    from outbox.mail.templates import Templates

    with_inline_styles("", "<style></style>")
    return Templates(folder)


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
