"""Where settings come from, and what is told where one of them is wrong: by the name under which it was set."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, TomlConfigSettingsSource

from outbox.core.errors import SettingsError
from outbox.settings.elsewhere import ElsewhereSettings
from outbox.settings.fields import fault_of_file
from outbox.settings.retention import RetentionSettings
from outbox.settings.transport import TransportSettings

DEFAULT_TRANSPORT = "default"

NO_VARIABLE = frozenset({"url", "timeouts", "oauth", "oauth_token"})
"""Settings of a transport that no variable of that name sets."""

Places = dict[tuple[str, ...], str]
"""The variables that were set, each by the setting it stands for."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What file, environment and arguments say together."""

    values: dict[str, Any]
    places: Places
    path: Path

    @classmethod
    def read(cls, settings: type[BaseSettings], config: Path | str | None, arguments: Mapping[str, Any]) -> Self:
        """Look around. Raises SettingsError for what cannot be read."""
        named = config or os.environ.get("OUTBOX_CONFIG")
        path = Path(named or "outbox.toml")
        fault = fault_of_file(path)
        if fault and (named or path.exists()):
            where = " (from --config or OUTBOX_CONFIG)" if named else ""
            raise SettingsError(f"config file {str(path)!r} {fault}{where}")
        try:
            file = TomlConfigSettingsSource(settings, path)()
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from None
        except (OSError, ValueError, RecursionError) as error:  # unreadable, not TOML
            raise SettingsError(f"{path}: {error}") from None
        environment = _environment(settings)
        values = {**file, **environment, **{key: value for key, value in arguments.items() if value is not None}}
        places = {**_apply_variables(values), **_apply_retention(values)}
        return cls(values, {**places, **_variables(environment)}, path)

    def explain(self, error: ValidationError) -> str:
        """All faults in one line, each with the name under which it was set."""
        return _explain(error, self.places, self.path)


def _environment(settings: type[BaseSettings]) -> dict[str, Any]:
    empty = {name.upper() for name, value in os.environ.items() if not value}  # in whatever case they are read
    for variable in (f"OUTBOX_{name.upper()}" for name in ElsewhereSettings.model_fields):
        # Any other one that is empty is not set. Who names one of these did not mean to send to everybody.
        if variable in empty:
            raise SettingsError(f"{variable} is empty; fill it in, or unset it to have emails go to their recipients")
    source = EnvSettingsSource(settings)
    try:
        return source()
    except (ValueError, RecursionError):
        raise SettingsError(_not_json(source)) from None


def _not_json(source: EnvSettingsSource) -> str:
    """Which of the variables that are tables it is, and what is better written instead."""
    for name, instead in _TABLES.items():
        value = source.env_vars.get(f"outbox_{name}")
        try:
            json.loads(value or "null")
        except (ValueError, RecursionError):
            return f"OUTBOX_{name.upper()} is not JSON; {instead}"
    return "a variable is not JSON that should be"


def _variables(environment: dict[str, Any]) -> Places:
    return {(name,): f"OUTBOX_{name.upper()}" for name in environment}


def _apply_variables(values: dict[str, Any]) -> Places:
    """Put OUTBOX_MAX_CONNECTIONS and the like into the default transport of `values`, or the only one there is."""
    transports = values.setdefault("transports", {})
    names = (name for name in TransportSettings.model_fields if name not in NO_VARIABLE)
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


def _apply_retention(values: dict[str, Any]) -> Places:
    """Put OUTBOX_RETENTION_ROWS and the like into the table of `values`."""
    variables = {name: f"OUTBOX_RETENTION_{name.upper()}" for name in RetentionSettings.model_fields}
    found = {name: value for name, variable in variables.items() if (value := os.environ.get(variable))}
    known = values.get("retention", {})
    if found and isinstance(known, dict):
        values["retention"] = {**known, **found}
    return {("retention", name): variables[name] for name in found}


_TABLES = {
    "transports": "write [transports.NAME] tables into outbox.toml, or set OUTBOX_SMTP_URL",
    "routes": "write [[routes]] tables into outbox.toml",
    "domain_rates": "write a [domain_rates] table into outbox.toml",
    "dkim": "write [dkim.DOMAIN] tables into outbox.toml",
}
"""The settings whose variables are JSON, and what to do instead."""

_SHAPES = {
    "dict_type": "a table is expected",
    "model_type": "a table is expected",
    "dataclass_type": "text is expected",
    "tuple_type": "a list or text is expected",
    "path_type": "a path is expected",
    "frozen_set_type": "a value or a list of them is expected",
    "byte_size": "a size is expected, like 50MiB or 1048576",
}
"""What is expected, in the words of the file instead of the library's."""


def _explain(error: ValidationError, places: Places, path: Path) -> str:
    """All faults in one line, each with the name under which it was set."""
    lines = []
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    by_url = any(fault["loc"] == ("smtp_url",) for fault in faults)
    for fault in faults:
        where = tuple(str(part) for part in fault["loc"] if part != "[key]")
        if where[:3] == ("transports", DEFAULT_TRANSPORT, "url") and by_url:
            continue  # said already, as that of smtp_url
        name = ".".join(where)
        place = places.get(where[:3]) or places.get(where[:2]) or places.get(where[:1]) or f"setting {name}"
        what = fault["msg"].removeprefix("Value error, ")
        what = _SHAPES.get(fault["type"], what) if where != ("routes",) else "[[routes]] tables are expected"
        if fault["type"] == "extra_forbidden":
            what = f"unknown; is it misspelt in {path}?"
            if name in TransportSettings.model_fields:
                what = f"belongs into a [transports.NAME] table of {path}"
        lines.append(f"{place}: {what}" if name else what)
    return "; ".join(lines)
