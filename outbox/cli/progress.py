"""Commands that take long: how far they are, and that they can be interrupted anywhere and go on later."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


async def work_through(
    title: str, batches: AsyncIterator[int], total: Callable[[], Awaitable[int]], tally: Callable[[int], None]
) -> bool:
    """Take `batches` to their end, `tally` each, and show how many of `total` are done where stderr is a terminal.

    False after Ctrl-C: the batch under way was finished, so that what is told of it is true. Pressed again it does not
    wait for that.
    """
    interrupted = _watch_for_interrupt()
    with bar(title, await total() if sys.stderr.isatty() else None) as advance:
        async for done in batches:
            tally(done)
            advance(done)
            if interrupted.is_set():
                return False
    return True


def _watch_for_interrupt() -> asyncio.Event:
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        interrupted.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    return interrupted


@contextmanager
def bar(title: str, total: int | None) -> Iterator[Advance]:
    """How much of `total` is done, on stderr; nothing is shown without one."""
    if total is None:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)
