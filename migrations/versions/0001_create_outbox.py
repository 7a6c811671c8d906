"""Create the outbox: its six tables, and the triggers that delete what belongs to a deleted email.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATUSES = "'pending', 'sending', 'sent', 'partial', 'failed', 'expired', 'cancelled', 'in_doubt'"
TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]"

# Also where an application's own SQLite connections do not enforce foreign keys.
SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER email_outbox_deleted AFTER DELETE ON email_outbox BEGIN
        DELETE FROM email_attachment WHERE outbox_id = OLD.id;
        DELETE FROM email_attempt WHERE outbox_id = OLD.id;
    END
    """,
    """
    CREATE TRIGGER email_attachment_deleted AFTER DELETE ON email_attachment WHEN OLD.blob_id IS NOT NULL BEGIN
        DELETE FROM email_blob
        WHERE id = OLD.blob_id AND NOT EXISTS (SELECT 1 FROM email_attachment WHERE blob_id = OLD.blob_id);
    END
    """,
)

# The lock makes two transactions that delete the last two users take turns: the second one sees that it is the last.
POSTGRESQL_TRIGGERS = (
    """
    CREATE FUNCTION email_blob_release() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM 1 FROM email_blob WHERE id = OLD.blob_id FOR UPDATE;
        DELETE FROM email_blob
        WHERE id = OLD.blob_id AND NOT EXISTS (SELECT 1 FROM email_attachment WHERE blob_id = OLD.blob_id);
        RETURN NULL;
    EXCEPTION WHEN foreign_key_violation THEN
        RETURN NULL;  -- somebody began to use it meanwhile
    END
    $$
    """,
    """
    CREATE TRIGGER email_attachment_deleted AFTER DELETE ON email_attachment
    FOR EACH ROW WHEN (OLD.blob_id IS NOT NULL) EXECUTE FUNCTION email_blob_release()
    """,
)

# A queue makes dead rows at its head; the defaults would vacuum after a fifth of the whole table has died.
POSTGRESQL_VACUUM = """
    ALTER TABLE email_outbox SET (
        autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0,
        autovacuum_vacuum_insert_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0
    )
    """


def upgrade() -> None:
    """Create everything."""
    _create_outbox()
    _create_attachments()
    _create_attempts()
    _create_states()
    for statement in SQLITE_TRIGGERS if _on_sqlite() else (*POSTGRESQL_TRIGGERS, POSTGRESQL_VACUUM):
        op.execute(statement)


def downgrade() -> None:
    """Drop everything, the emails too."""
    for table in ("email_poller", "email_transport", "email_attempt", "email_attachment", "email_blob", "email_outbox"):
        op.drop_table(table)
    if not _on_sqlite():
        op.execute("DROP FUNCTION email_blob_release()")


