"""A local SMTP server that keeps what it is sent in files and forwards nothing."""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session

from outbox.core.errors import SettingsError

MAX_SIZE = 50 * 1024 * 1024
"""Bytes of the largest email that is taken (RFC 1870)."""

_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Caught:
    """An email as it came in. `recipients` is the envelope: Bcc included."""

    at: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    path: Path


class Catcher:
    """Accepts every email on `host:port` and saves it in `folder`.

    `on_mail` is called with each. `answer` may give another reply than 250 to a recipient, such as
    "550 5.1.1 no such user".
    """

    def __init__(
        self,
        folder: Path,
        on_mail: Callable[[Caught], None],
        *,
        answer: Callable[[str], str | None] = lambda recipient: None,  # noqa: ARG005  # named for the reader
    ) -> None:
        self._folder = folder
        self._conversation = _Conversation(folder, on_mail, answer)
        self._server: asyncio.Server | None = None
        self._sessions: WeakSet[SMTP] = WeakSet()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen. Returns the port; 0 chooses a free one. Raises SettingsError where that is impossible."""
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd's own; we tell what matters
        loop = asyncio.get_running_loop()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"cannot save email in {str(self._folder)!r}: {error.strerror}") from None
        try:
            self._server = await loop.create_server(self._protocol, host, port)
        except OSError as error:
            what = "the port is in use; choose another" if error.errno == errno.EADDRINUSE else error.strerror
            raise SettingsError(f"cannot listen on {host}:{port}: {what}") from None
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and hang up."""
        if self._server:
            self._server.close()
            for session in self._sessions:
                if session.transport:
                    session.transport.close()
            await self._server.wait_closed()

    def _protocol(self) -> SMTP:
        session = SMTP(
            self._conversation,
            data_size_limit=MAX_SIZE,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="outbox catcher",
            loop=asyncio.get_running_loop(),
        )
        self._sessions.add(session)
        return session


class _Conversation:
    """What aiosmtpd asks us during a session; it finds these methods by their names."""

    def __init__(self, folder: Path, on_mail: Callable[[Caught], None], answer: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._on_mail = on_mail
        self._answer = answer

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self._answer(address)
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        at = datetime.now(UTC)
        subject = _subject(content)
        try:
            path = _save(self._folder, f"{at:%Y%m%dT%H%M%S}-{_slug(subject)}", content)
        except OSError as error:
            return f"452 4.3.1 cannot save it: {error.strerror}"
        self._on_mail(Caught(at, envelope.mail_from or "", tuple(envelope.rcpt_tos), subject, path))
        return "250 2.0.0 caught"


def _subject(content: bytes) -> str:
    """The decoded subject; a header that cannot be read is no reason not to catch the email."""
    try:
        return str(BytesHeaderParser(policy=policy.default).parsebytes(content).get("Subject", ""))
    except (ValueError, LookupError, IndexError, AttributeError):  # what Python's parser raises on broken headers
        return "(unreadable)"


def _slug(subject: str) -> str:
    """A file name that is safe everywhere, whatever a stranger wrote in the subject."""
    return _UNSAFE.sub("-", subject).strip("-").lower()[:50] or "no-subject"


def _save(folder: Path, stem: str, content: bytes) -> Path:
    """Write a new file, readable by us only; never over an old one."""
    number = 1
    while True:
        path = folder / (f"{stem}.eml" if number == 1 else f"{stem}-{number}.eml")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            number += 1
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return path
