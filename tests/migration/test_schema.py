"""Migrating, on both databases: what comes of it, who may do it, and what it leaves alone."""

import asyncio
import re
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.errors import DatabaseError
from outbox.db.engine import create_engine
from outbox.db.models import Base
from outbox.db.schema import HEAD, VERSION_TABLE, migrate, migrations, require_schema

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def empty_engine(empty_database):
    engine = create_engine(empty_database)
    yield engine
    await engine.dispose()


def ini(connection: Connection) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["connection"] = connection
    return config


async def schema(engine: AsyncEngine) -> dict[tuple[str, str], list[str]]:
    """Everything that makes the schema, as the database tells it: tables, constraints, indexes, triggers, functions."""
    if engine.dialect.name == "sqlite":
        query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    else:
        query = """
            SELECT 'column', table_name || '.' || column_name,
                concat_ws(' ', data_type, column_default, is_nullable, is_identity)
            FROM information_schema.columns WHERE table_schema = 'public'
            UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL SELECT 'function', proname, '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """
    async with engine.connect() as connection:
        rows = (await connection.execute(text(query))).all()
    return {(kind, name): _parts(definition) for kind, name, definition in rows if "alembic" not in name}


def _parts(definition: str) -> list[str]:
    """The parts of a definition, whatever their order and spacing: what is between the commas of its outer brackets."""
    words, depth, parts = re.split(r"([(),])", definition), 0, [""]
    for word in words:
        depth += {"(": 1, ")": -1}.get(word, 0)
        if (word, depth) in {(",", 1), ("(", 1), (")", 0)}:
            parts.append("")
        else:
            parts[-1] += word
    return sorted(re.sub(r"\(\s+", "(", " ".join(part.split())) for part in parts)


async def test_migrating_tells_the_revisions_and_is_done_once(empty_engine):
    assert await migrate(empty_engine) == (None, HEAD)
    assert await migrate(empty_engine) == (HEAD, HEAD)
    await require_schema(empty_engine)


@pytest.mark.parametrize(
    ("lose", "how"), [(f"DELETE FROM {VERSION_TABLE}", "is empty"), (f"DROP TABLE {VERSION_TABLE}", "is missing")]
)
async def test_tables_of_an_unknown_revision_are_told_with_the_way_out(engine, execute, lose, how):
    await execute(lose)
    for work in (migrate, require_schema):
        with pytest.raises(DatabaseError, match=f"{VERSION_TABLE}, which tells its revision, {how}") as caught:
            await work(engine)
    assert "\n" not in str(caught.value)
    for statement in str(caught.value).partition("say so: ")[2].split(";"):
        await execute(statement)
    assert await migrate(engine) == (HEAD, HEAD)


async def test_an_empty_version_table_alone_is_no_obstacle(empty_engine):
    await migrate(empty_engine)
    async with empty_engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(ini(c), "base"))
    with pytest.raises(DatabaseError, match="outbox migrate"):
        await require_schema(empty_engine)
    assert await migrate(empty_engine) == (None, HEAD)


async def test_migrated_and_modelled_schema_are_the_same(empty_engine):
    await migrate(empty_engine)
    migrated = await schema(empty_engine)
    extra = {name: migrated.pop(name) for name in list(migrated) if name[0] in {"trigger", "function"}}
    assert extra, "the triggers exist in migrations only"
    async with empty_engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(ini(c), "base"))
        await connection.run_sync(Base.metadata.create_all)
    modelled = await schema(empty_engine)
    assert modelled == migrated


async def test_alembic_proposes_no_change(engine):
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.check(ini(c)))


async def test_downgrading_leaves_nothing_and_the_way_up_is_open_again(engine):
    before = await schema(engine)
    async with engine.begin() as connection:
        await connection.run_sync(lambda c: command.downgrade(ini(c), "base"))
    assert await schema(engine) == {}
    assert await migrate(engine) == (None, HEAD)
    assert await schema(engine) == before


async def test_a_failed_migration_changes_nothing(empty_engine):
    async with empty_engine.begin() as connection:
        await connection.execute(text("CREATE TABLE email_attempt (mine INTEGER)"))
    with pytest.raises(DatabaseError, match="email_attempt"):
        await migrate(empty_engine)
    async with empty_engine.connect() as connection:
        assert await connection.run_sync(lambda c: inspect(c).get_table_names()) == ["email_attempt"]


async def test_processes_that_migrate_at_once_take_turns(empty_database):
    engines = [create_engine(empty_database) for _ in range(3)]
    done = await asyncio.gather(*(migrate(engine) for engine in engines))
    for engine in engines:
        await engine.dispose()
    assert sorted(before or "" for before, _ in done) == ["", HEAD, HEAD]


async def test_a_database_without_tables_says_what_to_do(empty_engine):
    with pytest.raises(DatabaseError, match="no outbox tables: run `outbox migrate`"):
        await require_schema(empty_engine)


@pytest.mark.parametrize(("revision", "advice"), [("9999", "upgrade outbox"), ("0000", "run `outbox migrate`")])
async def test_a_schema_of_another_version_says_what_to_do(engine, execute, revision, advice):
    await execute(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")
    with pytest.raises(DatabaseError, match=advice):
        await require_schema(engine)


async def test_an_older_outbox_never_migrates_a_newer_schema(engine, execute):
    await execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="upgrade outbox"):
        await migrate(engine)


@pytest.mark.parametrize("work", [migrate, require_schema])
@pytest.mark.parametrize(
    "url", ["postgresql://u:sekret@127.0.0.1:1/d", "postgresql:///d?host=/nowhere", "sqlite:////nowhere/outbox.db"]
)
async def test_a_database_out_of_reach_is_one_line_without_its_password(work, url):
    engine = create_engine(url)
    with pytest.raises(DatabaseError, match=r"^the database \S+/\S+ cannot be used: \S") as caught:
        await work(engine)
    await engine.dispose()
    assert "sekret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_postgresql_database_that_does_not_exist_is_named(postgres_server):
    engine = create_engine(postgres_server.url("absent"))
    with pytest.raises(DatabaseError, match='database "absent" does not exist'):
        await require_schema(engine)
    await engine.dispose()


def test_the_head_in_the_code_is_the_head_of_the_migrations():
    config = Config()
    config.set_main_option("script_location", str(migrations()))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    assert migrations() == ROOT / "migrations"
