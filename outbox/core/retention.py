"""How long emails are kept that have ended. Pure."""

from dataclasses import dataclass

from outbox.core.status import FINAL, Status

ENDED = tuple(status for status in Status if status in FINAL and status is not Status.IN_DOUBT)
"""What is meant where no status is named. A row in doubt waits for a person, however long."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Emails that ended in `status` more than `age` seconds ago are deleted, or lose their content."""

    status: Status
    age: float
    content_only: bool
