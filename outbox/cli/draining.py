"""`run --drain`: how many due emails are left, while it runs and after Ctrl-C."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from outbox.cli.access import database
from outbox.cli.output import complain
from outbox.cli.progress import Bar
from outbox.core.errors import INTERRUPTED, DatabaseError
from outbox.core.logs import LogFormat

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from outbox.settings import Settings

LOOK_INTERVAL = 0.5
"""Seconds between looks at the queue, at least."""

SHARE = 20
"""A look is followed by this many times as long without one: counting a long queue takes its time."""


def drain(settings: "Settings", run: Callable[[], int]) -> int:
    """The exit code of `run`, which is watched from beside where stderr is a terminal for people."""
    before = asyncio.run(_due(settings))
    with _watched(settings, before):
        code = run()
    if code == INTERRUPTED:
        left = asyncio.run(_due(settings))
        done = max(0, before - left)
        complain(f"interrupted: {done:,} of {before:,} due emails are done; the same command goes on with the rest")
    return code


async def _due(settings: "Settings") -> int:
    async with database(settings) as engine:
        return await _count(engine)


async def _count(engine: "AsyncEngine") -> int:
    from outbox.db.failure import told
    from outbox.db.operations import Operations

    with told(engine.url):
        return await Operations(engine).due()


@contextmanager
def _watched(settings: "Settings", before: int) -> Iterator[None]:
    if not sys.stderr.isatty() or settings.log_format is LogFormat.JSON:  # whose lines a bar would break
        yield
        return
    ended = threading.Event()
    with Bar("draining", before) as bar:
        watcher = threading.Thread(target=lambda: asyncio.run(_watch(settings, before, bar, ended)), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


async def _watch(settings: "Settings", before: int, bar: Bar, ended: threading.Event) -> None:
    """From a thread, since `run` has a loop, or processes, of its own. What is counted is only shown."""
    shown = 0
    async with database(settings) as engine:
        while not ended.is_set():
            began = time.monotonic()
            try:
                done = max(shown, before - await _count(engine))
            except DatabaseError:
                done = shown  # the poller tells
            bar.advance(done - shown)
            shown = done
            await asyncio.to_thread(ended.wait, max(LOOK_INTERVAL, SHARE * (time.monotonic() - began)))
