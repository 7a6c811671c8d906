"""Templates rendered without a row: by the composer of the daemon, in its child, within its bounds; sent nowhere."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from outbox.core.errors import SettingsError

if TYPE_CHECKING:
    from outbox.core.address import Mailbox
    from outbox.core.message import Message
    from outbox.mail.composer import Composer
    from outbox.mail.templates import Templates
    from outbox.settings import Settings

RECIPIENT = "recipient@example.org"
NO_SUBJECT = "(the subject of the row)"
"""Where a template has no subject of its own."""


class Drafts:
    """Makes messages of the templates of a folder."""

    def __init__(self, templates: "Templates", composer: "Composer") -> None:
        self._templates = templates
        self._composer = composer

    async def compose(self, name: str, context: dict[str, Any], locale: str | None) -> "Message":
        """The message. Raises ContentError, in one line, for whatever a row would fail with; NotNowError."""
        from outbox.core.claim import Claimed
        from outbox.core.message import MessageIds
        from outbox.mail.addressees import addressees
        from outbox.mail.language import language_of

        folder, now = self._templates.folder, datetime.now(UTC)
        subject = folder.nearest(f"{name}.subject.txt", language_of(locale).variants)
        columns: dict[str, Any] = {column.name: None for column in fields(Claimed)} | {
            "id": 0,
            "message_id": MessageIds.new(now, "preview.localhost").of(0),
            "created_at": now,
            "to_addrs": RECIPIENT,
            "subject": None if folder.exists(subject) else NO_SUBJECT,
            "template": name,
            "context": json.dumps(context),
            "locale": locale,
        }
        row = Claimed(**columns)
        return await self._composer.compose(row, addressees(row), (), ())

    async def ask(self, user: str, *question: str | None) -> Any:
        """See Composer."""
        return await self._composer.ask(user, question)


@asynccontextmanager
async def drafts(settings: "Settings", templates: "Templates") -> AsyncIterator[Drafts]:
    """With the limits of the daemon."""
    from outbox.mail.composer import Composer, Limits

    logging.getLogger("outbox").addHandler(logging.NullHandler())  # what goes wrong is raised, and told once
    limits = Limits(timeout=settings.render_timeout, memory=settings.render_memory, max_size=settings.max_message_size)
    composer = Composer(_sender(settings), settings.templates, limits)
    try:
        yield Drafts(templates, composer)
    finally:
        await composer.close()


def _sender(settings: "Settings") -> "Mailbox":
    """The configured one; any, where nothing is configured that mail could go out by."""
    from outbox.core.address import Mailbox

    try:
        return settings.default_sender
    except SettingsError:
        return Mailbox("", "outbox", "localhost")


def context_of(text: str) -> dict[str, Any]:
    """The value of `--context`: a JSON object, or the name of a file with one. Raises ValueError, which names it."""
    if text.lstrip().startswith("{"):
        return _json_object("--context", text)
    try:
        with open(text, encoding="utf-8-sig") as file:  # noqa: PTH123  # of an empty name, Path makes this folder
            found = file.read()
    except (OSError, ValueError) as error:
        if _is_json(text):
            return _json_object("--context", text)  # which says what it is instead
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"--context {text!r} is neither a JSON object nor a file with one: {why}") from None
    return _json_object(f"--context {text!r}", found)


def _json_object(where: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be a JSON object, {{…}}, not {type(found).__name__}")  # noqa: TRY004  # wrong input, like the others here
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
