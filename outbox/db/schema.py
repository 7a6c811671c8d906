"""The schema as a whole: migrating it, requiring it, and telling its tables from an application's own."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.errors import DatabaseError
from outbox.db.engine import read_only
from outbox.db.failure import FAILURES, database_error
from outbox.db.models import Base, Email

HEAD = "0005"
"""The newest revision. Revisions are numbered, so that an older outbox knows a newer schema when it sees one."""

VERSION_TABLE = "outbox_alembic_version"
"""Our own, beside the `alembic_version` of an application in the same database."""

_TABLES = frozenset({*Base.metadata.tables, VERSION_TABLE})
_LOCK = 0x6F7574626F78  # "outbox"; any number that nobody else uses for a PostgreSQL advisory lock


def is_outbox(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Alembic's `include_name` hook for our own environment: only our tables."""
    table = name if type_ == "table" else parent_names.get("table_name")
    return table is None or table in _TABLES


def not_outbox(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Alembic's `include_name` hook for an application's `env.py`: all tables but ours.

    `context.configure(…, include_name=not_outbox)` keeps autogenerate from proposing to drop the outbox.
    """
    table = name if type_ == "table" else parent_names.get("table_name")
    return table not in _TABLES


def migrations() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def lock_schema(connection: Connection) -> None:
    """Until this transaction ends nobody else migrates. SQLite's IMMEDIATE transaction is such a lock already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def migrate(engine: AsyncEngine) -> tuple[str | None, str]:
    """Create or upgrade the schema, in one transaction; the revision before and after. Raises DatabaseError."""
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade)
    except FAILURES as error:
        raise database_error(error, engine.url) from error


async def require_schema(engine: AsyncEngine) -> None:
    """Raises DatabaseError, which says what to do, where the schema is not exactly the one this code is for."""
    try:
        async with read_only(engine).connect() as connection:
            found = await connection.run_sync(_revision)
    except FAILURES as error:
        raise database_error(error, engine.url) from error
    _refuse_newer(found)
    if found is None:
        raise DatabaseError("the database has no outbox tables: run `outbox migrate`")
    if found != HEAD:
        raise DatabaseError(f"the outbox tables are at revision {found}, not {HEAD}: run `outbox migrate`")


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    from alembic import command
    from alembic.config import Config

    lock_schema(connection)
    before = _revision(connection)
    _refuse_newer(before)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    command.upgrade(config, "head")
    return before, HEAD


def _revision(connection: Connection) -> str | None:
    """The revision of the tables, None where there are none. Raises DatabaseError where nobody can tell."""
    known = inspect(connection)
    numbered = known.has_table(VERSION_TABLE)
    if numbered:
        revision = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  # a constant
        if found := connection.execute(revision).scalar_one_or_none():
            return str(found)
    if known.has_table(Email.__tablename__):
        raise DatabaseError(_revision_lost("is empty" if numbered else "is missing"))
    return None


def _revision_lost(how: str) -> str:
    create = "" if how == "is empty" else f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY); "
    insert = f"INSERT INTO {VERSION_TABLE} VALUES ('{HEAD}')"  # noqa: S608  # constants, shown to a person
    return (
        f"there is a table {Email.__tablename__}, but {VERSION_TABLE}, which tells its revision, {how}: restore it, "
        f"or, if the tables are those of revision {HEAD}, say so: {create}{insert}"
    )


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > HEAD:
        raise DatabaseError(f"the outbox tables are at revision {found}, newer than this version: upgrade outbox")
