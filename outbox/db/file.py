"""Notices that a SQLite file was deleted or replaced. SQLite would go on in the old file, which nobody else sees."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

_FILES = "outbox_files"

Identity = tuple[int, int] | None


def identity(path: str) -> Identity:
    """Which file it is that lies at `path`; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # a microsecond, and it is asked often
    except OSError:
        return None
    return found.st_dev, found.st_ino


class WatchedFile:
    """The file of one engine. What is wrong with it is raised as SQLite would raise it, whenever it is to be used."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = False

    def watch(self, engine: Engine) -> None:
        """Look at every connection that is made, and at every use of one."""
        event.listen(engine, "do_connect", self._probe)
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "checkout", self._compare)

    def _probe(self, _dialect: Any, _record: Any, arguments: list[Any], keywords: dict[str, Any]) -> None:
        """A file that was there is not made anew; the one that is missed may come back.

        A file that cannot be opened is met here, because aiosqlite's thread would outlive it and complain to nobody.
        """
        if self._known and not Path(self._path).exists():
            raise sqlite3.OperationalError(f"{self._path} is gone")
        sqlite3.connect(*arguments, **keywords).close()
        self._known = True

    def _files(self) -> tuple[Identity, Identity]:
        return identity(self._path), identity(f"{self._path}-shm")

    def _remember(self, _connection: Any, record: Any) -> None:
        record.info[_FILES] = self._files()

    def _compare(self, _connection: Any, record: Any, _proxy: Any) -> None:
        file, log = self._files()
        was_file, was_log = record.info[_FILES]
        if file == was_file:
            return
        if file is not None and log is not None and log == was_log:
            raise sqlite3.OperationalError(
                f"{self._path} was replaced beside the log of the file before it: stop whatever uses it, remove "
                f"{self._path}-wal and {self._path}-shm, put the file in place again"
            )
        raise DisconnectionError(f"{self._path} is another file now")
