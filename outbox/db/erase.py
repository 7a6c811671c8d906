"""Erasing the content of emails: sensitive ones as they become final, in that transaction, others when they are old."""

from collections.abc import Collection

from sqlalchemy import Connection, delete, null, true, update

from outbox.db.models import Attachment, Email


def erase(connection: Connection, ids: Collection[int]) -> None:
    """Bodies, context and attachments are gone for good; addresses and subject stay, to tell what it was."""
    if not ids:
        return
    gone = {"body_text": null(), "body_html": null(), "context": null(), "erased": true()}
    connection.execute(update(Email).where(Email.id.in_(ids)).values(gone))
    connection.execute(delete(Attachment).where(Attachment.outbox_id.in_(ids)))
