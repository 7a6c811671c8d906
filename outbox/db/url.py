"""The database URL: what it may say, and what its arguments mean to the drivers."""

import ssl
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from outbox.core.errors import SettingsError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_SHAPE = "expected sqlite:///outbox.db or postgresql://user:pass@host/database"
_PASSED_ON = ("host", "port", "target_session_attrs", "prepared_statement_cache_size")
"""Arguments that SQLAlchemy and asyncpg know by these names: `?host=/var/run/postgresql`."""

_TRANSLATED = (
    *("sslmode", "sslrootcert", "ssl", "connect_timeout", "application_name", "options", "statement_cache_size"),
    *("user", "password"),
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def parse_url(url: str) -> tuple[URL, dict[str, Any]]:
    """The URL with its driver, and the arguments for `connect`. Managed databases hand out URLs for libpq
    (`?sslmode=require`), whose arguments asyncpg does not know by these names.

    Raises SettingsError, which never repeats the URL's password.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or ":memory:" in parsed.database:
            raise SettingsError("database_url names no file: an outbox in memory would be lost with its process")
        _refuse_unknown(parsed, ())
        return parsed, {}
    _refuse_unknown(parsed, (*_TRANSLATED, *_PASSED_ON))
    # Nothing secret stays in the query, where nobody would think of hiding it.
    arguments = {name: _only(name, value) for name, value in parsed.query.items() if name in _TRANSLATED}
    parsed = parsed.difference_update_query(_TRANSLATED)
    parsed = parsed.set(
        username=arguments.get("user", parsed.username), password=arguments.get("password", parsed.password)
    )
    return parsed, _connect_arguments(arguments)


def shown(url: URL) -> str:
    """The URL without its password; of a SQLite database only the file."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"database_url cannot be read (percent-encode special characters in the password); {_SHAPE}"
        ) from None
    if parsed.drivername not in _DRIVERS:
        raise SettingsError(f"database_url has the unsupported scheme {parsed.drivername!r}; {_SHAPE}")
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _refuse_unknown(url: URL, known: tuple[str, ...]) -> None:
    for name in url.query:
        if name not in known:
            there_is = f"known are {', '.join(known)}" if known else "SQLite has none here"
            raise SettingsError(f"database_url has the unknown argument {name!r}; {there_is}")


def _only(name: str, value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return value
    raise SettingsError(f"database_url has the argument {name!r} more than once")


def _connect_arguments(arguments: dict[str, str]) -> dict[str, Any]:
    """What `asyncpg.connect` is given."""
    connect: dict[str, Any] = {}
    if (tls := _tls(arguments.get("sslmode", arguments.get("ssl")), arguments.get("sslrootcert"))) is not None:
        connect["ssl"] = tls
    if "connect_timeout" in arguments:
        seconds = _number("connect_timeout", arguments["connect_timeout"])
        connect["timeout"] = float(seconds) if seconds > 0 else None  # as in libpq
    if "statement_cache_size" in arguments:
        connect["statement_cache_size"] = _number("statement_cache_size", arguments["statement_cache_size"])
    server = {name: arguments[name] for name in ("application_name", "options") if name in arguments}
    if server:
        connect["server_settings"] = server
    return connect


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"database_url: {name} {text!r} is not a whole number") from None


def _tls(mode: str | None, root: str | None) -> str | ssl.SSLContext | None:
    """What libpq does for these arguments, except that without `sslrootcert` the system's certificates are trusted."""
    if mode is not None and mode not in _SSL_MODES:
        raise SettingsError(f"database_url: sslmode {mode!r} is not one of {', '.join(_SSL_MODES)}")
    verified = mode in {"verify-ca", "verify-full"} or (mode == "require" and root is not None)
    if not verified:
        return mode
    try:
        context = ssl.create_default_context(cafile=None if root == "system" else root)
    except OSError as error:  # also what OpenSSL says of a file without certificates
        raise SettingsError(f"database_url: sslrootcert {root!r} cannot be used: {error.strerror or error}") from None
    context.check_hostname = mode == "verify-full"
    return context
