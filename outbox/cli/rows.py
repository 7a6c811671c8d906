"""`list`, `retry` and `cancel`: look at many rows, and act on them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import MAX_ID, migrated_database, settings_of, stored_text
from outbox.cli.output import MEDIUM, WIDE, complain, moment_text, one_line, print_json, print_table, table_width
from outbox.cli.pausing import pause_text
from outbox.cli.progress import work_through
from outbox.core.errors import INTERRUPTED
from outbox.core.status import RETRYABLE, Status

if TYPE_CHECKING:
    from outbox.db.models import Email
    from outbox.db.operations import Changed
    from outbox.settings import Settings

Ids = Annotated[list[int], typer.Argument(metavar="ID…", min=1, max=MAX_ID, help="Ids of emails.", show_default=False)]

LISTED = (
    "id", "status", "to_addrs", "cc_addrs", "bcc_addrs", "subject", "template", "tag", "priority", "attempts",
    "due_at", "held", "created_at", "finished_at", "last_error",
)  # fmt: skip
"""Columns of `list --json`, by their names in the table."""

HELD = "held"
"""In place of the time at which something happens next."""

SHOWN_IDS = 20
"""Ids that are named when many rows were changed."""


def list_emails(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only this status.")] = None,
    to: Annotated[
        str | None, typer.Option(callback=stored_text, help="Only emails with this text in a recipient.")
    ] = None,
    tag: Annotated[str | None, typer.Option(callback=stored_text, help="Only this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List emails, the newest first."""
    emails, pauses = asyncio.run(_emails(settings_of(context), status, to, tag, limit))
    if as_json:
        print_json([{name: getattr(email, name) for name in LISTED} for email in emails])
        return
    _print(emails)
    if any(e.status in {Status.PENDING, Status.SENDING} for e in emails):
        for pause in pauses:
            typer.echo(one_line(pause))


def _print(emails: "Sequence[Email]") -> None:
    """As many columns as fit."""
    room = table_width() or WIDE
    columns: dict[str, Callable[[Email], object]] = {
        "id": lambda e: e.id,
        "status": lambda e: e.status,
        "to": _recipients,
    }
    if room >= MEDIUM:
        columns |= {"subject": lambda e: e.subject or _template(e)}
    if room >= WIDE:
        columns |= {"tries": lambda e: e.attempts}
    columns |= {"when (UTC)": _when if room >= WIDE else _when_shortly, "last error": lambda e: e.last_error}
    print_table(list(columns), [[value(email) for value in columns.values()] for email in emails])


async def _emails(
    settings: "Settings", status: Status | None, to: str | None, tag: str | None, limit: int
) -> "tuple[list[Email], list[str]]":
    """The emails, and a line for each transport that is paused."""
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        emails = await operations.emails(status=status, to=to, tag=tag, limit=limit)
        texts = {transport.name: pause_text(transport) for transport in await operations.transports()}
    return emails, [f"transport {name} is paused{text}" for name, text in texts.items() if text]


def _recipients(email: "Email") -> str:
    return ", ".join(one_line(part) for part in (email.to_addrs, email.cc_addrs, email.bcc_addrs) if part)


def _template(email: "Email") -> str:
    return f"({email.template})" if email.template else ""


def _when_shortly(email: "Email") -> str:
    when = _when(email)
    return when if when == HELD else when[len("2030-") : -len(":00")]


def _when(email: "Email") -> str:
    """When it was finished, else when something happens next."""
    if email.held and email.status == Status.PENDING:
        return HELD
    moment = email.finished_at or email.due_at or email.created_at
    return moment_text(moment).removesuffix(" UTC")


def retry(
    context: typer.Context,
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID…]", min=1, max=MAX_ID, help="Ids of emails.")] = None,
    status: Annotated[
        Status | None, typer.Option(help=f"All emails of this status: {', '.join(sorted(RETRYABLE))}.")
    ] = None,
) -> None:
    """Send finished emails again: at once, to the recipients that were not accepted, with all attempts anew."""
    if bool(ids) == bool(status):
        raise typer.BadParameter("give either ids or --status", ctx=context)
    if status and status not in RETRYABLE:
        allowed = ", ".join(sorted(RETRYABLE))
        raise typer.BadParameter(f"{status} emails cannot be sent again; one of: {allowed}", ctx=context)
    if status:
        _retry_all(settings_of(context), status)
    else:
        _tell("pending again", asyncio.run(_retry(settings_of(context), ids or ())))


async def _retry(settings: "Settings", ids: Sequence[int]) -> "Changed":
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        return await Operations(engine).retry(ids)


def _retry_all(settings: "Settings", status: Status) -> None:
    done = 0

    def tally(some: int) -> None:
        nonlocal done
        done += some

    complete, erased = asyncio.run(_retry_batches(settings, status, tally))
    text = f"{done:,} {'email' if done == 1 else 'emails'} pending again"
    if not complete:
        complain(f"interrupted: {text} so far; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
    typer.echo(text if done else "there is nothing to do")
    if erased:
        stay = "email stays as it is: its" if erased == 1 else "emails stay as they are: their"
        complain(f"{erased:,} {status} {stay} content was erased")


async def _retry_batches(settings: "Settings", status: Status, tally: Callable[[int], None]) -> tuple[bool, int]:
    """Whether it came to its end, and how many emails have no content any more."""
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        waiting, erased = await operations.retryable(status)

        async def total() -> int:
            return waiting

        return await work_through("retrying", operations.retry_status(status), total, tally), erased


def cancel(context: typer.Context, ids: Ids) -> None:
    """Cancel emails that are not being sent yet."""
    _tell("cancelled", asyncio.run(_cancel(settings_of(context), ids)))


async def _cancel(settings: "Settings", ids: Sequence[int]) -> "Changed":
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        return await Operations(engine).cancel(ids)


def _tell(what: str, changed: "Changed") -> None:
    """What was changed on stdout, what not and why on stderr; exit code 1 where something was not."""
    if changed.done:
        noun = "email" if len(changed.done) == 1 else "emails"
        some = ", ".join(map(str, changed.done[:SHOWN_IDS])) + (", …" if len(changed.done) > SHOWN_IDS else "")
        typer.echo(f"{len(changed.done)} {noun} {what}: {some}")
    elif not changed.unchanged:
        typer.echo("there is nothing to do")
    for id, why in changed.unchanged.items():
        complain(f"{id}: {why}")
    if changed.unchanged:
        raise typer.Exit(1)
