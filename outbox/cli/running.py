"""`migrate` and `run`: what an installation does before and while it sends."""

import asyncio
import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import database, migrated_database, settings_of
from outbox.cli.draining import drain as drained

if TYPE_CHECKING:
    from outbox.settings import Settings


class LogLevel(StrEnum):
    """How much `run` tells on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def migrate(context: typer.Context) -> None:
    """Create the tables, or upgrade them to this version of outbox."""
    before, after = asyncio.run(_migrate(settings_of(context)))
    if before == after:
        typer.echo(f"the schema is up to date ({after})")
    else:
        typer.echo(f"upgraded the schema from {before} to {after}" if before else f"created the schema ({after})")


async def _migrate(settings: "Settings") -> tuple[str | None, str]:
    from outbox.db.schema import migrate

    async with database(settings) as engine:
        return await migrate(engine)


def run(
    context: typer.Context,
    drain: Annotated[bool, typer.Option("--drain", help="Send what is due, then exit (for cron).")] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Number of pollers, each in a process.")] = 1,
    log_level: Annotated[LogLevel, typer.Option(help="How much to log on stderr.")] = LogLevel.INFO,
) -> None:
    """Send email until SIGTERM or Ctrl-C: then finish what is in flight and exit. A second signal breaks it off.

    After Ctrl-C a drain exits with 130: it was not done yet.
    """
    settings = settings_of(context)
    asyncio.run(_require_usable(settings))

    def work() -> int:
        from outbox.processes import run_here, run_processes, set_up_logging

        set_up_logging(logging.getLevelNamesMapping()[log_level.upper()])
        return run_here(settings, drain=drain) if processes == 1 else run_processes(settings, processes, drain=drain)

    raise typer.Exit(drained(settings, work) if drain else work())


async def _require_usable(settings: "Settings") -> None:
    """Raises now, in one line, what would otherwise end each poller on its own."""
    _ = settings.default_transport, settings.default_sender
    async with migrated_database(settings):
        pass
