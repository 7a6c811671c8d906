"""Checkpoints of SQLite's write-ahead log that are safe on the versions with the WAL-reset bug.

On those, a checkpoint that starts when everything is checkpointed already, while another connection commits and begins
the log anew, makes a later one skip commits. So there none of our connections checkpoints by itself; we do it from time
to time, while one of our own transactions keeps everybody from committing. See docs/decisions/0013-sqlite-wal-reset.md.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

log = logging.getLogger("outbox.sqlite")

Version = tuple[int, int, int]

_FIXED = (3, 51, 3)
_BACKPORTS: tuple[Version, ...] = ((3, 50, 7), (3, 44, 6))

FRAMES = 500
"""Pages that the log should hold at a checkpoint. Half of SQLite's own limit, at which connections of the application
that still checkpoint by themselves would begin to."""

SELDOM = 64
"""Transactions between two checkpoints, at most."""

INTERVAL = 10.0
"""Seconds between two checkpoints, at most, where anything is written."""


def has_wal_reset_bug(version: Version) -> bool:
    """Whether this version of SQLite can corrupt a file in WAL mode that several connections write and checkpoint."""
    if any(version[:2] == fixed[:2] and version >= fixed for fixed in _BACKPORTS):
        return False
    return (3, 7, 0) <= version < _FIXED


@dataclass(frozen=True, slots=True)
class SqliteFacts:
    """The SQLite that this Python has, and what to tell people about it; None where it is in order."""

    version: str
    warning: str | None


def sqlite_facts() -> SqliteFacts:
    """What is known of the SQLite that this Python has. The application's may be another."""
    version = sqlite3.sqlite_version
    if not has_wal_reset_bug(sqlite3.sqlite_version_info):
        return SqliteFacts(version, None)
    return SqliteFacts(
        version,
        f"{version} has the WAL-reset bug, which can corrupt a file that several connections checkpoint. Upgrade to "
        "3.51.3, 3.50.7 or 3.44.6. Until then outbox makes the checkpoints; give every connection of the application "
        "PRAGMA wal_autocheckpoint=0",
    )


class Checkpoints:
    """The checkpoints of one file: when they are due, and made on a connection of their own."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._every = 8
        self._begun = 0
        self._last = clock()

    def prepare(self, connection: Any) -> None:
        """Call this for every connection made. It will not checkpoint by itself."""
        cursor = connection.cursor()
        cursor.execute("PRAGMA wal_autocheckpoint=0")
        cursor.close()
        connection.create_function("outbox_checkpoint", 0, self._checkpoint)

    def before_writing(self, connection: Connection) -> None:
        """Call this in every transaction that holds the write lock and has written nothing. May end and renew it.

        SQLite calls our function in the thread of the connection that holds the lock: whatever becomes of whoever
        waits for it, the lock cannot be let go before the function is done. The transaction ends without a write,
        because the log can be begun anew only where nothing follows the checkpoint.
        """
        self._begun += 1
        if self._begun < self._every and self._clock() - self._last < INTERVAL:
            return
        connection.exec_driver_sql("SELECT outbox_checkpoint()").scalar()
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _checkpoint(self) -> None:
        self._begun, self._last = 0, self._clock()
        try:
            self._pace(_checkpoint_passively(self._path))
        except sqlite3.Error as error:  # the transaction that waits for us is worth more
            log.warning("the write-ahead log was not checkpointed: %s", error)

    def _pace(self, frames: int) -> None:
        """Nobody can ask how long the log is without a checkpoint; so the next one goes by what this one has found."""
        if frames > FRAMES:
            self._every = max(1, self._every // 2)
        elif frames < FRAMES // 2:
            self._every = min(SELDOM, self._every * 2)


def _checkpoint_passively(path: str) -> int:
    """Pages in the log. PASSIVE waits for nobody, and leaves what readers still need for the next time."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # A checkpoint of a file that is mapped into memory turned the bug's wrong page into a broken file elsewhere.
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA synchronous=FULL")
        _busy, frames, _done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(frames)
    finally:
        connection.close()
