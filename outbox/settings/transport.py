"""The settings of one way out: a `[transports.NAME]` table."""

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from outbox.core.smtp_url import SmtpUrl, parse_smtp_url
from outbox.settings.fields import FilePath, PositiveSeconds, Rates, SmtpUrlText, Whole, fault_of_file, split
from outbox.settings.oauth import OAuthSettings
from outbox.settings.presets import PRESETS, known_preset, with_defaults


class Timeouts(BaseModel):
    """Seconds each stage of an SMTP session may take; RFC 5321 §4.5.3.2 where it has a say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: PositiveSeconds = 30.0  # TCP, implicit TLS and the greeting, each
    command: PositiveSeconds = 60.0  # EHLO, STARTTLS, AUTH, each
    mail: PositiveSeconds = 300.0
    rcpt: PositiveSeconds = 300.0
    data: PositiveSeconds = 120.0
    block: PositiveSeconds = 180.0  # no byte of the message could be written for so long
    dot: PositiveSeconds = 600.0  # a shorter one makes duplicates
    quit: PositiveSeconds = 2.0


class TransportSettings(BaseModel):
    """One configured way out: a `[transports.NAME]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SmtpUrlText
    preset: Annotated[str, BeforeValidator(known_preset)] | None = None
    """A provider whose limits are the defaults of what follows."""
    max_connections: Whole = Field(default=10, ge=1, le=1000)
    messages_per_connection: Whole = Field(default=100, ge=1)
    connection_age: PositiveSeconds = 300.0  # a connection is closed when it gets this old
    idle_timeout: PositiveSeconds = 15.0  # or was not used for so long
    max_recipients: Whole = Field(default=100, ge=1)  # in one transaction (RFC 5321 §4.5.3.1.10)
    reserved_connections: Whole = Field(default=0, ge=0)  # of max_connections, for urgent emails alone
    failover: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """Transports that are used, in this order, while this one has a fault."""
    rate: Rates = ()  # of emails, shared by all pollers
    local_hostname: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.:\[\]_-]+$")
    ca_file: FilePath | None = None  # trust these certificates instead of the system's
    oauth_command: Annotated[tuple[str, ...], BeforeValidator(split)] = ()
    """A command that prints an access token; the connection then logs in by XOAUTH2."""
    oauth_token: Callable[[], Awaitable[str]] | None = Field(default=None, exclude=True, repr=False)
    """The same as a coroutine function, for a Poller inside an application."""
    oauth: OAuthSettings | None = None
    """The same from the issuer itself."""
    timeouts: Timeouts = Timeouts()

    @cached_property
    def smtp_url(self) -> SmtpUrl:
        """The URL, parsed."""
        return parse_smtp_url(self.url.get_secret_value())

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        return with_defaults(values)

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if sum(map(bool, (self.oauth, self.oauth_command, self.oauth_token))) > 1:
            raise ValueError("give one of oauth, oauth_command and oauth_token")
        if self.by_token and not self.smtp_url.user:
            raise ValueError("an access token needs a user in the url: smtp+starttls://user@host:587")
        if self.smtp_url.user and not self.smtp_url.password and not self.by_token:
            raise ValueError("the url has a user but no password; give one, or [transports.NAME.oauth]")
        if self.oauth and self.preset and not self.oauth.by_refresh_token:
            preset = PRESETS[self.preset]
            if preset.token_url == self.oauth.token_url and not preset.scope:
                raise ValueError(f"oauth: {self.preset} gives tokens for a refresh token only; set refresh_token_file")
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.ca_file and (fault := fault_of_file(self.ca_file)):
            raise ValueError(f"ca_file {str(self.ca_file)!r} {fault}")
        if self.reserved_connections >= self.max_connections:
            raise ValueError("reserved_connections leaves none of max_connections for other emails")
        return self

    @property
    def by_token(self) -> bool:
        """Whether this transport logs in by access token."""
        return bool(self.oauth or self.oauth_command or self.oauth_token)

    @property
    def mismatch(self) -> str | None:
        """In what way preset and url do not fit together."""
        if not self.preset or PRESETS[self.preset].serves(self.smtp_url.host):
            return None
        hosts = ", ".join(PRESETS[self.preset].hosts)
        return f"the preset {self.preset} is made for {hosts}, not for {self.smtp_url.host}; is that meant?"
