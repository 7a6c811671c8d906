"""Logging in: one mechanism, tried once (RFC 4954), because repeating a wrong password locks accounts."""

import aiosmtplib

from outbox.core.classify import Stage, Trouble
from outbox.core.reply import Reply
from outbox.core.smtp_url import SmtpUrl
from outbox.smtp.failures import OpeningError
from outbox.smtp.tokens import TokenSource


class HungUpError(OpeningError):
    """The server refused a token and hung up; the one that has replaced it needs another connection."""


async def log_in(smtp: aiosmtplib.SMTP, url: SmtpUrl, tokens: TokenSource | None, timeout: float) -> None:  # noqa: ASYNC109  # one per command
    """Log in as the url's user, by token where there are tokens, else by password.

    Raises OpeningError, or what aiosmtplib raises. Never speaks a credential on a connection that others can read.
    """
    if not smtp.get_transport_info("sslcontext") and not url.loopback:
        raise OpeningError(Stage.AUTH, Trouble.NOT_OFFERED, "encryption")
    user = url.user or ""
    if tokens:
        await _by_token(smtp, user, tokens, timeout)
    else:
        await _by_password(smtp, user, url.password or "", timeout)


async def _by_password(smtp: aiosmtplib.SMTP, user: str, password: str, timeout: float) -> None:  # noqa: ASYNC109
    # The password travels inside TLS or on this machine only, so the simplest mechanism is the best.
    mechanisms = {"plain": smtp.auth_plain, "login": smtp.auth_login, "cram-md5": smtp.auth_crammd5}
    for name, authenticate in mechanisms.items():
        if name in smtp.server_auth_methods:
            await authenticate(user, password, timeout=timeout)
            return
    raise OpeningError(Stage.AUTH, Trouble.NOT_OFFERED, "AUTH PLAIN, LOGIN or CRAM-MD5")


async def _by_token(smtp: aiosmtplib.SMTP, user: str, tokens: TokenSource, timeout: float) -> None:  # noqa: ASYNC109
    if "xoauth2" not in smtp.server_auth_methods:
        raise OpeningError(Stage.AUTH, Trouble.NOT_OFFERED, "AUTH XOAUTH2")
    token = await tokens.current()
    try:
        await smtp.auth_xoauth2(user, token, timeout=timeout)
    except aiosmtplib.SMTPAuthenticationError as error:
        if error.code != 535:
            raise
        another = await tokens.current(refused=token)
        try:
            await smtp.auth_xoauth2(user, another, timeout=timeout)
        except aiosmtplib.SMTPServerDisconnected:
            raise HungUpError(Stage.AUTH, Reply.of(error.code, error.message)) from None
