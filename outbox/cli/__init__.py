"""The command line: which commands there are, and how whatever goes wrong becomes one line and an exit code.

Exit codes: 0 done · 1 the answer is no · 2 wrong use, configuration or database · 130 Ctrl-C.
Heavy libraries (SQLAlchemy, Alembic, aiosmtplib, Jinja2, rich) are imported inside the commands that need them.
"""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from outbox.cli import check, develop, pausing, preview, purge, release, resolve, rows, running, send, show, status, top
from outbox.cli.access import Access, refuse_password, require_folder
from outbox.cli.output import FULL, complain, give_up_stdout, open_closed_streams
from outbox.core.errors import DatabaseError, OutboxError, SettingsError

app = typer.Typer(
    name="outbox",
    help="Send the email your database has already committed.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong use, configuration or database, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: dict[str, Callable[..., None]] = {
    "migrate": running.migrate,
    "run": running.run,
    "send": send.send,
    "status": status.status,
    "top": top.top,
    "list": rows.list_emails,
    "show": show.show,
    "retry": rows.retry,
    "cancel": rows.cancel,
    "resolve": resolve.resolve,
    "release": release.release,
    "pause": pausing.pause,
    "resume": pausing.resume,
    "purge": purge.purge,
    "check": check.check,
    "preview": preview.preview,
    "catch": develop.catch,
    "demo": develop.demo,
}
"""In the order in which `outbox --help` lists them."""

for name, command in COMMANDS.items():
    app.command(name)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"outbox {version('email-outbox')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Settings file (default: outbox.toml in this folder, or OUTBOX_CONFIG).")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="Database to use; with a password, set OUTBOX_DATABASE_URL instead.")
    ] = None,
    version: Annotated[  # noqa: ARG001  # acted upon by its callback, before any command is looked for
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    require_folder()
    refuse_password(database_url)
    context.obj = Access(config, database_url)


def main() -> None:
    """The console command `outbox`. Does not return: it exits with the code of the command."""
    open_closed_streams()
    for size in ("COLUMNS", "LINES"):
        if os.environ.get(size, "").strip("0") == "":  # nobody knows it; rich would show nothing at all
            os.environ.pop(size, None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding is no reason to fail
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = app(prog_name="outbox", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _wrong_use(error)
    except OutboxError as error:
        complain(str(error))
        return 2 if isinstance(error, SettingsError | DatabaseError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        give_up_stdout()  # whoever read our output has seen enough
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            give_up_stdout()
            complain(f"the answer could not be written: {error.strerror}")
            return 1
        if os.environ.get("OUTBOX_DEBUG"):
            raise
        complain(f"unexpected {type(error).__name__}: {error} (OUTBOX_DEBUG=1 shows where; please report it)")
        return 1
    return code if isinstance(code, int) else 0


def _wrong_use(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "outbox"
    what = error.format_message().rstrip(".").replace(": Value error, ", ": ", 1)
    complain(f"{what} (see `{path} --help`)")
    return 2
