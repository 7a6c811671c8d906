"""One connection: opened step by step with aiosmtplib, then spoken on by us, and closed politely.

aiosmtplib connects, greets, encrypts and logs in. Then `Wire` takes its transport over, because a mail transaction
needs to know what its own one hides: each recipient's reply, and whether the final dot has left. Nothing else in the
project touches aiosmtplib.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import aiosmtplib

from outbox.core.classify import Stage, Trouble
from outbox.core.smtp_url import Security
from outbox.settings import TransportSettings
from outbox.smtp.failures import OpeningError, opening_failed
from outbox.smtp.login import log_in
from outbox.smtp.tokens import TokenSource
from outbox.smtp.wire import Wire, WireError

_FQDN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Features:
    """What the server offers on this connection (its last EHLO)."""

    size: int | None = None  # bytes of the largest message it takes; None where it states no limit (RFC 1870)
    offers_size: bool = False
    smtputf8: bool = False
    eightbitmime: bool = False
    pipelining: bool = False

    @classmethod
    def of(cls, extensions: dict[str, str]) -> "Features":
        """From the keywords of an EHLO reply, in lower case, and their parameters."""
        size = extensions.get("size", "").strip()
        return cls(
            size=int(size) or None if size.isascii() and size.isdecimal() else None,
            offers_size="size" in extensions,
            smtputf8="smtputf8" in extensions,
            eightbitmime="8bitmime" in extensions,
            pipelining="pipelining" in extensions,
        )


class Connection:
    """An open connection, ready for MAIL. `open_connection` makes one."""

    def __init__(self, settings: TransportSettings, wire: Wire, features: Features, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.wire = wire
        self.features = features
        self.tls: str | None = None
        """The TLS version, where there is TLS."""
        self.opened_at = clock()
        self.last_used = self.opened_at
        self.messages = 0
        """Transactions begun on it."""
        self.needs_reset = False
        """The last transaction ended half-way: RSET goes before the next."""
        self.without_parameters = False
        """The server offers MAIL parameters and refuses them."""
        self.proven = False
        """The server has answered, in step, a group that was sent before the answer to the final dot in front of it."""

    @property
    def where(self) -> str:
        """The server, as errors name it."""
        url = self.settings.smtp_url
        return f"{url.host}:{url.port}"

    @property
    def summary(self) -> str:
        """What was found when it was opened, in one line."""
        features, user = self.features, self.settings.smtp_url.user
        found = [
            self.tls or "no TLS",
            f"logged in as {user}" if user else "no login",
            f"SIZE {features.size}" if features.size else "",
            "PIPELINING" if features.pipelining else "",
            "SMTPUTF8" if features.smtputf8 else "",
        ]
        return ", ".join(part for part in found if part)

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin on it."""
        return self.wire.usable

    async def close(self) -> None:
        """QUIT, if there is still somebody to say it to, and close; within the time set for it."""
        try:
            async with asyncio.timeout(self.settings.timeouts.quit):
                if self.wire.usable:
                    turn = self.wire.turn()
                    turn.write(b"QUIT\r\n")
                    await turn.reply(self.settings.timeouts.quit)
                self.wire.close()
                await self.wire.closed()
        except (TimeoutError, WireError):
            self.wire.abort()  # it was about to end anyway
        except asyncio.CancelledError:
            self.wire.abort()
            raise

    def abort(self) -> None:
        """Close at once, without a word."""
        self.wire.abort()


def tls_context(settings: TransportSettings) -> ssl.SSLContext:
    """Verifies certificate and host name, TLS 1.2 or newer. Reads the trusted certificates: call it off the loop.

    Raises OpeningError where `ca_file` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise OpeningError(Stage.CONNECT, Trouble.CERTIFICATE, f"ca_file {settings.ca_file}: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def open_connection(
    settings: TransportSettings,
    *,
    context: ssl.SSLContext | None,
    tokens: TokenSource | None,
    clock: Callable[[], float],
) -> Connection:
    """Connect, encrypt and log in as `settings` say; `context` is needed where they say TLS. Raises OpeningError."""
    url = settings.smtp_url
    smtp = aiosmtplib.SMTP(
        hostname=url.host,
        port=url.port,
        use_tls=url.security is Security.TLS,
        start_tls=False,  # we drive it ourselves, to know the stage
        tls_context=context,
        local_hostname="localhost",  # never looked up; EHLO says the right one
        timeout=settings.timeouts.command,
    )
    try:
        return await _Opening(settings, smtp, tokens).run(clock)
    except BaseException:
        _abandon(smtp)
        raise


def _abandon(smtp: aiosmtplib.SMTP) -> None:
    """Leave nothing open: a TLS transport that is merely closed would wait for the server's goodbye."""
    if smtp.transport is not None:
        cast("asyncio.Transport", smtp.transport).abort()
    smtp.close()


class _Opening:
    """The steps from nothing to a connection. Each is one stage, with its own time."""

    def __init__(self, settings: TransportSettings, smtp: aiosmtplib.SMTP, tokens: TokenSource | None) -> None:
        self._settings = settings
        self._url = settings.smtp_url
        self._smtp = smtp
        self._tokens = tokens

    async def run(self, clock: Callable[[], float]) -> Connection:
        timeouts = self._settings.timeouts
        await self._step(Stage.CONNECT, self._smtp.connect(timeout=timeouts.connect))
        await self._step(Stage.EHLO, self._greet())
        if self._url.security is Security.STARTTLS:
            if not self._smtp.supports_extension("starttls"):
                raise OpeningError(Stage.STARTTLS, Trouble.NOT_OFFERED)
            await self._step(Stage.STARTTLS, self._smtp.starttls(timeout=timeouts.command))
            await self._step(Stage.EHLO, self._greet())
        if self._url.user:
            await self._step(Stage.AUTH, log_in(self._smtp, self._url, self._tokens, timeouts.command))
        return self._connection(clock)

    async def _step(self, stage: Stage, work: Awaitable[object]) -> None:
        try:
            await work
        except OpeningError:
            raise
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise opening_failed(stage, error) from error

    async def _greet(self) -> None:
        name = self._settings.local_hostname or _own_name(self._smtp.get_transport_info("sockname"))
        try:
            await self._smtp.ehlo(hostname=name)
        except aiosmtplib.SMTPHeloError as error:
            if error.code < 500 or not self._smtp.is_connected:
                raise
            await self._smtp.helo(hostname=name)

    def _connection(self, clock: Callable[[], float]) -> Connection:
        smtp = self._smtp
        transport = cast("asyncio.Transport | None", smtp.transport)  # uvloop's are no subclasses of it
        if transport is None or transport.is_closing():
            raise OpeningError(Stage.AUTH if self._url.user else Stage.EHLO, Trouble.CLOSED)
        tls = transport.get_extra_info("ssl_object")
        connection = Connection(self._settings, Wire.take_over(transport), Features.of(smtp.esmtp_extensions), clock)
        connection.tls = tls.version() if tls else None
        return connection


def _own_name(sockname: Any) -> str:
    """What to call ourselves: this host's full name, else the address we speak from (RFC 5321 §4.1.3, §4.1.4)."""
    name = socket.gethostname()
    if _FQDN.fullmatch(name):
        return name
    address = str(sockname[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
