"""`migrate` and `run`: what an installation does before and while it sends."""

import asyncio
import logging
import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import database, migrated_database, settings_of
from outbox.cli.draining import drain as drained
from outbox.core.errors import SettingsError
from outbox.core.logs import LogFormat

if TYPE_CHECKING:
    from outbox.settings import Settings


MAX_PORT = 65535


class LogLevel(StrEnum):
    """How much `run` tells on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


METRICS_PORT = typer.Option(
    min=0,
    max=MAX_PORT,
    help="Serve Prometheus metrics there; each further process one port higher.",
    show_default=False,
)
METRICS_HOST = typer.Option(help="Address for them (default: 127.0.0.1).", show_default=False)
LOG_FORMAT = typer.Option(help="Lines for people or JSON, one object a line (default: text).", show_default=False)


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
    log_format: Annotated[LogFormat | None, LOG_FORMAT] = None,
    metrics_port: Annotated[int | None, METRICS_PORT] = None,
    metrics_host: Annotated[str | None, METRICS_HOST] = None,
) -> None:
    """Send email until SIGTERM or Ctrl-C: then finish what is in flight and exit. A second signal breaks it off.

    After Ctrl-C a drain exits with 130: it was not done yet.
    """
    from outbox.log_format import set_up_logging

    settings = settings_of(context, log_format=log_format, metrics_port=metrics_port, metrics_host=metrics_host)
    set_up_logging(logging.getLevelNamesMapping()[log_level.upper()], settings.log_format)
    asyncio.run(_require_usable(settings, processes))

    def work() -> int:
        from outbox.processes import run_here, run_processes
        from outbox.systemd import Systemd

        systemd = Systemd.of(os.environ)
        if processes == 1:
            return run_here(settings, systemd, drain=drain)
        return run_processes(settings, systemd, processes, drain=drain)

    raise typer.Exit(drained(settings, work) if drain else work())


async def _require_usable(settings: "Settings", processes: int) -> None:
    """Raises now, in one line, what would otherwise end each poller on its own."""
    _ = settings.default_transport, settings.default_sender
    if settings.templates:
        from outbox.mail.folder import require_folder

        require_folder(settings.templates)
    if settings.dkim:
        from outbox.mail.signing_key import read_key_files

        read_key_files(settings.dkim)
    if settings.metrics_port is not None:
        import outbox.metrics  # noqa: F401  # which says what is missing

        last = settings.metrics_port + processes - 1
        if last > MAX_PORT:
            raise SettingsError(f"metrics_port: {processes} processes would need the ports up to {last}")
    async with migrated_database(settings):
        pass
