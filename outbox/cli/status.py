"""`status`: how much is waiting, since when, who sends it, and whether mail is moving at all."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.output import WIDE, moment_text, one_line, print_json, print_table, table_width
from outbox.cli.pausing import state_words
from outbox.cli.thresholds import Breach, Limits, Measured, breaches, count
from outbox.core.duration import format_duration, parse_duration

if TYPE_CHECKING:
    from outbox.db.checkpoint import SqliteFacts
    from outbox.db.operations import PollerFacts, TransportFacts
    from outbox.settings import Settings


MOST = 1_000_000_000
"""The highest limit of a count; no database counts further than it is told to."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What `status` shows; the field names are the JSON keys."""

    counts: dict[str, int]
    oldest_due_seconds: float | None
    pollers: "list[PollerFacts]"
    transports: "list[TransportFacts]"
    redirect_to: str | None
    allow_recipients: tuple[str, ...] | None
    held: int | None
    """None where it was not asked."""
    sqlite: "SqliteFacts | None" = None


def status(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1, and say why, when mail is not moving (for monitoring).")
    ] = False,
    max_wait: Annotated[
        float, typer.Option(parser=parse_duration, metavar="DURATION", help="With --check: longest wait that is fine.")
    ] = "60s",  # type: ignore[assignment]  # the parser makes it seconds
    max_wait_urgent: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="The same, of urgent mail (priority 0)."),
    ] = None,
    max_failed: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="With --check: failed within --window, at most.")
    ] = None,
    window: Annotated[float, typer.Option(parser=parse_duration, metavar="DURATION", help="For --max-failed.")] = "1h",  # type: ignore[assignment]  # as above
    max_in_doubt: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="With --check: emails in doubt, at most.")
    ] = None,
    max_held: Annotated[int | None, typer.Option(min=0, max=MOST, help="With --check: emails held, at most.")] = None,
    min_pollers: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="With --check: pollers alive, at least.")
    ] = None,
) -> None:
    """Show counts by status, the oldest due email, the pollers and the transports."""
    limits = Limits(max_wait, max_wait_urgent, max_failed, window, max_in_doubt, max_held, min_pollers)
    if not check and limits != Limits(max_wait, window=window):
        raise typer.BadParameter("limits are checked with --check only", ctx=context)
    settings = settings_of(context)
    if check:
        _check(settings, limits, as_json=as_json)
    standing, _ = asyncio.run(_look(settings, None, counting=True))
    if as_json:
        print_json(asdict(standing))
    else:
        _print_warnings(settings, standing)
        _print(standing)


def _check(settings: "Settings", limits: Limits, *, as_json: bool) -> NoReturn:
    """One line for each breach; the exit code tells whether there is one."""
    standing, found = asyncio.run(_look(settings, limits, counting=as_json))
    if as_json:
        print_json(asdict(standing) | {"breaches": [asdict(breach) for breach in found]})
    else:
        for text in [breach.text for breach in found] or ["mail is moving"]:
            typer.echo(one_line(text))
    raise typer.Exit(1 if found else 0)


async def _look(settings: "Settings", limits: Limits | None, *, counting: bool) -> tuple[Standing, list[Breach]]:
    """Where limits are checked, nothing is read whose price grows with what is finished, and what waits is counted only
    if so asked."""
    from outbox.db.checkpoint import sqlite_facts
    from outbox.db.engine import read_only
    from outbox.db.held import count_held
    from outbox.db.operations import Operations, TransportFacts

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        configured = {name: TransportFacts(name, None, None, paused=False) for name in settings.transports}
        on_record = {transport.name: transport for transport in await operations.transports()}
        standing = Standing(
            counts=await operations.counts(unfinished_only=limits is not None) if counting else {},
            oldest_due_seconds=await operations.oldest_due_seconds(),
            pollers=await operations.pollers(),
            transports=list((configured | on_record).values()),
            redirect_to=settings.redirect_to,
            allow_recipients=settings.allow_recipients,
            held=await count_held(engine) if counting else None,
            sqlite=sqlite_facts() if engine.dialect.name == "sqlite" else None,
        )
        if limits is None:
            return standing, []
        limits_reached = await operations.limits()
        measured = Measured(standing.oldest_due_seconds, standing.pollers, standing.transports, limits_reached)
        async with read_only(engine).connect() as connection:
            return standing, breaches(await count(connection, limits, measured), limits)


def _print_warnings(settings: "Settings", standing: Standing) -> None:
    """First of all, what somebody who waits for email should know."""
    warnings = [*settings.elsewhere.warnings()]
    if standing.held:
        warnings.append(
            f"held: {standing.held} wait for a person; `outbox show ID` says why, `outbox release` sends them"
        )
    for warning in warnings:
        typer.echo(one_line(f"! {warning}"))
    if warnings:
        typer.echo()


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
