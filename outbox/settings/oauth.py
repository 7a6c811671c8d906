"""`[transports.NAME.oauth]`: how access tokens for XOAUTH2 are got, by client credentials or a refresh token."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator

from outbox.core.smtp_url import is_loopback
from outbox.settings.fields import FilePath, fault_of_file

TENANT = "{tenant}"
"""What stands in a token_url for the tenant."""


def token_url_text(value: object) -> object:
    """Secrets are sent there: only by https, or within this machine. Raises ValueError, which never repeats it."""
    if not isinstance(value, str):
        return value
    shape = "expected https://host/path"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"it has a host or port that cannot be read; {shape}") from None
    if not host or not value.isascii() or any(c.isspace() or not c.isprintable() for c in value):
        raise ValueError(f"it is not a URL; {shape}")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError(f"it has a user or a fragment, which are no part of it; {shape}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError(f"it would send secrets unencrypted; {shape}")
    return value


class OAuthSettings(BaseModel):
    """Where tokens are issued, and to whom. A refresh token makes it that grant, else it is client credentials."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_url: Annotated[str, BeforeValidator(token_url_text)] | None = None  # presets know theirs
    tenant: str | None = None  # Microsoft's, in the token_url
    client_id: str
    client_secret: SecretStr | None = None
    client_secret_file: FilePath | None = None  # read whenever a token is asked for
    refresh_token: SecretStr | None = None
    refresh_token_file: FilePath | None = None  # a new one that the issuer gives instead is written into it
    scope: str | None = None
    ca_file: FilePath | None = None  # trust these certificates instead of the system's

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for one, other in (("client_secret", "client_secret_file"), ("refresh_token", "refresh_token_file")):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"give {one} or {other}, not both")
        for name in ("client_secret_file", "refresh_token_file", "ca_file"):
            path: Path | None = getattr(self, name)
            if path and (fault := fault_of_file(path)):
                raise ValueError(f"{name} {str(path)!r} {fault}")
        if not self.by_refresh_token and not (self.client_secret or self.client_secret_file):
            raise ValueError(
                "it needs a refresh token (refresh_token_file or refresh_token) or, for client credentials, "
                "client_secret_file or client_secret"
            )
        return self

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        if self.token_url is None:
            raise ValueError("it needs a token_url; the presets gmail and microsoft365 know theirs")
        if self.tenant and TENANT not in self.token_url:
            raise ValueError(f"a tenant is given, but the token_url has no {TENANT}")
        if not self.tenant and TENANT in self.token_url:
            raise ValueError("it needs a tenant: the domain or the id of the directory, as example.onmicrosoft.com")
        if self.tenant and not self.tenant.replace("-", "").replace(".", "").isalnum():
            raise ValueError("the tenant is a domain or an id, and nothing else")
        return self

    @property
    def by_refresh_token(self) -> bool:
        """Whether a person once agreed, and gave a refresh token; else the client acts for itself."""
        return bool(self.refresh_token or self.refresh_token_file)

    @property
    def endpoint(self) -> str:
        """The URL that tokens are asked for at."""
        return (self.token_url or "").replace(TENANT, self.tenant or "")
