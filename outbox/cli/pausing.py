"""`pause` and `resume`: stop and start a transport for all pollers; and how the pauses of transports are spoken of."""

import asyncio
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.output import moment_text, one_line

if TYPE_CHECKING:
    from outbox.db.operations import TransportFacts
    from outbox.settings import Settings

Name = Annotated[
    str | None, typer.Argument(metavar="[TRANSPORT]", help="Name of a transport; all without.", show_default=False)
]


def pause(context: typer.Context, transport: Name = None) -> None:
    """Send nothing over a transport, or over all, until `outbox resume`: rows wait, what is in flight is finished."""
    names, changed = asyncio.run(_change(context, settings_of(context), transport, paused=True))
    for name in names:
        said = "is paused" if name in changed else "was paused by hand already"
        typer.echo(one_line(f"{name} {said}; `outbox resume {quote(name)}` ends it"))


def resume(context: typer.Context, transport: Name = None) -> None:
    """End the pause of a transport, or of all, whoever made it: due email is tried at once."""
    names, changed = asyncio.run(_change(context, settings_of(context), transport, paused=False))
    for name in names:
        typer.echo(one_line(f"{name} is resumed" if name in changed else f"{name} was not paused"))


async def _change(
    context: typer.Context, settings: "Settings", transport: str | None, *, paused: bool
) -> tuple[Sequence[str], set[str]]:
    """The names that were meant, and those of them that changed. Raises BadParameter where there are none."""
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        known = sorted({*settings.transports, *(one.name for one in await operations.transports())})
        if transport is not None and transport not in known:
            raise typer.BadParameter(f"there is no transport {transport!r} ({_listed(known)})", ctx=context)
        if not known:
            raise typer.BadParameter(f"there is no transport to name ({_listed(known)})", ctx=context)
        names = known if transport is None else [transport]
        return names, await (operations.pause(names) if paused else operations.resume(names))


def _listed(known: Sequence[str]) -> str:
    return f"there is: {', '.join(known)}" if known else "none is configured or on record; set OUTBOX_SMTP_URL"


def pause_text(transport: "TransportFacts") -> str | None:
    """What follows "transport NAME is paused": since or until when, why, and what to do; None where it is not."""
    if not transport.paused:
        return None
    if transport.by_hand:
        since = (transport.reason or "by hand, no reason given").removeprefix("paused ")
        return f" {since}; `outbox resume {quote(transport.name)}` ends it"
    reason = transport.reason or "no reason given"
    until = f" until {moment_text(transport.paused_until)}: {reason}"
    if reason.startswith("configuration: "):
        return f"{until}; mend it (`outbox check`), then `outbox resume {quote(transport.name)}`"
    return until


def state_words(transport: "TransportFacts") -> tuple[str, str]:
    """How it is in a word or two, and when it is tried next."""
    if transport.by_hand:
        return "paused by hand", f"after `outbox resume {quote(transport.name)}`"
    if transport.paused:
        wrong = (transport.reason or "").startswith("configuration: ")
        return "paused: configuration" if wrong else "paused", moment_text(transport.paused_until)
    return ("on probation", "with the next email") if transport.reason else ("not paused", "")
