"""Settings: defaults, then `outbox.toml`, then `OUTBOX_*` variables, then arguments; checked, and named if wrong."""

import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from outbox.core.address import Mailbox, parse_mailbox
from outbox.core.duration import parse_duration
from outbox.core.errors import SettingsError
from outbox.core.retry import RetryPolicy
from outbox.core.smtp_url import SmtpUrl, parse_smtp_url

DEFAULT_TRANSPORT = "default"

COMPOSING_FACTOR = 8
"""Memory that composing takes at its peak, by the size of the content."""

_NO_VARIABLE = frozenset({"url", "timeouts", "oauth_token"})
"""Settings of a transport that no variable of that name sets."""


def _split(value: Any) -> Any:
    """Lists in variables are comma-separated."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _mailbox_text(value: Any) -> Any:
    if isinstance(value, str):
        parse_mailbox(value)
    return value


def _smtp_url_text(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str):
        parse_smtp_url(text)
    return value


Seconds = Annotated[float, BeforeValidator(parse_duration)]
PositiveSeconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]
SmtpUrlText = Annotated[SecretStr, BeforeValidator(_smtp_url_text)]


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
    max_connections: int = Field(default=10, ge=1, le=1000)
    messages_per_connection: int = Field(default=100, ge=1)
    connection_age: PositiveSeconds = 300.0  # a connection is closed when it gets this old
    idle_timeout: PositiveSeconds = 15.0  # or was not used for so long
    max_recipients: int = Field(default=100, ge=1)  # in one transaction (RFC 5321 §4.5.3.1.10)
    local_hostname: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.:\[\]_-]+$")
    ca_file: Path | None = None  # trust these certificates instead of the system's
    oauth_command: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    """A command that prints an access token; the connection then logs in by XOAUTH2."""
    oauth_token: Callable[[], Awaitable[str]] | None = Field(default=None, exclude=True, repr=False)
    """The same as a coroutine function, for a Poller inside an application."""
    timeouts: Timeouts = Timeouts()

    @cached_property
    def smtp_url(self) -> SmtpUrl:
        """The URL, parsed."""
        return parse_smtp_url(self.url.get_secret_value())

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.ca_file and not self.ca_file.is_file():
            raise ValueError(f"ca_file {str(self.ca_file)!r} does not exist")
        if self.oauth and not self.smtp_url.user:
            raise ValueError("an access token needs a user in the url: smtp+starttls://user@host:587")
        if self.smtp_url.user and not self.smtp_url.password and not self.oauth:
            raise ValueError("the url has a user but no password; give one, or oauth_command")
        return self

    @property
    def oauth(self) -> bool:
        """Whether this transport logs in by access token."""
        return bool(self.oauth_command or self.oauth_token)


class Settings(BaseSettings):
    """All settings. `Settings.load()` reads file and environment; `Settings(...)` is exactly its arguments."""

    model_config = SettingsConfigDict(env_prefix="OUTBOX_", extra="forbid", frozen=True, env_ignore_empty=True)

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///outbox.db")
    smtp_url: SmtpUrlText | None = None
    sender: Annotated[str, BeforeValidator(_mailbox_text)] | None = None
    templates: Path | None = None
    retry_schedule: Annotated[
        tuple[PositiveSeconds, ...], NoDecode, BeforeValidator(_split), Field(min_length=1, validate_default=True)
    ] = ("1m", "5m", "15m", "30m", "1h", "2h", "4h")  # type: ignore[assignment]  # written as people write them
    max_attempts: int = Field(default=16, ge=1, le=1000)
    lease: PositiveSeconds = Field(default=60.0, ge=1)
    poll_interval: PositiveSeconds = 1.0
    listen: bool = True  # to PostgreSQL's notifications; it takes a connection that no pooler shares
    doubt_delay: Seconds = 300.0
    drain_timeout: Seconds = 25.0
    render_timeout: PositiveSeconds = 5.0  # for one email
    render_memory: ByteSize = Field(default=ByteSize(512 << 20), ge=32 << 20)  # of a process that renders
    max_message_size: ByteSize = Field(default=ByteSize(50 << 20), ge=1 << 10)  # bodies and files, before encoding
    transports: dict[str, TransportSettings] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _smtp_url_is_the_default_transport(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("smtp_url"):
            return values
        if not isinstance(values.get("transports") or {}, dict):
            return values  # the field itself complains
        transports = dict(values.get("transports") or {})
        default = transports.get(DEFAULT_TRANSPORT) or {}
        if isinstance(default, TransportSettings):
            default = default.model_dump()
        if not isinstance(default, dict):
            return values
        transports[DEFAULT_TRANSPORT] = {**default, "url": values["smtp_url"]}
        return {**values, "transports": transports}

    @model_validator(mode="after")
    def _check_default_transport(self) -> Self:
        if len(self.transports) > 1 and DEFAULT_TRANSPORT not in self.transports:
            raise ValueError(f"there are several transports and none is named {DEFAULT_TRANSPORT!r}; name one so")
        return self

    @model_validator(mode="after")
    def _check_memory(self) -> Self:
        needed = self.max_message_size * COMPOSING_FACTOR
        if self.render_memory < needed:
            raise ValueError(f"max_message_size needs a render_memory of {COMPOSING_FACTOR} times as much ({needed})")
        return self

    @property
    def default_transport(self) -> str:
        """Name of the transport for rows that name none. Raises SettingsError where there is no transport at all."""
        if not self.transports:
            raise SettingsError(
                "no SMTP server configured: set OUTBOX_SMTP_URL, e.g. smtp+starttls://user:pass@host:587"
            )
        return DEFAULT_TRANSPORT if DEFAULT_TRANSPORT in self.transports else next(iter(self.transports))

    @property
    def default_sender(self) -> Mailbox:
        """The sender of rows that name none.

        Where none is configured, a server on this machine is given `outbox@localhost` (development, or a local mail
        server that completes it); any other server would refuse it, so that is a SettingsError.
        """
        if self.sender:
            return parse_mailbox(self.sender)
        if self.transports[self.default_transport].smtp_url.loopback:
            return Mailbox("", "outbox", "localhost")
        raise SettingsError("no sender configured: set OUTBOX_SENDER, e.g. 'Shop <shop@example.org>'")

    @property
    def retry_policy(self) -> RetryPolicy:
        """When to try again."""
        return RetryPolicy(self.retry_schedule, self.max_attempts, self.doubt_delay)

    @classmethod
    def load(cls, config: Path | str | None = None, **arguments: Any) -> Self:
        """The settings of this process. Raises SettingsError with one line that names the setting and its fault."""
        named = config or os.environ.get("OUTBOX_CONFIG")
        path = Path(named or "outbox.toml")
        if named and not path.is_file():
            raise SettingsError(f"config file {str(path)!r} does not exist (from --config or OUTBOX_CONFIG)")
        try:
            file = TomlConfigSettingsSource(cls, path)()
        except (OSError, ValueError) as error:  # unreadable, not UTF-8, not TOML
            raise SettingsError(f"{path}: {error}") from None
        environment = _environment(cls)
        values = {**file, **environment, **{key: value for key, value in arguments.items() if value is not None}}
        places = _apply_variables(values)
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error, {**places, **_variables(environment)}, path)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`Settings(...)` is exactly its arguments; only `load` looks around."""
        return (init_settings,)


