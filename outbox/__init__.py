"""Send the email your database has already committed.

    from outbox import Attachment, Email, enqueue

    session.add(Email(to="ada@example.org", subject="Hi", text="Hello"))   # in your transaction

These names need nothing but SQLAlchemy. `Poller` and `Settings`, which send, are loaded on first use.
"""

from typing import TYPE_CHECKING, Any

from outbox.core.unsubscribe import unsubscribe
from outbox.db.models import Attachment, Email
from outbox.enqueue import enqueue, enqueue_sync
from outbox.invitation import invitation

if TYPE_CHECKING:
    from outbox.daemon import Poller
    from outbox.settings import Settings

__all__ = ["Attachment", "Email", "Poller", "Settings", "enqueue", "enqueue_sync", "invitation", "unsubscribe"]


def __getattr__(name: str) -> Any:
    """An application that only inserts must not pay for aiosmtplib, Jinja2 and pydantic."""
    if name == "Poller":
        from outbox.daemon import Poller

        return Poller
    if name == "Settings":
        from outbox.settings import Settings

        return Settings
    raise AttributeError(f"module 'outbox' has no attribute {name!r}")
