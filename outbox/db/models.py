"""The tables as SQLAlchemy classes: columns, defaults, constraints and indexes are said here, and nowhere else."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Text,
    false,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.orderinglist import ordering_list
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from outbox.core.status import Status
from outbox.db import validation
from outbox.db.constraints import attempt_checks, email_checks, utc_text_checks
from outbox.db.types import BigId, Generated, JsonDocument, Small, UtcNow, UtcTimestamp

GATE = "coalesce(route, transport, '')"
"""What an email waits at: emails at one gate can all go, or none of them. At `''` are those not routed yet."""


class Base(DeclarativeBase):
    """The outbox's own tables, apart from the application's metadata."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {str: Text, datetime: UtcTimestamp, bytes: LargeBinary}


class Email(Base):
    """One row of `email_outbox`: an email and where it stands. DESIGN §3 gives the meaning of every column."""

    __tablename__ = "email_outbox"
    # sqlite_autoincrement: an id that was used again would find the attempts of a deleted email.
    __table_args__ = (*email_checks(), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    sender: Mapped[str | None]
    to_addrs: Mapped[str] = mapped_column(server_default="")
    cc_addrs: Mapped[str | None]
    bcc_addrs: Mapped[str | None]
    reply_to: Mapped[str | None]
    subject: Mapped[str | None]
    body_text: Mapped[str | None]
    body_html: Mapped[str | None]
    template: Mapped[str | None]
    context: Mapped[Any | None] = mapped_column(JsonDocument)
    locale: Mapped[str | None]
    headers: Mapped[Any | None] = mapped_column(JsonDocument)
    priority: Mapped[int] = mapped_column(Small, server_default=text("1"))
    due_at: Mapped[datetime | None] = mapped_column(server_default=UtcNow())
    expires_at: Mapped[datetime | None]
    max_attempts: Mapped[int | None]
    transport: Mapped[str | None]
    on_doubt: Mapped[str] = mapped_column(server_default="resend")
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    tag: Mapped[str | None]
    sensitive: Mapped[bool] = mapped_column(server_default=false())
    status: Mapped[str] = mapped_column(server_default=Status.PENDING.value)
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    claim_token: Mapped[str | None]
    claimed_by: Mapped[str | None]
    message_id: Mapped[str | None]
    route: Mapped[str | None]
    """The transport that routing chose, or `@domain` where it waits for the limit of a recipient's domain."""
    held: Mapped[bool | None]
    """True: it waits for a person, who releases it. False: somebody did."""
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=UtcNow())
    finished_at: Mapped[datetime | None]
    erased: Mapped[bool] = mapped_column(server_default=false())
    """True: it is final, and its bodies, context and attachments are gone; it cannot be sent again."""

    attachments: Mapped[list["Attachment"]] = relationship(
        order_by="Attachment.position",
        collection_class=ordering_list("position"),
        cascade="all, delete-orphan",
        passive_deletes=True,
        lazy="raise",  # files are big: `selectinload(Email.attachments)` says that they are wanted
    )

    @hybrid_property
    def gate(self) -> str:
        """What it waits at."""
        return self.route or self.transport or ""

    @gate.inplace.expression
    @classmethod
    def _gate(cls) -> ColumnElement[str]:
        column: ColumnElement[str] = cls.__table__.c.gate
        return column

    def __init__(  # noqa: PLR0913  # the keywords are the columns
        self,
        *,
        to: str | Iterable[str] | None = None,
        cc: str | Iterable[str] | None = None,
        bcc: str | Iterable[str] | None = None,
        sender: str | None = None,
        reply_to: str | Iterable[str] | None = None,
        subject: str | None = None,
        text: str | None = None,
        html: str | None = None,
        attachments: Iterable["Attachment"] = (),
        template: str | None = None,
        context: Mapping[str, Any] | None = None,
        locale: str | None = None,
        headers: Mapping[str, str] | None = None,
        priority: int | None = None,
        due_at: datetime | None = None,
        expires_at: datetime | None = None,
        max_attempts: int | None = None,
        transport: str | None = None,
        on_doubt: str | None = None,
        idempotency_key: str | None = None,
        tag: str | None = None,
        sensitive: bool | None = None,
    ) -> None:
        """An email to insert. Raises ValueError, naming the argument, for whatever could never be sent."""
        validation.some_content(template, subject, text, html)
        recipients = {
            "to_addrs": validation.address_list("to", to),
            "cc_addrs": validation.address_list("cc", cc),
            "bcc_addrs": validation.address_list("bcc", bcc),
        }
        validation.some_recipient(*recipients.values())
        files = validation.instances("attachments", attachments, Attachment)
        values = {
            **recipients,
            "sender": validation.one_mailbox("sender", sender),
            "reply_to": validation.address_list("reply_to", reply_to),
            "subject": validation.line("subject", subject),
            "body_text": validation.body("text", text),
            "body_html": validation.body("html", html),
            "template": validation.template("template", template),
            "context": validation.json_object("context", context),
            "locale": validation.locale("locale", locale),
            "headers": validation.header_object("headers", headers),
            "priority": validation.whole_number("priority", priority, 0, 2),
            "due_at": validation.moment("due_at", due_at),
            "expires_at": validation.moment("expires_at", expires_at),
            "max_attempts": validation.whole_number("max_attempts", max_attempts, 1, 1000),
            "transport": validation.line("transport", transport),
            "on_doubt": validation.one_of("on_doubt", on_doubt, ("resend", "hold")),
            "idempotency_key": validation.line("idempotency_key", idempotency_key),
            "tag": validation.line("tag", tag),
            "sensitive": None if sensitive is None else bool(sensitive),
        }
        # What was not given is left to the defaults of the table; an explicit NULL would override them.
        super().__init__(**{name: value for name, value in values.items() if value is not None})
        self.attachments = files


