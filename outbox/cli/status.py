"""`status`: how much is waiting, since when, who sends it, and whether mail is moving at all."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.output import WIDE, moment_text, print_json, print_table, table_width
from outbox.cli.pausing import pause_text, state_words
from outbox.core.duration import format_duration, parse_duration

if TYPE_CHECKING:
    from outbox.db.checkpoint import SqliteFacts
    from outbox.db.operations import PollerFacts, TransportFacts
    from outbox.settings import Settings


@dataclass(frozen=True, slots=True)
class Standing:
    """What `status` shows; the field names are the JSON keys."""

    counts: dict[str, int]
    oldest_due_seconds: float | None
    pollers: "list[PollerFacts]"
    transports: "list[TransportFacts]"
    sqlite: "SqliteFacts | None" = None

    def why_not_moving(self, limit: float) -> str | None:
        """One line that says why mail does not move, or None where it does. `limit` is in seconds."""
        for transport in self.transports:
            if paused := pause_text(transport):
                return f"transport {transport.name} is paused{paused}"
        if self.oldest_due_seconds is None:
            return None
        waits = f"mail has been due for {format_duration(self.oldest_due_seconds)}"
        if not any(poller.alive for poller in self.pollers):
            return f"{waits} and no poller is alive: start `outbox run`"
        return waits if self.oldest_due_seconds > limit else None


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1, and say why, when mail is not moving (for monitoring).")
    ] = False,
    max_wait: Annotated[
        float, typer.Option(parser=parse_duration, metavar="DURATION", help="With --check: longest wait that is fine.")
    ] = "60s",  # type: ignore[assignment]  # the parser makes it seconds
) -> None:
    """Show counts by status, the oldest due email, the pollers and the transports."""
    standing = asyncio.run(_standing(settings_of(context)))
    why = standing.why_not_moving(max_wait) if check else None
    if as_json:
        print_json(asdict(standing))
    elif not check:
        _print(standing)
    else:
        typer.echo(why or "mail is moving")
    if why:
        raise typer.Exit(1)


async def _standing(settings: "Settings") -> Standing:
    from outbox.db.checkpoint import sqlite_facts
    from outbox.db.operations import Operations, TransportFacts

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        configured = {name: TransportFacts(name, None, None, paused=False) for name in settings.transports}
        on_record = {transport.name: transport for transport in await operations.transports()}
        return Standing(
            counts=await operations.counts(),
            oldest_due_seconds=await operations.oldest_due_seconds(),
            pollers=await operations.pollers(),
            transports=list((configured | on_record).values()),
            sqlite=sqlite_facts() if engine.dialect.name == "sqlite" else None,
        )


def _print(standing: Standing) -> None:
    print_table(["status", "emails"], standing.counts.items())
    oldest = standing.oldest_due_seconds
    typer.echo(f"oldest due  {'nothing is due' if oldest is None else 'waits for ' + format_duration(oldest)}\n")
    if standing.pollers:
        _print_pollers(standing.pollers)
    else:
        typer.echo("pollers     none\n")
    if standing.transports:
        print_table(
            ["transport", "state", "next try", "reason"],
            [(t.name, *state_words(t), t.reason) for t in standing.transports],
        )
    else:
        typer.echo("transports  none configured (OUTBOX_SMTP_URL)")
    if standing.sqlite:
        typer.echo(f"sqlite      {standing.sqlite.warning or standing.sqlite.version}")


def _print_pollers(pollers: "list[PollerFacts]") -> None:
    columns: dict[str, Callable[[PollerFacts], object]] = {
        "poller": lambda p: p.name,
        "host": lambda p: p.host,
        "pid": lambda p: p.pid,
        "version": lambda p: p.version,
        "started": lambda p: moment_text(p.started_at),
        "seen": lambda p: moment_text(p.seen_at),
        "alive": lambda p: _yes(p.alive),
    }
    if (table_width() or WIDE) < WIDE:
        del columns["version"], columns["started"]
    print_table(list(columns), [[value(poller) for value in columns.values()] for poller in pollers])


def _yes(alive: bool) -> str:
    return "yes" if alive else "no"
