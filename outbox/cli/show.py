"""`show`: everything about one email."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outbox.cli.access import MAX_ID, migrated_database, settings_of
from outbox.cli.explain import Why, look_around, why_not_sent
from outbox.cli.output import MEDIUM, moment_text, one_line, print_json, print_table, table_width

if TYPE_CHECKING:
    from outbox.db.models import Attempt, Email
    from outbox.settings import Settings

COLUMNS = (
    "id", "status", "sender", "to_addrs", "cc_addrs", "bcc_addrs", "reply_to", "subject", "template", "locale",
    "headers", "priority", "due_at", "held", "expires_at", "max_attempts", "transport", "on_doubt",
    "idempotency_key", "tag", "sensitive", "erased", "message_id", "claimed_by", "last_error", "created_at",
    "finished_at",
)  # fmt: skip
"""What is shown of every email, by the names in the table."""

CONTENT = ("body_text", "body_html", "context")
"""What is shown unless the email is sensitive."""

ATTEMPT = (
    "attempt", "recipient", "outcome", "code", "enhanced", "reply", "transport", "poller", "attempted_at",
)  # fmt: skip
"""The entries of `attempts` in JSON."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One email, what was tried, and why it is not sent."""

    email: "Email"
    attempts: "list[Attempt]"
    attachments: list[dict[str, Any]]
    why: Why | None


def show(
    context: typer.Context,
    id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="Id of an email.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one email, its attempts and replies and, if it is not sent, why not and when next."""
    shown = asyncio.run(_shown(settings_of(context), id))
    if as_json:
        print_json(_as_json(shown))
    else:
        _print(shown)


async def _shown(settings: "Settings", id: int) -> Shown:
    from outbox.db.operations import Operations

    async with migrated_database(settings) as engine:
        operations = Operations(engine)
        email = await operations.email(id)
        attempts = await operations.attempts(id)
        files = [] if email.sensitive else await operations.attachment_facts(id)
        return Shown(
            email=email,
            attempts=attempts,
            attachments=[
                {"filename": f.filename, "content_type": f.content_type, "size": f.size, "cid": f.cid} for f in files
            ],
            why=why_not_sent(email, attempts, await look_around(operations, settings)),
        )


def _as_json(shown: Shown) -> dict[str, Any]:
    """Sensitive content is left out, not emptied: absent keys cannot be taken for an empty email."""
    email = shown.email
    columns = COLUMNS if email.sensitive else (*COLUMNS, *CONTENT)
    files = {} if email.sensitive else {"attachments": shown.attachments}
    return {
        **{name: getattr(email, name) for name in columns},
        **files,
        "attempts": [{name: getattr(attempt, name) for name in ATTEMPT} for attempt in shown.attempts],
        "attempts_made": email.attempts,
        "why_not_sent": shown.why and shown.why.text,
        "why_code": shown.why and shown.why.code,
    }


def _print(shown: Shown) -> None:
    from rich.text import Text

    from outbox.cli.output import STYLES, console

    email = shown.email
    out = console()
    out.print(Text(f"email {email.id} ").append(email.status, STYLES.get(email.status, "bold")))
    for name, value in _lines(shown):
        if value:
            out.print(Text(f"  {name:<12}", "dim").append(one_line(value)), soft_wrap=True)
    if shown.attempts:
        _print_attempts(shown.attempts)
    if shown.why:
        out.print(Text("not sent: ", "bold").append(one_line(shown.why.text)), soft_wrap=True)


def _print_attempts(attempts: "list[Attempt]") -> None:
    columns = ["attempt", "at (UTC)", "recipient", "outcome", "reply", "transport"]
    if (table_width() or MEDIUM) < MEDIUM:
        columns.pop()
    lines = [
        (a.attempt, moment_text(a.attempted_at).removesuffix(" UTC"), a.recipient, a.outcome, _reply(a), a.transport)
        for a in attempts
    ]
    print_table(columns, [line[: len(columns)] for line in lines])


def _reply(attempt: "Attempt") -> str:
    return " ".join(part for part in (str(attempt.code or ""), attempt.reply or "") if part)


def _lines(shown: Shown) -> list[tuple[str, object]]:
    """What a person wants to know, in the order in which it is asked. Empty values are left out by the caller."""
    email = shown.email
    return [
        ("from", email.sender),
        ("to", email.to_addrs),
        ("cc", email.cc_addrs),
        ("bcc", email.bcc_addrs),
        ("reply to", email.reply_to),
        ("subject", email.subject),
        ("template", email.template),
        ("tag", email.tag),
        ("key", email.idempotency_key),
        ("transport", email.transport),
        ("message id", email.message_id),
        ("created", moment_text(email.created_at)),
        ("due", moment_text(email.due_at) if email.status == "pending" and not email.held else ""),
        ("expires", moment_text(email.expires_at)),
        ("finished", moment_text(email.finished_at)),
        ("attempts", email.attempts),
        ("last error", email.last_error),
        *_content_lines(shown),
    ]


def _content_lines(shown: Shown) -> list[tuple[str, object]]:
    email = shown.email
    if email.erased:
        return [("content", "erased")]
    if email.sensitive:
        return [("content", "not shown: the email is sensitive")]
    html = f"{len(email.body_html)} characters (see --json)" if email.body_html else ""
    files = ", ".join(f"{file['filename']} ({file['size']} bytes)" for file in shown.attachments)
    return [("text", one_line(email.body_text, 200)), ("html", html), ("files", files)]
