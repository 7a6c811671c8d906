"""Where a message is composed: here, if that is surely quick; else in a child, which may take long or die.

Templates and the text of an HTML are programs of others, and large content takes its time: others need not wait.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from outbox.core.address import Mailbox
from outbox.core.claim import AttachedFile, Claimed
from outbox.core.errors import ContentError, NotNowError, SettingsError
from outbox.core.message import Message, check_size
from outbox.core.text import clean_text
from outbox.mail.addressees import Addressees
from outbox.mail.child import ChildSettings
from outbox.mail.children import Children
from outbox.mail.compose import Composed, Ground, compose
from outbox.mail.folder import require_folder
from outbox.mail.frames import Question, Reply, question_of, request_of
from outbox.mail.signing import Signer
from outbox.mail.signing_key import KeyFile, read_key_files

if TYPE_CHECKING:
    from outbox.settings import Settings

LARGE = 1 << 18
"""Characters and bytes above which content is large. Those of the header count for `HEADER_WEIGHT` each."""

HEADER_WEIGHT = 16

FOLDER_PATIENCE = 60.0
"""Seconds until an email is tried again whose template could not be read because the whole folder is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one email may take."""

    timeout: float = 5.0
    memory: int = 512 << 20
    max_size: int = 50 << 20


class Composer:
    """Composes messages; `sender` is for rows that name none, `templates` is None where no folder is configured.

    Children are started when they are needed; `close` it at the end. Raises ValueError for a key that is none.
    """

    def __init__(
        self,
        sender: Mailbox,
        templates: Path | None,
        limits: Limits | None = None,
        keys: Sequence[KeyFile] = (),
        redirect_to: Mailbox | None = None,
    ) -> None:
        limits = limits or Limits()
        self._folder = templates
        self._max_size = limits.max_size
        signer = Signer(keys) if keys else None
        self._ground = Ground(
            sender=sender, templates=None, max_size=limits.max_size, signer=signer, redirect_to=redirect_to
        )
        settings = ChildSettings(
            sender=sender,
            templates=templates,
            memory=limits.memory,
            max_size=limits.max_size,
            keys=keys,
            redirect_to=redirect_to,
        )
        self._children = Children(settings, limits.timeout)

    @classmethod
    def configured(cls, settings: "Settings") -> Self:
        """As `settings` have it. Raises SettingsError."""
        limits = Limits(
            timeout=settings.render_timeout, memory=settings.render_memory, max_size=settings.max_message_size
        )
        require_folder(settings.templates)
        keys, instead = read_key_files(settings.dkim), settings.elsewhere.redirect_to
        return cls(settings.default_sender, settings.templates, limits, keys, instead)

    async def compose(
        self, row: Claimed, to: Addressees, files: Sequence[AttachedFile], skip: Collection[str]
    ) -> Message:
        """The message of `row`. Recipients in `skip` are settled: the header shows them, the envelope does not.

        Raises ContentError, one readable line, for whatever is wrong with the row; NotNowError where it must wait.
        """
        size = _size(row, files)
        check_size(size, self._max_size)
        user = self._user(row, size)
        composed = compose(row, to, files, self._ground) if user is None else await self._apart(user, row, files, size)
        recipients, instead = to.everyone, self._ground.redirect_to
        if skip:
            recipients = tuple(r for r in recipients if r not in skip)
        if instead and recipients:
            recipients = (instead.address,)
        return Message(
            sender=composed.sender,
            recipients=recipients,
            content=composed.content,
            utf8_content=composed.utf8_content,
        )

    async def ask(self, user: str, question: Question) -> Any:
        """The answer to a question about the templates, by a child: to read one may take as long as to render it.

        Raises ContentError, which begins with `user` where it ran over its bounds; NotNowError.
        """
        reply = await self._children.ask(user, 0, (question_of(question), ()), patient=False)
        _raise_trouble(reply)
        return reply.trouble["found"]

    def abort(self) -> None:
        """End what is being composed; it ends as not tried."""
        self._children.abort()

    async def close(self) -> None:
        """The same, and wait until the children are gone."""
        await self._children.close()

    def _user(self, row: Claimed, size: int) -> str | None:
        """Who is to blame if it takes long; None where it cannot."""
        if row.template and _given(row.template):
            return _template(row.template[:200]) if self._folder else None
        if _given(row.body_html) and not _given(row.body_text):
            return "body_html"
        header = len(row.to_addrs or "") + len(row.cc_addrs or "") + len(row.headers or "") + len(row.subject or "")
        return f"email {row.id}" if size + header * HEADER_WEIGHT > LARGE else None

    async def _apart(self, user: str, row: Claimed, files: Sequence[AttachedFile], size: int) -> Composed:
        # Large content takes its time but comes to an end, so it waits for a child instead of being postponed.
        patient = user.startswith("email ")
        reply = await self._children.ask(user, size, request_of(row, files), patient=patient)
        try:
            _raise_trouble(reply)
        except ContentError:
            if row.template:
                self._require_folder()
            raise
        return Composed(reply.sender, reply.content, reply.utf8_content)

    def _require_folder(self) -> None:
        """Raises NotNowError where the folder of the templates is gone: no email is to blame for that."""
        try:
            require_folder(self._folder)
        except SettingsError as error:
            raise NotNowError(str(error), FOLDER_PATIENCE) from None


def _raise_trouble(reply: Reply) -> None:
    if error := reply.trouble.get("error"):
        raise ContentError(clean_text(str(error)))
    if bug := reply.trouble.get("bug"):
        error = RuntimeError(bug)
        error.add_note(str(reply.trouble.get("traceback")))
        raise error


@lru_cache(maxsize=1024)
def _template(name: str) -> str:
    return f"template {clean_text(name, 80)!r}"


def _size(row: Claimed, files: Sequence[AttachedFile]) -> int:
    bodies = len(row.body_text or "") + len(row.body_html or "") + len(row.context or "")
    return bodies + sum(len(file.content or b"") for file in files) if files else bodies


def _given(text: str | None) -> bool:
    return text is not None and bool(text.strip())
