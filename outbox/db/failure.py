"""What the drivers raise, as one line that a person can read."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from outbox.core.errors import DatabaseError
from outbox.core.text import clean_text
from outbox.db.url import shown

FAILURES = (SQLAlchemyError, sqlite3.Error, OSError)
"""What a database that fails makes SQLAlchemy and sqlite3 raise; TimeoutError is an OSError."""


def database_error(error: BaseException, url: URL | None = None) -> DatabaseError:
    """The error to raise in place of one of FAILURES; `url` tells which database it was. Drivers do not repeat the
    password; SQLAlchemy repeats the statement and its parameters, so only the driver's own words are used, and of
    those of PostgreSQL not the detail: it repeats the row."""
    words = getattr(error, "orig", None) or ("" if isinstance(error, SQLAlchemyError) else error)
    said = str(words).partition("\nDETAIL:")[0]
    which = f"the database {shown(url)}" if url is not None else "the database"
    return DatabaseError(f"{which} cannot be used: {clean_text(said, 300) or type(error).__name__}")


@contextmanager
def told(url: URL, failures: tuple[type[Exception], ...] = FAILURES) -> Iterator[None]:
    """Raises DatabaseError for what the database `url` fails at in here."""
    try:
        yield
    except failures as error:
        raise database_error(error, url) from error
