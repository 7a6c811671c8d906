"""`preview`: a template as it would be sent, without a row and without sending."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outbox.cli.access import settings_of
from outbox.cli.output import one_line
from outbox.cli.rendering import context_of, drafts
from outbox.core.errors import ContentError, SettingsError
from outbox.core.names import template_fault

if TYPE_CHECKING:
    from email.message import EmailMessage

    from outbox.settings import Settings


def preview(
    context: typer.Context,
    template: Annotated[str, typer.Argument(help="Name of the template.", show_default=False)],
    *,
    values: Annotated[
        str | None,
        typer.Option("--context", help="Its values: a JSON object, or a file with one. Default: TEMPLATE.sample.json."),
    ] = None,
    locale: Annotated[str | None, typer.Option(help="Language, e.g. de-AT.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Print the text alone, without the subject.")] = False,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write the HTML here; - for stdout.")] = None,
    eml: Annotated[str | None, typer.Option(metavar="FILE", help="Write the message here; - for stdout.")] = None,
    browser: Annotated[bool, typer.Option("--open", help="Show the HTML in the browser.")] = False,
) -> None:
    """Render a template without sending; print its subject and text, or write its HTML or the whole message."""
    settings = settings_of(context)
    try:
        given = None if values is None else context_of(values)
        content = asyncio.run(_content(settings, template, given, locale))
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), ctx=context) from error
    if html is not None:
        _write(context, "--html", html, _html(template, content).encode())
    if eml is not None:
        _write(context, "--eml", eml, content)
    if browser:
        _open(_html(template, content))
    if text:
        typer.echo(_part(content, "plain"), nl=False)
    elif html is None and eml is None and not browser:
        typer.echo(f"Subject: {one_line(_parsed(content)['Subject'])}\n")
        typer.echo(_part(content, "plain"), nl=False)


async def _content(settings: "Settings", name: str, given: dict[str, Any] | None, locale: str | None) -> bytes:
    """The message. Its values are those of the sample where none are given."""
    from outbox.mail.language import language_of
    from outbox.mail.templates import Templates

    if settings.templates is None:
        raise SettingsError("no template folder is configured; set OUTBOX_TEMPLATES")
    if fault := template_fault(name):
        raise ContentError(fault)
    templates = Templates(settings.templates)
    sample = templates.folder.sample(name, language_of(locale).variants) if given is None else None
    values = sample[1] if sample else given
    async with drafts(settings, templates) as made:
        try:
            return (await made.compose(name, values or {}, locale)).content
        except ContentError as error:
            if values is not None or not str(error).endswith("is undefined"):
                raise
            raise ContentError(f"{error} (there is neither --context nor {name}.sample.json)") from None


def _parsed(content: bytes) -> "EmailMessage":
    from email import message_from_bytes, policy

    return message_from_bytes(content, policy=policy.default)


def _part(content: bytes, kind: str) -> str:
    """The text of this kind; empty where there is none."""
    part = _parsed(content).get_body((kind,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


def _html(template: str, content: bytes) -> str:
    html = _part(content, "html")
    if not html:
        raise ContentError(f"template {template!r} has no HTML: there is no {template}.html")
    return html


def _write(context: typer.Context, option: str, file: str, octets: bytes) -> None:
    if file == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return
    try:
        with open(file, "wb") as there:  # noqa: PTH123  # of an empty name, Path makes this folder
            there.write(octets)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"{option} {file!r} cannot be written: {why}", ctx=context) from None


def _open(html: str) -> None:
    """In a file of its own, which stays: a browser reads it when it likes."""
    import tempfile
    import webbrowser

    number, path = tempfile.mkstemp(prefix="outbox-preview-", suffix=".html")
    with os.fdopen(number, "wb") as file:
        file.write(html.encode())
    if not webbrowser.open(Path(path).as_uri()):
        raise ContentError(f"no browser could be started; the HTML is in {path}")
