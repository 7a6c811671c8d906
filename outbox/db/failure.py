"""What the drivers raise, as one line that a person can read."""

from sqlalchemy.exc import SQLAlchemyError

from outbox.core.errors import DatabaseError
from outbox.core.text import clean_text

FAILURES = (SQLAlchemyError, OSError)
"""What a database that fails makes the drivers raise; TimeoutError is an OSError."""


def database_error(error: BaseException) -> DatabaseError:
    """The error to raise in place of one of FAILURES. Drivers do not repeat the password; SQLAlchemy repeats the
    statement and its parameters, so only the driver's own words are used."""
    said = getattr(error, "orig", None) or ("" if isinstance(error, SQLAlchemyError) else error)
    return DatabaseError(f"the database cannot be used: {clean_text(str(said), 300) or type(error).__name__}")