Places = dict[tuple[str, ...], str]
"""The variables that were set, each by the setting it stands for."""


def _environment(settings: type[Settings]) -> dict[str, Any]:
    try:
        return EnvSettingsSource(settings)()
    except ValueError:  # of all variables only this one is JSON
        raise SettingsError(
            "OUTBOX_TRANSPORTS is not JSON; write [transports.NAME] tables into outbox.toml, or set OUTBOX_SMTP_URL"
        ) from None


def _variables(environment: dict[str, Any]) -> Places:
    return {(name,): f"OUTBOX_{name.upper()}" for name in environment}


def _apply_variables(values: dict[str, Any]) -> Places:
    """Put OUTBOX_MAX_CONNECTIONS and the like into the default transport of `values`, or the only one there is."""
    transports = values.setdefault("transports", {})
    names = (name for name in TransportSettings.model_fields if name not in _NO_VARIABLE)
    found = {name: value for name in names if (value := os.environ.get(f"OUTBOX_{name.upper()}"))}
    if not found or not isinstance(transports, dict):
        return {}
    alone = next(iter(transports)) if len(transports) == 1 and not values.get("smtp_url") else DEFAULT_TRANSPORT
    if alone not in transports and not values.get("smtp_url"):
        set_ = ", ".join(f"OUTBOX_{name.upper()}" for name in found)
        raise SettingsError(f"{set_}: there is no transport that this could be for; set OUTBOX_SMTP_URL as well")
    known = transports.get(alone, {})
    if isinstance(known, dict):
        values["transports"] = {**transports, alone: {**known, **found}}
    return {("transports", alone, name): f"OUTBOX_{name.upper()}" for name in found}


def _explain(error: ValidationError, places: Places, path: Path) -> str:
    """All faults in one line, each with the name under which it was set."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where = tuple(str(part) for part in fault["loc"])
        if where[:3] == ("transports", DEFAULT_TRANSPORT, "url") and ("smtp_url",) in places:
            continue  # said already, as OUTBOX_SMTP_URL
        name = ".".join(where)
        place = places.get(where[:3]) or places.get(where[:1]) or f"setting {name}"
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            what = f"unknown; is it misspelt in {path}?"
            if name in TransportSettings.model_fields:
                what = f"belongs into a [transports.NAME] table of {path}"
        lines.append(f"{place}: {what}" if name else what)
    return "; ".join(lines)