def _create_outbox() -> None:
    op.create_table(
        "email_outbox",
        _id(),
        sa.Column("sender", sa.Text),
        sa.Column("to_addrs", sa.Text, nullable=False, server_default=""),
        sa.Column("cc_addrs", sa.Text),
        sa.Column("bcc_addrs", sa.Text),
        sa.Column("reply_to", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("body_text", sa.Text),
        sa.Column("body_html", sa.Text),
        sa.Column("template", sa.Text),
        sa.Column("context", _json()),
        sa.Column("locale", sa.Text),
        sa.Column("headers", _json()),
        sa.Column("priority", _small(), nullable=False, server_default=sa.text("1")),
        sa.Column("due_at", _time(), server_default=_now()),
        sa.Column("expires_at", _time()),
        sa.Column("max_attempts", sa.Integer),
        sa.Column("transport", sa.Text),
        sa.Column("on_doubt", sa.Text, nullable=False, server_default="resend"),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("tag", sa.Text),
        sa.Column("sensitive", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("status", sa.Text, nullable=False, server_default="pending"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("claim_token", sa.Text),
        sa.Column("claimed_by", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", _time(), nullable=False, server_default=_now()),
        sa.Column("finished_at", _time()),
        *_primary_key("email_outbox"),
        sa.UniqueConstraint("idempotency_key", name="uq_email_outbox_idempotency_key"),
        *_outbox_checks(),
        sqlite_autoincrement=True,
    )
    due, finished = sa.text("due_at IS NOT NULL"), sa.text("finished_at IS NOT NULL")
    expires = sa.text("expires_at IS NOT NULL AND due_at IS NOT NULL")
    _partial_index("ix_email_outbox_due", "email_outbox", ["priority", "due_at", "id"], due)
    _partial_index("ix_email_outbox_expires", "email_outbox", ["expires_at"], expires)
    _partial_index("ix_email_outbox_finished", "email_outbox", ["finished_at"], finished)


def _outbox_checks() -> list[sa.CheckConstraint]:
    checks = {
        "status must be one of the known ones": f"status IN ({STATUSES})",
        "priority must be 0 urgent, 1 normal or 2 bulk": "priority IN (0, 1, 2)",
        "on_doubt must be resend or hold": "on_doubt IN ('resend', 'hold')",
        "due_at must be set exactly when status is pending or sending": (
            "(due_at IS NOT NULL) = (status IN ('pending', 'sending'))"
        ),
        "at least one recipient in to_addrs, cc_addrs or bcc_addrs": (
            "trim(to_addrs) <> '' OR trim(coalesce(cc_addrs, '')) <> '' OR trim(coalesce(bcc_addrs, '')) <> ''"
        ),
        "max_attempts must be 1 to 1000": "max_attempts BETWEEN 1 AND 1000",
        "attempts must be 0 to 1000000": "attempts BETWEEN 0 AND 1000000",
    }
    if _on_sqlite():
        checks["sensitive must be 0 or 1"] = "sensitive IN (0, 1)"
    else:
        for column in ("due_at", "expires_at", "created_at"):
            checks[f"{column} must be between the years 1 and 9999"] = (
                f"{column} >= '0001-01-02 00:00:00+00' AND {column} < '9999-12-31 00:00:00+00'"
            )
    named = [sa.CheckConstraint(rule, name=name) for name, rule in checks.items()]
    return [*named, *_time_checks("due_at", "expires_at", "created_at", "finished_at")]


def _create_attachments() -> None:
    op.create_table(
        "email_blob",
        _id(),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        *_primary_key("email_blob"),
        sa.UniqueConstraint("sha256", name="uq_email_blob_sha256"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "email_attachment",
        _id(),
        _email_id("email_attachment"),
        sa.Column("position", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text),
        sa.Column("cid", sa.Text),
        sa.Column("content", sa.LargeBinary),
        sa.Column("blob_id", _big(), sa.ForeignKey("email_blob.id", name="fk_email_attachment_blob_id")),
        *_primary_key("email_attachment"),
        sa.CheckConstraint(
            "(content IS NULL) <> (blob_id IS NULL)", name="an attachment has exactly one of content and blob_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_email_attachment_outbox_id", "email_attachment", ["outbox_id"])
    _partial_index("ix_email_attachment_blob", "email_attachment", ["blob_id"], sa.text("blob_id IS NOT NULL"))


def _create_attempts() -> None:
    op.create_table(
        "email_attempt",
        _id(),
        _email_id("email_attempt"),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("code", sa.Integer),
        sa.Column("enhanced", sa.Text),
        sa.Column("reply", sa.Text),
        sa.Column("transport", sa.Text),
        sa.Column("poller", sa.Text),
        sa.Column("attempted_at", _time(), nullable=False, server_default=_now()),
        *_primary_key("email_attempt"),
        sa.CheckConstraint(
            "outcome IN ('accepted', 'deferred', 'refused', 'in_doubt')", name="outcome must be one of the known ones"
        ),
        *_time_checks("attempted_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_email_attempt_outbox_id", "email_attempt", ["outbox_id"])


def _create_states() -> None:
    op.create_table(
        "email_transport",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("paused_until", _time()),
        sa.Column("reason", sa.Text),
        sa.Column("next_send_at", _time()),
        sa.PrimaryKeyConstraint("name", name="pk_email_transport"),
        *_time_checks("paused_until", "next_send_at"),
    )
    op.create_table(
        "email_poller",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("started_at", _time(), nullable=False, server_default=_now()),
        sa.Column("seen_at", _time(), nullable=False, server_default=_now()),
        sa.PrimaryKeyConstraint("name", name="pk_email_poller"),
        *_time_checks("started_at", "seen_at"),
    )


def _on_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def _big() -> sa.types.TypeEngine[int]:
    return sa.Integer() if _on_sqlite() else sa.BigInteger()


def _small() -> sa.types.TypeEngine[int]:
    return sa.Integer() if _on_sqlite() else sa.SmallInteger()


def _json() -> sa.types.TypeEngine[object]:
    return sa.Text() if _on_sqlite() else sa.JSON()


def _time() -> sa.types.TypeEngine[object]:
    return sa.Text() if _on_sqlite() else sa.DateTime(timezone=True)


def _now() -> sa.TextClause:
    return sa.text("(strftime('%Y-%m-%d %H:%M:%f', 'now'))" if _on_sqlite() else "now()")


def _id() -> sa.Column[int]:
    if _on_sqlite():
        return sa.Column("id", sa.Integer, primary_key=True)
    return sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False)


def _primary_key(table: str) -> list[sa.PrimaryKeyConstraint]:
    """None on SQLite, where only a column's own PRIMARY KEY numbers the rows."""
    return [] if _on_sqlite() else [sa.PrimaryKeyConstraint("id", name=f"pk_{table}")]


def _email_id(table: str) -> sa.Column[int]:
    key = sa.ForeignKey("email_outbox.id", name=f"fk_{table}_outbox_id", ondelete="CASCADE")
    return sa.Column("outbox_id", _big(), key, nullable=False)


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


def _partial_index(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
