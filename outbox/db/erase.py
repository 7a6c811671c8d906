"""Erasing the content of sensitive emails, in the transaction that makes them final."""

from collections.abc import Collection

from sqlalchemy import Connection, delete, null, update

from outbox.db.models import Attachment, Email


def erase(connection: Connection, ids: Collection[int]) -> None:
    """Bodies, context and attachments are gone for good; addresses and subject stay, to tell what it was."""
    if not ids:
        return
    gone = {"body_text": null(), "body_html": null(), "context": null()}
    connection.execute(update(Email).where(Email.id.in_(ids)).values(gone))
    connection.execute(delete(Attachment).where(Attachment.outbox_id.in_(ids)))
