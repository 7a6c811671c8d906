"""An application with an Alembic of its own in the same database, the `alembic` command, and the wheel."""

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.db.engine import create_engine
from outbox.db.schema import HEAD, VERSION_TABLE, migrate

ROOT = Path(__file__).parents[2]

APPLICATION_ENV = """
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table
from outbox.db.schema import not_outbox

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True))
context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, include_name=not_outbox
)
with context.begin_transaction():
    context.run_migrations()
"""


@pytest.fixture
def application(tmp_path):
    """The configuration of an application's own Alembic, with one generated migration still to come."""
    folder = tmp_path / "application"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(APPLICATION_ENV)
    (folder / "script.py.mako").write_text((ROOT / "migrations" / "script.py.mako").read_text())
    config = Config()
    config.set_main_option("script_location", str(folder))

    async def run(engine, name, **options):
        def work(connection):
            config.attributes["connection"] = connection
            script = getattr(command, name)(config, **options)
            return Path(script.path).read_text() if script else None

        async with engine.begin() as connection:
            return await connection.run_sync(work)

    return run


async def tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


async def test_an_applications_own_alembic_and_ours_leave_each_other_alone(engine, application):
    ours = await tables(engine)
    generated = await application(engine, "revision", autogenerate=True, message="orders", rev_id="a1")
    assert "orders" in generated
    assert "email_" not in generated
    assert VERSION_TABLE not in generated
    await application(engine, "upgrade", revision="head")
    await application(engine, "check")
    assert await tables(engine) == ours | {"orders", "alembic_version"}
    config = Config(ROOT / "alembic.ini")
    async with engine.begin() as connection:
        config.attributes["connection"] = await connection.run_sync(lambda c: c)
        await connection.run_sync(lambda _: command.check(config))
        await connection.run_sync(lambda _: command.downgrade(config, "base"))
    assert await tables(engine) == {"orders", "alembic_version", VERSION_TABLE}
    assert await migrate(engine) == (None, HEAD)
    assert await tables(engine) == ours | {"orders", "alembic_version"}


def run(*command_line: str) -> str:
    """The output of a Python module, or of `-c` code, that must succeed."""
    how = () if command_line[0] == "-c" else ("-m",)
    done = subprocess.run([sys.executable, *how, *command_line], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_alembic_command_in_the_checkout_does_the_same(empty_database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", empty_database)
    run("alembic", "-c", str(ROOT / "alembic.ini"), "upgrade", "head")
    assert asyncio.run(migrated(empty_database)) == (HEAD, HEAD)
    assert "CREATE TABLE email_outbox" in run("alembic", "-c", str(ROOT / "alembic.ini"), "upgrade", "head", "--sql")


async def migrated(url: str) -> tuple[str | None, str]:
    engine = create_engine(url)
    try:
        return await migrate(engine)
    finally:
        await engine.dispose()


def test_outbox_migrate_from_the_installed_wheel_creates_the_same_schema(wheel, tmp_path, monkeypatch, empty_database):
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    monkeypatch.setenv("PYTHONPATH", str(installed))  # before the checkout
    monkeypatch.setenv("OUTBOX_DATABASE_URL", empty_database)
    where = run("-c", "import outbox.db.schema as s; print(s.migrations())")
    assert where.strip() == str(installed / "outbox" / "migrations")
    assert run("outbox", "migrate") == f"created the schema ({HEAD})\n"
    assert asyncio.run(migrated(empty_database)) == (HEAD, HEAD)
