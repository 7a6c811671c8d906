"""Access tokens for XOAUTH2, from an issuer, a command or a coroutine function: used until shortly before their end, or
until a server refuses them.

What the command writes to its standard error is never shown, since it may hold the secret.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from outbox.core.classify import Stage, Trouble
from outbox.smtp.failures import OpeningError

EARLY = 60.0
"""Seconds before its end from which a token is not used any more; less for one that lives only for minutes."""


class AccessToken(NamedTuple):
    """A token, and for how many seconds it is good; None where nobody said."""

    text: str
    lifetime: float | None = None


class TokenSource:
    """The token of one transport, shared by its connections; one is fetched at a time. `clock` is monotonic."""

    def __init__(
        self, fetch: Callable[[], Awaitable[AccessToken]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._until: float | None = None

    async def current(self, refused: str | None = None) -> str:
        """The token, a new one where there is none, it ends soon, or it is the one that was `refused`.

        Raises OpeningError.
        """
        async with self._lock:
            if self._token is None or self._token == refused or self._ends_soon():
                self._token = None
                begun = self._clock()
                text, lifetime = await self._fetched()
                self._until = None if lifetime is None else begun + lifetime - min(EARLY, lifetime / 10)
                self._token = text
            return self._token

    def _ends_soon(self) -> bool:
        return self._until is not None and self._clock() >= self._until

    async def _fetched(self) -> AccessToken:
        try:
            text, lifetime = await self._fetch()
        except OpeningError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever an application's function raises; it may hold the secret
            raise failed(f"{type(error).__name__} in oauth_token", invalid="invalid_grant" in str(error)) from None
        token = text.strip()
        if not token or not token.isprintable() or not token.isascii():
            raise failed("what came is empty or not a token")
        return AccessToken(token, lifetime)


async def token_from_command(command: Sequence[str], within: float) -> AccessToken:
    """What `command` prints. Raises OpeningError where it fails or takes longer than `within` seconds."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise failed(f"oauth_command cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        raise failed(f"oauth_command took longer than {within:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode:
        raise failed(f"oauth_command exited with {process.returncode}", invalid=b"invalid_grant" in out + err)
    return AccessToken(out.decode("utf-8", "replace"))


def failed(detail: str, *, invalid: bool = False) -> OpeningError:
    """No token, and why; `invalid` where a person has to act, else it is tried again before long."""
    return OpeningError(Stage.AUTH, Trouble.TOKEN_INVALID if invalid else Trouble.TOKEN, detail)
