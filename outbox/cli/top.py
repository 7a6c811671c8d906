"""`top`: the outbox at work, on a full screen that is drawn anew every few seconds."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.output import console
from outbox.cli.screen import View, frame
from outbox.core.duration import format_duration, parse_duration

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from outbox.settings import Settings

FAILURES = 10
"""The newest ones that are shown."""

SHORTEST = 0.1
"""Seconds between two frames, at least."""


def top(
    context: typer.Context,
    interval: Annotated[
        float, typer.Option(parser=parse_duration, metavar="DURATION", help="Time between two looks.")
    ] = "2s",  # type: ignore[assignment]  # the parser makes it seconds
    once: Annotated[
        bool, typer.Option("--once", help="Print one look and exit; so does output to a file or a dumb terminal.")
    ] = False,
) -> None:
    """Watch lanes, rates, transports, pollers and the latest failures. q or Ctrl-C ends it."""
    if interval < SHORTEST:
        raise typer.BadParameter(f"--interval must be {format_duration(SHORTEST)} or more", ctx=context)
    live = sys.stdout.isatty() and not console().is_dumb_terminal
    asyncio.run(_top(settings_of(context), interval if live and not once else None))


async def _top(settings: "Settings", interval: float | None) -> None:
    async with migrated_database(settings) as engine:
        view = await _look(engine, settings)
        if interval is None:
            console().print(frame(view, ""))
        else:
            await _watch(engine, settings, view, interval)


async def _watch(engine: "AsyncEngine", settings: "Settings", view: View, interval: float) -> None:
    """Until somebody ends it. A database that fails is told in the frame, and looked at again."""
    from rich.live import Live

    from outbox.db.failure import FAILURES as FAILED
    from outbox.db.failure import database_error

    hint, trouble = f"every {format_duration(interval)}, q quits", None
    with _told_to_end() as end, Live(screen=True, auto_refresh=False, console=console()) as live:
        while not end.is_set():
            live.update(frame(view, hint, trouble), refresh=True)
            try:
                async with asyncio.timeout(interval):
                    await end.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                view, trouble = await _look(engine, settings), None
            except FAILED as error:
                trouble = str(database_error(error, engine.url))


async def _look(engine: "AsyncEngine", settings: "Settings") -> View:
    from outbox.db import sight
    from outbox.db.engine import read_only
    from outbox.db.operations import Operations, TransportFacts

    operations = Operations(engine)
    configured = {name: TransportFacts(name, None, None, paused=False) for name in settings.transports}
    on_record = {transport.name: transport for transport in await operations.transports()}
    async with read_only(engine).connect() as connection:
        lanes, flow = await sight.lanes(connection), await sight.flow(connection)
        failures = await sight.failures(connection, FAILURES)
    return View(
        where=engine.url.render_as_string(hide_password=True),
        now=await operations.now(),
        lanes=lanes,
        flow=flow,
        failures=failures,
        pollers=await operations.pollers(),
        transports=list((configured | on_record).values()),
        limits=await operations.limits(),
    )


@contextmanager
def _told_to_end() -> Iterator[asyncio.Event]:
    """Set by q, Ctrl-C or SIGTERM. Keys are read as they are pressed, and not shown."""
    import termios
    import tty

    loop, end = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    if sys.stdin is None or not sys.stdin.isatty():
        yield end
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)

    def pressed() -> None:
        read = os.read(keys, 64)
        if not read or b"q" in read.lower():
            end.set()

    tty.setcbreak(keys)
    loop.add_reader(keys, pressed)
    try:
        yield end
    finally:
        loop.remove_reader(keys)
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
