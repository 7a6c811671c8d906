"""What has lost its content (`erased`), found by its age; and blobs that nobody has to wait for.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FINISHED = sa.text("finished_at IS NOT NULL")

# Nobody is waited for: two transactions that delete, or one that enqueues, may hold blobs in any order. Whom two delete
# at once, or who is locked, is left to the daemon, which looks for such blobs. Once for each statement, since a look at
# a blob that many have just left passes all of them.
RELEASE = (
    "DROP TRIGGER email_attachment_deleted ON email_attachment",
    """
    CREATE OR REPLACE FUNCTION email_blob_release() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        dead bigint;
    BEGIN
        FOR dead IN SELECT DISTINCT blob_id FROM gone WHERE blob_id IS NOT NULL LOOP
            BEGIN
                DELETE FROM email_blob
                WHERE id = (
                    SELECT id FROM email_blob
                    WHERE id = dead AND NOT EXISTS (SELECT 1 FROM email_attachment WHERE blob_id = dead)
                    FOR UPDATE SKIP LOCKED
                );
            EXCEPTION WHEN foreign_key_violation THEN
                NULL;  -- somebody began to use it meanwhile
            END;
        END LOOP;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER email_attachment_deleted AFTER DELETE ON email_attachment
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION email_blob_release()
    """,
)

RELEASE_BEFORE = (
    "DROP TRIGGER email_attachment_deleted ON email_attachment",
    """
    CREATE OR REPLACE FUNCTION email_blob_release() RETURNS trigger LANGUAGE plpgsql AS $$
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


def upgrade() -> None:
    """Rows that ended before count as erased where they are sensitive; those without `finished_at` get one."""
    op.add_column("email_outbox", sa.Column("erased", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute("UPDATE email_outbox SET erased = sensitive WHERE sensitive AND due_at IS NULL")
    op.execute("UPDATE email_outbox SET finished_at = created_at WHERE due_at IS NULL AND finished_at IS NULL")
    op.drop_index("ix_email_outbox_finished", "email_outbox")
    _finished_index("status", "erased", "finished_at", "id")
    for statement in () if _on_sqlite() else RELEASE:
        op.execute(statement)


def downgrade() -> None:
    """Erased content does not come back."""
    for statement in () if _on_sqlite() else RELEASE_BEFORE:
        op.execute(statement)
    op.drop_index("ix_email_outbox_finished", "email_outbox")
    _finished_index("finished_at")
    op.drop_column("email_outbox", "erased")


def _finished_index(*columns: str) -> None:
    op.create_index(
        "ix_email_outbox_finished", "email_outbox", [*columns], sqlite_where=FINISHED, postgresql_where=FINISHED
    )


def _on_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"
