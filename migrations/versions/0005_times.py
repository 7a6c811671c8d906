"""Times of any precision on SQLite, and ends in years that there are on PostgreSQL.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("email_outbox", "email_attempt", "email_poller", "email_transport", "email_limit")
TIMES = (
    *("due_at", "expires_at", "created_at", "finished_at", "attempted_at"),
    *("seen_at", "started_at", "paused_until", "next_send_at", "used_at"),
)
REAL_YEAR = "finished_at must be between the years 1 and 9999"


def upgrade() -> None:
    """On SQLite, tables made before: their CHECKs had SQLite round to milliseconds, and refused each time that was
    rounded up to the next second."""
    if op.get_context().dialect.name == "sqlite":
        if not op.get_context().as_sql:  # a script cannot look; what it makes from the first revision on is right
            _repair(op.get_bind())
        return
    condition = "finished_at >= '0001-01-02 00:00:00+00' AND finished_at < '9999-12-31 00:00:00+00'"
    op.execute(f"UPDATE email_outbox SET finished_at = created_at WHERE NOT ({condition})")  # noqa: S608  # a constant
    op.create_check_constraint(REAL_YEAR, "email_outbox", condition)


def downgrade() -> None:
    """What is wrong does not come back."""
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint(REAL_YEAR, "email_outbox", type_="check")


def _repair(connection: sa.Connection) -> None:
    """Write the definitions anew, as SQLite's documentation of ALTER TABLE has it for a CHECK: no row is touched."""
    wanted = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name IN :tables")
    found = connection.execute(wanted.bindparams(sa.bindparam("tables", TABLES, expanding=True))).all()
    repaired = {name: new for name, sql in found if (new := _with_new_checks(sql)) != sql}
    if not repaired:
        return
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for name, sql in repaired.items():
        connection.exec_driver_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, name))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")  # has every connection read them again
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def _with_new_checks(sql: str) -> str:
    for column in TIMES:
        sql = sql.replace(f"datetime({column}, '+0 seconds')", f"datetime(substr({column}, 1, 19), '+0 seconds')")
    return sql
