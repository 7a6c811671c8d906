"""Alembic's entry: runs migrations on the connection it is given, or on the one the settings name."""

import asyncio
from logging.config import fileConfig

from alembic import context
from sqlalchemy import Connection

from outbox.db.engine import create_engine
from outbox.db.models import Base
from outbox.db.schema import VERSION_TABLE, is_outbox, lock_schema
from outbox.settings import Settings


def run(connection: Connection) -> None:
    """Migrate, one process at a time, in the transaction that `connection` is in."""
    lock_schema(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        include_name=is_outbox,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    """For the `alembic` command."""
    engine = create_engine(Settings.load().database_url.get_secret_value())
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def write_sql() -> None:
    """For `alembic upgrade --sql`."""
    dialect = create_engine(Settings.load().database_url.get_secret_value()).dialect.name
    context.configure(dialect_name=dialect, version_table=VERSION_TABLE, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    if context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        write_sql()
    else:
        asyncio.run(connect_and_run())
