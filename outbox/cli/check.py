"""`check`: whether everything that sending needs is there, and what to do about what is not."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.check_keys import check_keys
from outbox.cli.check_templates import check_templates
from outbox.cli.finding import Finding
from outbox.cli.output import one_line
from outbox.core.errors import DatabaseError, SettingsError
from outbox.core.outcome import Fault

if TYPE_CHECKING:
    from outbox.settings import Settings, TransportSettings

OTHER_VARIABLES = frozenset({"OUTBOX_CONFIG", "OUTBOX_DEBUG"})
"""Variables that are ours without being settings."""


def check(context: typer.Context) -> None:
    """Check database, schema, transports (connect, TLS, login; no mail), sender and templates. Exit 1 if one is bad."""
    settings = settings_of(context)
    for name in unknown_variables():
        typer.echo(one_line(f"! {name} is set, but there is no such setting; is it misspelt?"), err=True)
    if not asyncio.run(_print_findings(settings)):
        raise typer.Exit(1)


async def _print_findings(settings: "Settings") -> bool:
    """Each as it is found, because a server that does not answer takes its time. True where all are good."""
    all_good = True
    async for finding in _findings(settings):
        all_good = all_good and finding.good
        typer.echo(one_line(f"{finding.mark} {finding.subject}: {finding.text}"))
    return all_good


async def _findings(settings: "Settings") -> AsyncIterator[Finding]:
    for finding in await _database(settings):
        yield finding
    for warning in settings.elsewhere.warnings():
        subject, text = warning.split(": ", 1)
        yield Finding(subject, text, warning=True)
    if settings.sender or settings.transports:
        yield _sender(settings)
    if not settings.transports:
        yield Finding("transport", "none; set OUTBOX_SMTP_URL, e.g. smtp+starttls://user:pass@host:587", good=False)
    for name, one in settings.transports.items():
        if one.mismatch:
            yield Finding(f"transport {name}", one.mismatch, warning=True)
    checks = [_transport(name, one) for name, one in settings.transports.items()]
    for finished in asyncio.as_completed(checks):
        yield await finished
    for finding in check_keys(settings):
        yield finding
    async for finding in check_templates(settings):
        yield finding


async def _database(settings: "Settings") -> list[Finding]:
    from outbox.db.checkpoint import sqlite_facts
    from outbox.db.schema import HEAD

    try:
        async with migrated_database(settings) as engine:
            where = engine.url.render_as_string(hide_password=True)
            sqlite = sqlite_facts() if engine.dialect.name == "sqlite" else None
    except DatabaseError as error:
        return [Finding("database", str(error), good=False)]
    if sqlite is None:
        return [Finding("database", f"{where}, schema {HEAD}")]
    found = [Finding("database", f"{where}, schema {HEAD}, SQLite {sqlite.version}")]
    if sqlite.warning:
        found.append(Finding("sqlite", sqlite.warning, warning=True))
    return found


def _sender(settings: "Settings") -> Finding:
    try:
        return Finding("sender", settings.sender or settings.default_sender.address)
    except SettingsError as error:
        return Finding("sender", str(error), good=False)


async def _transport(name: str, settings: "TransportSettings") -> Finding:
    from outbox.smtp.transport import Transport

    transport = Transport(name, settings)
    try:
        found = await transport.check()
    finally:
        await transport.close()
    subject = f"transport {name}"
    if isinstance(found, Fault):
        return Finding(subject, f"{found.reason}; check its url {settings.smtp_url} and the server", good=False)
    return Finding(subject, f"{settings.smtp_url}: {found}")


def unknown_variables() -> list[str]:
    """Variables that look like settings of ours and are none."""
    from outbox.settings import Settings, TransportSettings
    from outbox.settings.retention import RetentionSettings
    from outbox.settings.sources import NO_VARIABLE

    fields = {*Settings.model_fields, *TransportSettings.model_fields} - NO_VARIABLE
    fields |= {f"retention_{name}" for name in RetentionSettings.model_fields}
    known = OTHER_VARIABLES | {f"OUTBOX_{name.upper()}" for name in fields}
    return sorted(name for name in os.environ if name.startswith("OUTBOX_") and name not in known)
