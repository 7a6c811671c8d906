"""Settings: defaults, then `outbox.toml`, then `OUTBOX_*` variables, then arguments; checked, and named if wrong."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from outbox.core.address import Mailbox, parse_mailbox
from outbox.core.errors import SettingsError
from outbox.core.rate import Rate
from outbox.core.retry import RetryPolicy
from outbox.core.text import CONTROL
from outbox.settings.dkim import DkimSettings, SigningDomain
from outbox.settings.elsewhere import ElsewhereSettings
from outbox.settings.fields import (
    Domain,
    FilePath,
    PositiveSeconds,
    Rates,
    Seconds,
    Size,
    SmtpUrlText,
    Whole,
    different_domains,
    mailbox_text,
    split,
)
from outbox.settings.flood import FloodSettings
from outbox.settings.retention import RetentionSettings, table
from outbox.settings.routes import RouteSettings
from outbox.settings.sight import SightSettings
from outbox.settings.sources import DEFAULT_TRANSPORT, Sources
from outbox.settings.transport import Timeouts, TransportSettings

__all__ = ["DEFAULT_TRANSPORT", "Settings", "Timeouts", "TransportSettings"]

COMPOSING_FACTOR = 8
"""Memory that composing takes at its peak, by the size of the content."""


class Settings(SightSettings, ElsewhereSettings, BaseSettings):
    """All settings. `Settings.load()` reads file and environment; `Settings(...)` is exactly its arguments."""

    model_config = SettingsConfigDict(env_prefix="OUTBOX_", extra="forbid", frozen=True, env_ignore_empty=True)

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///outbox.db")
    smtp_url: SmtpUrlText | None = None
    sender: Annotated[str, BeforeValidator(mailbox_text)] | None = None
    templates: FilePath | None = None
    retry_schedule: Annotated[
        tuple[PositiveSeconds, ...], NoDecode, BeforeValidator(split), Field(min_length=1, validate_default=True)
    ] = ("1m", "5m", "15m", "30m", "1h", "2h", "4h")  # type: ignore[assignment]  # written as people write them
    max_attempts: Whole = Field(default=16, ge=1, le=1000)
    lease: PositiveSeconds = Field(default=60.0, ge=1)
    poll_interval: PositiveSeconds = 1.0
    listen: bool = True  # to PostgreSQL's notifications; it takes a connection that no pooler shares
    doubt_delay: Seconds = 300.0
    drain_timeout: Seconds = 25.0
    render_timeout: PositiveSeconds = 5.0  # for one email
    render_memory: Size = Field(default=ByteSize(512 << 20), ge=32 << 20)  # of a process that renders
    max_message_size: Size = Field(default=ByteSize(50 << 20), ge=1 << 10)  # bodies and files, before encoding
    transports: dict[str, TransportSettings] = Field(default_factory=dict)
    retention: Annotated[RetentionSettings, NoDecode, BeforeValidator(table)] = RetentionSettings()
    routes: tuple[RouteSettings, ...] = ()  # the first one that matches
    flood_guard: FloodSettings | None = None
    domain_rates: Annotated[dict[Domain, Rates], BeforeValidator(different_domains)] = Field(default_factory=dict)
    """Of emails to recipients there."""
    dkim: Annotated[dict[SigningDomain, DkimSettings], BeforeValidator(different_domains)] = Field(default_factory=dict)
    """By the domain of the sender."""

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
    def _check_names(self) -> Self:
        for name in self.transports:
            if not name or name[0] in "@-":  # for emails not routed yet, limits of domains, options of commands
                raise ValueError(f"transports: {name!r} is no name; it must not be empty or begin with '@' or '-'")
            if CONTROL.search(name):  # no database holds all of them, and no log
                raise ValueError(f"transports: {name!r} is no name; it has a control character or line break")
        named = [(f"routes.{number}.transport", [route.transport]) for number, route in enumerate(self.routes)]
        named += [(f"transports.{name}.failover", [*one.failover]) for name, one in self.transports.items()]
        for where, names in named:
            for name in names:
                if name not in self.transports:
                    known = ", ".join(sorted(self.transports)) or "none"
                    raise ValueError(f"{where}: there is no transport {name!r} (there is: {known})")
                if where == f"transports.{name}.failover":
                    raise ValueError(f"{where}: a transport cannot stand in for itself")
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
    def limits(self) -> dict[str, tuple[Rate, ...]]:
        """The rates that all pollers keep together: of transports, and as `@domain` of recipients' domains."""
        domains = {f"@{domain}": rates for domain, rates in self.domain_rates.items() if rates}
        return {**domains, **{name: one.rate for name, one in self.transports.items() if one.rate}}

    @property
    def retry_policy(self) -> RetryPolicy:
        """When to try again."""
        return RetryPolicy(self.retry_schedule, self.max_attempts, self.doubt_delay)

    @classmethod
    def load(cls, config: Path | str | None = None, **arguments: Any) -> Self:
        """The settings of this process. Raises SettingsError with one line that names the setting and its fault."""
        sources = Sources.read(cls, config, arguments)
        try:
            return cls(**sources.values)
        except ValidationError as error:
            raise SettingsError(sources.explain(error)) from None

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
