"""INSERT with ON CONFLICT, which every database spells its own way."""

from sqlalchemy.dialects import postgresql, sqlite

from outbox.db.models import Base


def conflict_insert(table: type[Base], dialect: str) -> sqlite.Insert | postgresql.Insert:
    """An INSERT into `table` that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
