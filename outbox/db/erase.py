"""Erasing the content of sensitive emails, in the transaction that makes them final."""

from collections.abc import Collection

from sqlalchemy import delete, null, update
from sqlalchemy.ext.asyncio import AsyncConnection

from outbox.db.models import Attachment, Email


async def erase(connection: AsyncConnection, ids: Collection[int]) -> None:
    """Bodies, context and attachments are gone for good; addresses and subject stay, to tell what it was."""
    if not ids:
        return
    gone = {"body_text": null(), "body_html": null(), "context": null()}
    await connection.execute(update(Email).where(Email.id.in_(ids)).values(gone))
    await connection.execute(delete(Attachment).where(Attachment.outbox_id.in_(ids)))
