"""`send`: enqueue one email, and on request wait for what comes of it."""

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.explain import look_around, why_not_sent
from outbox.cli.output import complain, give_up_stdout, one_line
from outbox.cli.rendering import context_of
from outbox.core.duration import format_duration, parse_duration
from outbox.core.errors import ContentError, DatabaseError
from outbox.core.status import FINAL, Status

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from outbox.db.models import Email
    from outbox.db.operations import Operations
    from outbox.settings import Settings

LOOK_INTERVAL = 0.2
"""Seconds between looks at the row with --wait."""

FILE = typer.Option("--attach", exists=True, dir_okay=False, readable=True, help="Attach this file; may be repeated.")


def send(
    context: typer.Context,
    *,
    to: Annotated[list[str] | None, typer.Option(help="Recipient; may be repeated.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="Subject.")] = None,
    text: Annotated[str | None, typer.Option(help="Plain text; - reads it from stdin.")] = None,
    html: Annotated[str | None, typer.Option(help="HTML.")] = None,
    attach: Annotated[list[Path] | None, FILE] = None,
    cc: Annotated[list[str] | None, typer.Option(help="Copy to; may be repeated.")] = None,
    bcc: Annotated[list[str] | None, typer.Option(help="Blind copy to; may be repeated.")] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Sender; default: the configured one.")] = None,
    reply_to: Annotated[str | None, typer.Option(help="Where answers go.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="Extra header, 'Name: value'; may be repeated.")] = None,
    template: Annotated[str | None, typer.Option(help="Render this template instead of --text and --html.")] = None,
    template_context: Annotated[
        str | None, typer.Option("--context", help="The template's values: a JSON object, or a file with one.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="Language of the template, e.g. de.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=2, help="0 urgent, 1 normal, 2 bulk.")] = None,
    due_at: Annotated[str | None, typer.Option(help="Not before, e.g. 2030-01-31T08:00:00Z.")] = None,
    delay: Annotated[
        float | None, typer.Option("--in", parser=parse_duration, metavar="DURATION", help="Not before, e.g. 10m.")
    ] = None,
    transport: Annotated[str | None, typer.Option(help="Name of a configured transport.")] = None,
    on_doubt: Annotated[str | None, typer.Option(help="resend (default) or hold: never risk a second copy.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="A second email with this key is the same one.")] = None,
    tag: Annotated[str | None, typer.Option(help="Your own label.")] = None,
    sensitive: Annotated[bool, typer.Option("--sensitive", help="Erase the content once it is finished.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome, and print it per recipient.")] = False,
    timeout: Annotated[
        float, typer.Option(parser=parse_duration, metavar="DURATION", help="Longest wait with --wait.")
    ] = "60s",  # type: ignore[assignment]  # the parser makes it seconds
) -> None:
    """Enqueue one email and print its id."""
    settings = settings_of(context)
    try:
        email = _email(
            to=to,
            cc=cc,
            bcc=bcc,
            sender=sender,
            reply_to=reply_to,
            subject=subject,
            text=_stdin() if text == "-" else text,
            html=html,
            attach=attach or [],
            headers=_headers(header or []),
            template=template,
            context=None if template_context is None else context_of(template_context),
            locale=locale,
            priority=priority,
            due_at=_due(due_at, delay),
            transport=transport,
            on_doubt=on_doubt,
            idempotency_key=idempotency_key,
            tag=tag,
            sensitive=sensitive,
        )
        _check_names(settings, email)
    except (ContentError, ValueError, OSError) as error:
        raise typer.BadParameter(str(error), ctx=context) from error
    raise typer.Exit(asyncio.run(_send(settings, email, timeout if wait else None)))


def _stdin() -> str:
    if sys.stdin is None:
        raise ValueError("--text -: stdin is closed")
    return sys.stdin.read()


def _tell_id(id: int) -> None:
    try:
        typer.echo(str(id))
    except OSError as error:
        # The email is committed: another exit code than 0 would have scripts send it a second time.
        give_up_stdout()
        complain(f"email {id} is enqueued, but stdout cannot be written: {error.strerror}")


def _email(*, attach: list[Path], **columns: Any) -> "Email":
    from outbox.db.models import Attachment, Email

    return Email(**columns, attachments=[Attachment.from_path(path) for path in attach])


def _check_names(settings: "Settings", email: "Email") -> None:
    """Raises ContentError for a transport or a template that a poller with these settings would not find. Where they
    have none, the poller's are others."""
    known = settings.transports
    if email.transport and known and email.transport not in known:
        raise ContentError(f"transport {email.transport!r} is not configured (there is: {', '.join(sorted(known))})")
    if email.template is None or settings.templates is None:
        return
    from outbox.mail.folder import Folder
    from outbox.mail.language import language_of

    folder, name, variants = Folder(settings.templates), email.template.strip(), language_of(email.locale).variants
    if not folder.has(name, variants):
        raise folder.missing(name)
    if not (email.subject or folder.exists(folder.nearest(f"{name}.subject.txt", variants))):
        raise ContentError(f"template {name!r} gives no subject ({name}.subject.txt); give one by --subject")


def _headers(lines: list[str]) -> dict[str, Any] | None:
    """`Name: value` lines; a name that comes twice has a list."""
    headers: dict[str, Any] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"--header {line!r} is not of the form 'Name: value'")
        if name.lower() in (known.lower() for known in headers):
            raise ValueError(f"--header {name!r} is given twice")
        headers[name] = value.strip()
    return headers or None


def _due(due_at: str | None, delay: float | None) -> datetime | None:
    if due_at is not None and delay is not None:
        raise ValueError("give either --due-at or --in")
    if delay is not None:
        return datetime.now(UTC) + timedelta(seconds=delay)
    if due_at is None:
        return None
    try:
        moment = datetime.fromisoformat(due_at)
    except ValueError:
        raise ValueError(f"--due-at {due_at!r} is not a timestamp like 2030-01-31T08:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"--due-at {due_at!r} has no time zone; write it like 2030-01-31T08:00:00Z")
    return moment


async def _send(settings: "Settings", email: "Email", wait: float | None) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from outbox.db.failure import told
    from outbox.enqueue import enqueue

    async with migrated_database(settings) as engine:
        async with engine.begin() as connection:
            [id] = await enqueue(connection, email)
        _tell_id(id)
        if wait is None:
            return 0
        try:
            with told(engine.url, (SQLAlchemyError,)):
                return await _wait(engine, settings, id, wait)
        except DatabaseError as error:
            raise DatabaseError(f"email {id} is enqueued, but what comes of it cannot be seen: {error}") from error


async def _wait(engine: "AsyncEngine", settings: "Settings", id: int, patience: float) -> int:
    """Until the row is final. Prints what came of it; 0 where every recipient was accepted."""
    from outbox.db.operations import Operations

    operations = Operations(engine)
    if not any(poller.alive for poller in await operations.pollers()):
        complain("no poller is alive; start `outbox run`. Waiting …")
    started = time.monotonic()
    while True:
        email = await operations.email(id)
        left = started + patience - time.monotonic()
        if Status(email.status) in FINAL:
            return await _tell_outcome(operations, settings, email)
        if left <= 0:
            why = await _why(operations, settings, email)
            complain(f"{id} is not sent after {format_duration(patience)}: {why}")
            return 1
        await asyncio.sleep(min(LOOK_INTERVAL, left))


async def _tell_outcome(operations: "Operations", settings: "Settings", email: "Email") -> int:
    """The last outcome of each recipient."""
    last = {attempt.recipient: attempt for attempt in await operations.attempts(email.id)}
    for recipient, attempt in last.items():
        said = " ".join(str(part) for part in (attempt.code, attempt.reply) if part)
        typer.echo(one_line(f"{recipient}: {attempt.outcome} {said}"))
    if email.status == Status.SENT:
        return 0
    complain(f"{email.id} is {email.status}: {await _why(operations, settings, email)}")
    return 1


async def _why(operations: "Operations", settings: "Settings", email: "Email") -> str:
    why = why_not_sent(email, await operations.attempts(email.id), await look_around(operations, settings))
    return why.text if why else "it is sent"
