"""SMTP URLs: where a transport connects, how it is encrypted, and as whom it logs in."""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit


class Security(StrEnum):
    """How the connection is encrypted. There is no opportunistic form: no silent downgrade."""

    TLS = "smtps"  # implicit TLS (RFC 8314)
    STARTTLS = "smtp+starttls"  # required upgrade
    PLAIN = "smtp"  # none


_PORTS = {Security.TLS: 465, Security.STARTTLS: 587, Security.PLAIN: 25}


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A parsed SMTP URL. The password never shows in its repr or str."""

    security: Security
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        who = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.security}://{who}{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether what we send never leaves this machine."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_smtp_url(text: str) -> SmtpUrl:
    """`text` as an SmtpUrl. Raises ValueError, which never repeats the URL, since it may hold a password."""
    shape = "expected smtps://user:pass@host:465, smtp+starttls://user:pass@host:587 or smtp://host:25"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError(
            f"it has a host or port that cannot be read (percent-encode special characters); {shape}"
        ) from None
    try:
        security = Security(parts.scheme)
    except ValueError:
        raise ValueError(f"it has the unknown scheme {parts.scheme!r}; {shape}") from None
    if not parts.hostname or any(c.isspace() or not c.isprintable() for c in parts.hostname):
        raise ValueError(f"it names no host; {shape}")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"it has something behind the host (percent-encode / ? # in the password); {shape}")
    if port == 0:
        raise ValueError(f"port 0 cannot be connected to; {shape}")
    user, password = _credential(parts.username), _credential(parts.password)
    url = SmtpUrl(security, parts.hostname, port or _PORTS[security], user, password)
    if (user or password) and security is Security.PLAIN and not url.loopback:
        raise ValueError("it would send a password unencrypted; use smtps:// or smtp+starttls://")
    return url


def _credential(text: str | None) -> str | None:
    return unquote(text) if text else None
