"""PostgreSQL only: whoever inserts emails, in any language, wakes the pollers with the commit.

`ALTER DATABASE … SET outbox.notify = 'off'` (or ROLE, or a session's SET) leaves it out.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOCK = 0x6F7574626F786E  # "outboxn"; any number that nobody else uses for an advisory lock

# Commits that notify wait for each other, so of transactions that overlap one is enough: who is busy is awake. Once for
# each statement, and without a payload: equal notifications of one transaction are one.
NOTIFY = (
    f"""
    CREATE FUNCTION email_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_try_advisory_xact_lock({LOCK}) THEN
            NOTIFY email_outbox;
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER email_outbox_inserted AFTER INSERT ON email_outbox FOR EACH STATEMENT
    WHEN (current_setting('outbox.notify', true) IS DISTINCT FROM 'off') EXECUTE FUNCTION email_outbox_notify()
    """,
)


def upgrade() -> None:
    """Add the trigger."""
    if op.get_context().dialect.name == "postgresql":
        for statement in NOTIFY:
            op.execute(statement)


def downgrade() -> None:
    """Polling alone finds new emails."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TRIGGER email_outbox_inserted ON email_outbox")
        op.execute("DROP FUNCTION email_outbox_notify()")
