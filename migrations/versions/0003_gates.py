"""Where an email waits (`route`), what waits for a person (`held`), and the limits that all pollers share.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

DUE = sa.text("due_at IS NOT NULL")
GATE = "coalesce(route, transport, '')"
TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]"


def upgrade() -> None:
    """The queue is looked up by gate: emails that cannot go now are in nobody's way."""
    op.add_column("email_outbox", sa.Column("route", sa.Text))
    # Only what is stored can be indexed on PostgreSQL, which therefore writes the table anew.
    op.add_column("email_outbox", sa.Column("gate", sa.Text, sa.Computed(GATE, persisted=not _on_sqlite())))
    op.add_column("email_outbox", sa.Column("held", sa.Boolean))
    op.add_column("email_transport", sa.Column("rate_state", sa.Text))
    op.create_table(
        "email_limit",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("next_send_at", _time()),
        sa.Column("rate_state", sa.Text),
        sa.Column("used_at", _time(), nullable=False, server_default=_now()),
        sa.PrimaryKeyConstraint("name", name="pk_email_limit"),
        *_time_checks("next_send_at", "used_at"),
    )
    op.create_index("ix_email_limit_used_at", "email_limit", ["used_at"])
    op.drop_index("ix_email_outbox_due", "email_outbox")
    _due_index("gate", "priority", "due_at", "id")


def downgrade() -> None:
    """Whatever was held is pending without end; `due_at` is what remains of it."""
    op.drop_index("ix_email_outbox_due", "email_outbox")
    _due_index("priority", "due_at", "id")
    op.drop_table("email_limit")
    op.drop_column("email_transport", "rate_state")
    op.drop_column("email_outbox", "held")
    op.drop_column("email_outbox", "gate")
    op.drop_column("email_outbox", "route")


def _due_index(*columns: str) -> None:
    op.create_index("ix_email_outbox_due", "email_outbox", [*columns], sqlite_where=DUE, postgresql_where=DUE)


def _on_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def _time() -> sa.types.TypeEngine[object]:
    return sa.Text() if _on_sqlite() else sa.DateTime(timezone=True)


def _now() -> sa.TextClause:
    return sa.text("(strftime('%Y-%m-%d %H:%M:%f', 'now'))" if _on_sqlite() else "now()")


def _time_checks(*columns: str) -> list[sa.CheckConstraint]:
    if not _on_sqlite():
        return []
    return [
        sa.CheckConstraint(
            f"{column} IS NULL OR (typeof({column}) = 'text'"
            f" AND ({column} GLOB '{TIME}' OR {column} GLOB '{TIME}.[0-9]*')"
            f" AND substr({column}, 21) NOT GLOB '*[^0-9]*' AND instr({column}, char(0)) = 0"
            f" AND {column} >= '0001'"
            f" AND datetime(substr({column}, 1, 19), '+0 seconds') IS substr({column}, 1, 19))",
            name=f"{column} must be UTC as YYYY-MM-DD HH:MM:SS",
        )
        for column in columns
    ]
