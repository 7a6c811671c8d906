"""Hints that there may be emails to send: commits of this process, and of others on a SQLite file.

What others commit to PostgreSQL is heard of by `listen`. Polling is the truth.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text

from outbox.db.file import identity
from outbox.db.models import Email

CHANNEL = "email_outbox"
"""Of PostgreSQL's NOTIFY; a trigger of the table uses it when emails are inserted."""

_NOTIFY = text(
    f"SELECT pg_notify('{CHANNEL}', '') WHERE current_setting('outbox.notify', true) IS DISTINCT FROM 'off'"  # noqa: S608  # no input
)
_MARK = "outbox_committed"
_subscribers: list[Callable[[], object]] = []


def subscribe(callback: Callable[[], object]) -> Callable[[], None]:
    """Call `callback` after every commit of this process that inserted emails; the answer ends it.

    It is called in the thread that commits: give `loop.call_soon_threadsafe` to reach a loop.
    """

    def unsubscribe() -> None:
        _subscribers.remove(entry)

    def entry() -> None:  # an own object, so that the same callback can be subscribed twice
        callback()

    _subscribers.append(entry)
    return unsubscribe


def announce(connection: Connection) -> None:
    """Tell the subscribers once the transaction that `connection` is in has committed.

    They are told when the connection goes back to its pool: of what SQLAlchemy reports, the first moment that is surely
    after the commit. After a rollback nobody is told.
    """
    if not event.contains(connection, "commit", _mark):
        event.listen(connection, "commit", _mark)
    pool = connection.engine.pool
    if not event.contains(pool, "checkin", _tell):
        event.listen(pool, "checkin", _tell)


def call(connection: Connection) -> None:
    """Wake all pollers once this transaction has committed: it made emails due that are not new. On SQLite they look
    for every commit."""
    announce(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY)


def _mark(connection: Connection) -> None:
    connection.info[_MARK] = True


def _tell(_dbapi_connection: Any, record: Any) -> None:
    if record.info.pop(_MARK, False):
        for subscriber in tuple(_subscribers):
            subscriber()


@event.listens_for(Email, "after_insert")
def _inserted(_mapper: Any, connection: Connection, _email: Email) -> None:
    announce(connection)


class DataVersion:
    """Tells whether another connection has committed to a SQLite file (`PRAGMA data_version`): microseconds per call,
    and no lock is waited for, so it can be asked from the event loop."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(Path(path).absolute())
        self._file = identity(self._path)
        self._connection: sqlite3.Connection | None = None
        self._seen = 0
        self.changed()

    def changed(self) -> bool:
        """Whether there was a commit since the last call, or since the start. False where nobody can tell, and for a
        file that has taken the place of ours: more questions do not help a file in trouble."""
        try:
            self._connection = self._connection or self._open()
            before, self._seen = self._seen, _version(self._connection)
        except sqlite3.Error:
            self.close()
            return False
        return self._seen != before and identity(self._path) == self._file

    def close(self) -> None:
        """Close its connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        uri = f"{Path(self._path).as_uri()}?mode=rw"  # read-only could not open a file in WAL mode alone
        return sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
