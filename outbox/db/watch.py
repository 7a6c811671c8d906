"""Notices commits to a SQLite file: asks now and then, and often for a while where Linux says that it was written to.

Asking costs microseconds, but being woken a hundred times a second for it costs a percent of a core.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from outbox.db.wake import DataVersion

FIRST, OFTEN, SELDOM = 0.001, 0.008, 0.2
"""Seconds between questions: the first after a write, which is not a commit yet; soon afterwards, doubling; else."""

ALERT = 0.25
"""Seconds for which questions come often after a write."""

_IN_MODIFY = 0x2


class FileWatch:
    """Calls `on_commit` in the running loop until closed. Where nobody tells of writes, it asks often."""

    def __init__(self, path: Path | str, on_commit: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._version = DataVersion(path)
        self._on_commit = on_commit
        self._log = f"{Path(path).absolute()}-wal"
        self._inotify = _watch(self._log)
        self._told = False  # of a write, since when nobody needs to tell us
        self._alert_until = 0.0
        if self._inotify is not None:
            self._loop.add_reader(self._inotify, self._written)
        self._pause = OFTEN
        self._timer = self._loop.call_later(self._pause, self._look)

    def close(self) -> None:
        """Ask no more."""
        self._timer.cancel()
        self._stop_listening()
        self._version.close()

    def _written(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify)
        self._told = True
        self._alert_until = self._loop.time() + ALERT
        self._timer.cancel()
        self._pause = FIRST
        self._timer = self._loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        changed, now = self._version.changed(), self._loop.time()
        if changed:
            self._alert_until = now + ALERT
            self._on_commit()
            if self._pause == SELDOM and not self._drained():
                self._stop_listening()  # another log has taken its place, or this is no place for it
        if self._inotify is None:
            self._pause = OFTEN
        elif now < self._alert_until:
            self._pause = min(2 * self._pause, OFTEN)
        elif self._told:
            self._drained()
            self._loop.add_reader(self._inotify, self._written)
            self._told, self._pause = False, OFTEN  # once more, for what was written just before
        else:
            self._pause = SELDOM
        self._timer = self._loop.call_later(self._pause, self._look)

    def _drained(self) -> bool:
        """Whether there was something to read; there is nothing now."""
        if self._inotify is None:
            return False
        try:
            return bool(os.read(self._inotify, 1 << 16))
        except BlockingIOError:
            return False

    def _stop_listening(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = None


def _watch(path: str) -> int | None:
    """A descriptor that can be read when the file at `path` was written to; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return int(descriptor)
