"""`catch` and `demo`: what a developer has use for before there is a mail server."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.output import one_line

if TYPE_CHECKING:
    from outbox.demo.catcher import Caught


def catch(
    host: Annotated[str, typer.Option(help="Address to listen on; everything sent there is readable by you.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")] = 1025,
    folder: Annotated[Path, typer.Option("--dir", help="Folder for the .eml files.")] = Path("caught"),
) -> None:
    """Run a local SMTP server that saves every email as a file and forwards none. Ctrl-C ends it."""
    asyncio.run(_catch(host, port, folder))


async def _catch(host: str, port: int, folder: Path) -> None:
    from outbox.demo.catcher import Catcher

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    catcher = Catcher(folder, _print_caught)
    bound = await catcher.start(host, port)
    typer.echo(f"catching on smtp://{host}:{bound}, saving in {folder}/ (Ctrl-C ends)")
    try:
        await stop.wait()
    finally:
        await catcher.stop()


def _print_caught(mail: "Caught") -> None:
    recipients = ", ".join(mail.recipients)
    at = mail.at.astimezone().strftime("%H:%M:%S")
    typer.echo(one_line(f"{at} {mail.sender or '<>'} → {recipients}: {mail.subject} [{mail.path.name}]"))


def demo() -> None:
    """Show all of it in ten seconds: real transactions, a real daemon, a local SMTP server, and what came of it."""
    from outbox.demo.show import run

    try:
        code = asyncio.run(run())
    except asyncio.CancelledError:  # by SIGTERM; everything has been cleared up
        code = 128 + signal.SIGTERM
    raise typer.Exit(code)
