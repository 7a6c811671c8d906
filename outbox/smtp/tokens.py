"""Access tokens for XOAUTH2, from a command or a coroutine function: fetched once, used until a server refuses them.

What the command writes to its standard error is never shown, since it may hold the secret.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from outbox.core.classify import Stage, Trouble
from outbox.smtp.failures import OpeningError


class TokenSource:
    """The token of one transport, shared by its connections."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._token: str | None = None

    async def current(self, refused: str | None = None) -> str:
        """The token, a new one where there is none or it is the one that was `refused`. Raises OpeningError."""
        async with self._lock:
            if self._token is None or self._token == refused:
                self._token = None
                self._token = await self._fetched()
            return self._token

    async def _fetched(self) -> str:
        try:
            token = (await self._fetch()).strip()
        except OpeningError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever an application's function raises; it may hold the secret
            raise _failed(f"{type(error).__name__} in oauth_token", invalid="invalid_grant" in str(error)) from None
        if not token or not token.isprintable() or not token.isascii():
            raise _failed("what came is empty or not a token", invalid=False)
        return token


async def token_from_command(command: Sequence[str], within: float) -> str:
    """What `command` prints. Raises OpeningError where it fails or takes longer than `within` seconds."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise _failed(f"oauth_command cannot be started: {error.strerror}", invalid=False) from None
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        raise _failed(f"oauth_command took longer than {within:g} s", invalid=False) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    if process.returncode:
        raise _failed(f"oauth_command exited with {process.returncode}", invalid=b"invalid_grant" in out + err)
    return out.decode("utf-8", "replace")


def _failed(detail: str, *, invalid: bool) -> OpeningError:
    return OpeningError(Stage.AUTH, Trouble.TOKEN_INVALID if invalid else Trouble.TOKEN, detail)
