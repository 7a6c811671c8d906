"""INSERT with ON CONFLICT, which every database spells its own way."""

from typing import TYPE_CHECKING

from outbox.db.models import Base

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def conflict_insert(table: type[Base], dialect: str) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT into `table` that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table)
    from sqlalchemy.dialects.postgresql import insert  # not loaded where it is not needed: it takes its time

    return insert(table)
