"""Commands that take long: how far they are, and that they can be interrupted anywhere and go on later."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self


class Bar:
    """How much of `total` is done, on stderr; nothing is shown without a total."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._total is not None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(self._title, total=self._total)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, done: int) -> None:
        """So many more."""
        if self._progress:
            self._progress.advance(self._task, done)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress:
            self._progress.stop()


async def work_through(
    title: str, batches: AsyncIterator[int], total: Callable[[], Awaitable[int]], tally: Callable[[int], None]
) -> bool:
    """Take `batches` to their end, `tally` each, and show how many of `total` are done where stderr is a terminal.

    False after Ctrl-C: the batch under way was finished, so that what is told of it is true. Pressed again it ends the
    process there and then, which the database takes for what it is.
    """
    interrupted = asyncio.Event()
    bar = Bar(title, await total() if sys.stderr.isatty() else None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _stop, interrupted, bar)
    with bar:
        async for done in batches:
            tally(done)
            bar.advance(done)
            if interrupted.is_set():
                return False
    return True


def _stop(interrupted: asyncio.Event, bar: Bar) -> None:
    interrupted.set()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    bar.close()
