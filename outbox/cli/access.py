"""How commands reach the settings and the database."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import typer

from outbox.core.errors import SettingsError
from outbox.core.text import CONTROL

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from outbox.settings import Settings


MAX_ID = 2**63 - 1
"""The largest id that a database can hold."""


@dataclass(frozen=True, slots=True)
class Access:
    """The global options, which every command may need."""

    config: Path | None
    database_url: str | None


def settings_of(context: typer.Context, **flags: Any) -> "Settings":
    """The settings of this invocation; `flags` that are None were not given. Raises SettingsError."""
    from outbox.settings import Settings

    access: Access = context.obj
    return Settings.load(access.config, database_url=access.database_url, **flags)


@asynccontextmanager
async def migrated_database(settings: "Settings") -> "AsyncIterator[AsyncEngine]":
    """The database, checked to have our schema. Raises DatabaseError for whatever it fails at, also later inside."""
    from outbox.db.schema import require_schema

    async with database(settings) as engine:
        await require_schema(engine)
        yield engine


@asynccontextmanager
async def database(settings: "Settings") -> "AsyncIterator[AsyncEngine]":
    """The database as it is, with or without a schema. Raises DatabaseError for whatever it fails at."""
    from sqlalchemy.exc import SQLAlchemyError

    from outbox.db.engine import create_engine
    from outbox.db.failure import database_error

    engine = create_engine(settings.database_url.get_secret_value())
    try:
        yield engine
    except SQLAlchemyError as error:
        raise database_error(error, engine.url) from error
    finally:
        await engine.dispose()


def require_folder() -> None:
    """Raises SettingsError where the current folder has been deleted: settings and files are looked for there."""
    try:
        Path.cwd()
    except OSError as error:
        raise SettingsError(f"the current folder cannot be used, change to another: {error.strerror}") from None


def stored_text(value: str | None) -> str | None:
    """The callback of options that go into a query. Raises BadParameter for bytes that no database holds as text."""
    if value is not None and CONTROL.search(value):
        raise typer.BadParameter(f"{os.fsencode(value)!r} is not text (UTF-8, without control characters)")
    return value


def refuse_password(url: str | None) -> None:
    """Raises SettingsError where `url` holds a password: arguments show in the list of processes."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        secret = "@" in url
    if secret:
        raise SettingsError(
            "--database-url has a password in it, which everybody on this machine could read in the list of "
            "processes; set OUTBOX_DATABASE_URL instead"
        )