class Attachment(Base):
    """A file of an email. With `cid` it is inline: `<img src="cid:logo">`."""

    __tablename__ = "email_attachment"
    __table_args__ = (
        CheckConstraint(
            "(content IS NULL) <> (blob_id IS NULL)", name="an attachment has exactly one of content and blob_id"
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("email_outbox.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(server_default=text("0"))
    filename: Mapped[str]
    content_type: Mapped[str | None]
    cid: Mapped[str | None]
    inline: Mapped[bytes | None] = mapped_column("content")
    blob_id: Mapped[int | None] = mapped_column(ForeignKey("email_blob.id"))
    blob: Mapped["Blob | None"] = relationship(lazy="joined", viewonly=True)
    placed = False
    """Whether it was decided for this INSERT where its bytes go."""

    def __init__(self, filename: str, content: bytes, content_type: str | None = None, cid: str | None = None) -> None:
        """Raises ValueError, naming the argument. Without `content_type` the file name decides."""
        if not filename:
            raise ValueError("filename is empty")
        if not isinstance(content, bytes | bytearray | memoryview):
            raise ValueError(f"content must be bytes, not {type(content).__name__}")  # noqa: TRY004  # as documented
        self._given = bytes(content)
        super().__init__(
            filename=validation.line("filename", filename),
            inline=self._given,
            content_type=validation.content_type("content_type", content_type),
            cid=validation.cid("cid", cid),
        )

    @classmethod
    def from_path(cls, path: Path | str, *, content_type: str | None = None, cid: str | None = None) -> "Attachment":
        """The file at `path`, under its own name. Raises OSError where it cannot be read."""
        path = Path(path)
        return cls(path.name, path.read_bytes(), content_type, cid)

    @property
    def content(self) -> bytes:
        """Its bytes, wherever they are stored."""
        found = getattr(self, "_given", self.inline)  # one that was loaded was given nothing
        return self.blob.content if found is None and self.blob else found or b""


class Blob(Base):
    """Bytes that many attachments share; deleted with the last of them."""

    __tablename__ = "email_blob"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    content: Mapped[bytes]


class Attempt(Base):
    """What one attempt came to for one recipient. Append-only: a retry reads here whom to skip."""

    __tablename__ = "email_attempt"
    __table_args__ = (*attempt_checks(), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("email_outbox.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    recipient: Mapped[str]
    outcome: Mapped[str]
    code: Mapped[int | None]
    enhanced: Mapped[str | None]
    reply: Mapped[str | None]
    transport: Mapped[str | None]
    poller: Mapped[str | None]
    attempted_at: Mapped[datetime] = mapped_column(server_default=UtcNow())


class TransportState(Base):
    """Whether a transport is paused, for all pollers and for people, and where its rate limit stands."""

    __tablename__ = "email_transport"
    __table_args__ = utc_text_checks("paused_until", "next_send_at")

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_until: Mapped[datetime | None]
    reason: Mapped[str | None]
    next_send_at: Mapped[datetime | None]
    """When the shared limit lets the next email go; null: no limit."""
    rate_state: Mapped[str | None]
    """JSON of what was let through: see `core.rate`."""


class LimitState(Base):
    """Where a limit stands that is not a transport's: that of a recipient domain (`@example.org`), or of the flood
    guard."""

    __tablename__ = "email_limit"
    __table_args__ = utc_text_checks("next_send_at", "used_at")

    name: Mapped[str] = mapped_column(primary_key=True)
    next_send_at: Mapped[datetime | None]
    rate_state: Mapped[str | None]
    used_at: Mapped[datetime] = mapped_column(server_default=UtcNow(), index=True)
    """Those that nobody uses any more are deleted."""


class PollerState(Base):
    """A running poller, as it last reported."""

    __tablename__ = "email_poller"
    __table_args__ = utc_text_checks("started_at", "seen_at")

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=UtcNow())
    seen_at: Mapped[datetime] = mapped_column(server_default=UtcNow())


# Not an attribute that is mapped: what was fetched for an email would be inserted with it if it is added once more.
Email.__table__.append_column(Column("gate", Text, Generated(GATE)))  # type: ignore[attr-defined]  # it is a Table

# Few indexes: each one is paid for on every write.
_due, _expires = Email.due_at.isnot(None), Email.expires_at.isnot(None) & Email.due_at.isnot(None)
_finished, _shared = Email.finished_at.isnot(None), Attachment.blob_id.isnot(None)
Index(
    "ix_email_outbox_due", Email.gate, Email.priority, Email.due_at, Email.id, sqlite_where=_due, postgresql_where=_due
)
Index("ix_email_outbox_expires", Email.expires_at, sqlite_where=_expires, postgresql_where=_expires)
Index(
    "ix_email_outbox_finished",
    *(Email.status, Email.erased, Email.finished_at, Email.id),
    sqlite_where=_finished,
    postgresql_where=_finished,
)
Index("ix_email_attachment_blob", Attachment.blob_id, sqlite_where=_shared, postgresql_where=_shared)
