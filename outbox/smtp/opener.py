"""What the connections of one transport share when they are opened: trusted certificates and access tokens."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

from outbox.core.smtp_url import Security
from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection, open_connection, tls_context
from outbox.smtp.login import HungUpError
from outbox.smtp.tokens import AccessToken, TokenSource, token_from_command


class Opener:
    """Opens connections as the settings say."""

    def __init__(self, settings: TransportSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._context_lock = asyncio.Lock()
        self._tokens = TokenSource(_token_fetcher(settings), clock) if settings.by_token else None

    async def open(self) -> Connection:
        """Connect, encrypt and log in. Raises OpeningError."""
        context = None if self._settings.smtp_url.security is Security.PLAIN else await self._tls()
        connect = partial(open_connection, self._settings, context=context, tokens=self._tokens, clock=self._clock)
        try:
            return await connect()
        except HungUpError:  # at once, and once: else every token that ends would be a fault of the configuration
            return await connect()

    async def _tls(self) -> ssl.SSLContext:
        """Built once: it costs tens of milliseconds of processor time, and connections come in bursts."""
        async with self._context_lock:
            if self._context is None:
                self._context = await asyncio.to_thread(tls_context, self._settings)
            return self._context


def _token_fetcher(settings: TransportSettings) -> Callable[[], Awaitable[AccessToken]]:
    if settings.oauth:
        from outbox.smtp.issuer import Issuer  # it brings an HTTP client along, which most have no use for

        return Issuer(settings.oauth, settings.timeouts.command).token
    if function := settings.oauth_token:

        async def from_function() -> AccessToken:
            return AccessToken(await function())

        return from_function
    return partial(token_from_command, settings.oauth_command, settings.timeouts.command)
