"""Access tokens from the one who issues them (RFC 6749): by a refresh token (§6) or by client credentials (§4.4).

The request is made by urllib in a thread of its own: see docs/decisions/0026. Nothing that the issuer says is shown but
its error code, because it may repeat what it was sent.
"""

import asyncio
import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from outbox.core.classify import Stage, Trouble
from outbox.core.smtp_url import is_loopback
from outbox.settings.oauth import OAuthSettings
from outbox.smtp.failures import OpeningError
from outbox.smtp.refresh_tokens import RefreshToken, read_secret
from outbox.smtp.tokens import AccessToken, failed

T = TypeVar("T")

MAX_ANSWER = 1 << 18
"""Bytes of an answer that are read; tokens have some thousand at most."""

_PASSES = {408, 425, 429}
_PASSING_ERRORS = {"temporarily_unavailable", "server_error", "slow_down"}
_ERROR = re.compile(r"[a-z_]{1,40}")
_MICROSOFT_CODE = re.compile(r"AADSTS\d{1,10}")


class Issuer:
    """Asks for the tokens of one transport. `within` is how many seconds it may take."""

    def __init__(self, settings: OAuthSettings, within: float) -> None:
        self._settings = settings
        self._within = within
        self._host = urlsplit(settings.endpoint).hostname or ""
        self._refresh_token = RefreshToken(settings) if settings.by_refresh_token else None

    async def token(self) -> AccessToken:
        """A new one. Raises OpeningError: TOKEN_INVALID or CERTIFICATE where a person has to act, else TOKEN."""
        try:
            async with asyncio.timeout(self._within):
                return await _in_thread(self._request)
        except TimeoutError:
            raise failed(f"{self._host} took longer than {self._within:g} s") from None

    def _request(self) -> AccessToken:
        if self._refresh_token is None:
            return self._granted({"grant_type": "client_credentials"})[0]
        with self._refresh_token.held() as refresh_token:  # whoever else needs it waits, and gets the new one
            fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            token, answer = self._granted(fields)
            given = answer.get("refresh_token")
            if isinstance(given, str) and given:
                self._refresh_token.replace(given)
            return token

    def _granted(self, fields: dict[str, str]) -> tuple[AccessToken, dict[str, Any]]:
        s = self._settings
        fields = {**fields, "client_id": s.client_id}
        if s.client_secret_file:
            fields["client_secret"] = read_secret("client_secret_file", s.client_secret_file)
        elif s.client_secret:
            fields["client_secret"] = s.client_secret.get_secret_value()
        if s.scope:
            fields["scope"] = s.scope
        answer = _object(self._post(urlencode(fields).encode()))
        text, lifetime = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(text, str):
            raise failed(f"{self._host} answered without an access_token")
        try:
            seconds = None if lifetime is None else max(float(lifetime), 0.0)
        except (TypeError, ValueError):
            seconds = None
        return AccessToken(text, seconds), answer

    def _post(self, body: bytes) -> bytes:
        request = urllib.request.Request(  # noqa: S310  # https or loopback: settings/oauth.py
            self._settings.endpoint, body, {"Accept": "application/json", "User-Agent": "email-outbox"}
        )
        try:
            with self._opener().open(request, timeout=self._within) as response:
                return bytes(response.read(MAX_ANSWER))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
            raise self._not_reached(error) from None

    def _opener(self) -> urllib.request.OpenerDirector:
        """Verifies the certificate, follows no redirect, and reaches this machine without a proxy."""
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if self._settings.endpoint.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=self._context()))
        if is_loopback(self._host):
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _context(self) -> ssl.SSLContext:
        ca_file = self._settings.ca_file
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise OpeningError(Stage.AUTH, Trouble.CERTIFICATE, f"oauth.ca_file {ca_file}: {error}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _refused(self, error: urllib.error.HTTPError) -> OpeningError:
        """RFC 6749 §5.2: 4xx is about what was asked, so a person has to act, but for what says that it will pass."""
        try:
            answer = _object(error.read(MAX_ANSWER))
        except (OSError, HTTPException, OpeningError):
            answer = {}
        code = answer.get("error")
        words = [str(error.code)]
        if isinstance(code, str) and _ERROR.fullmatch(code):
            words.append(code)
        words += _MICROSOFT_CODE.findall(str(answer.get("error_description")))[:1]
        passes = error.code >= 500 or error.code in _PASSES or code in _PASSING_ERRORS
        return failed(f"{self._host} answered {' '.join(words)}", invalid=not passes)

    def _not_reached(self, error: Exception) -> OpeningError:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            detail = f"that of {self._host}: {cause.verify_message}"
            return OpeningError(Stage.AUTH, Trouble.CERTIFICATE, detail)
        if isinstance(cause, TimeoutError):
            return failed(f"{self._host} took longer than {self._within:g} s")
        said = cause.strerror if isinstance(cause, OSError) else None
        return failed(f"{self._host} cannot be reached: {said or type(cause).__name__}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The secret is for the one who was named, whoever that one points to."""

    def redirect_request(self, *_: object) -> None:
        return None


def _object(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise failed("what came is not JSON of a token")
    return answer


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns. Nobody waits for its thread: a stop must not take as long as a server that is silent."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return  # given up
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error it is a T

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001  # it is raised where it is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop has closed
            return

    threading.Thread(target=run, name="token", daemon=True).start()
    return await done
