"""What passes between the store and a delivery: a claimed row, and the result that is written back for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from outbox.core.outcome import Kind, Outcome
from outbox.core.rate import Counted
from outbox.core.retry import Verdict

NOBODY: Mapping[str, Outcome] = MappingProxyType({})

NOWHERE: Mapping[str, Counted] = MappingProxyType({})

URGENT = 0
"""The priority of emails that somebody is waiting for."""

INLINE = 1 << 18
"""Bytes of a body or context that come with a claim; a poller holds many claimed rows, but sends few at a time."""


@dataclass(slots=True)
class Claimed:
    """A row as it was claimed. Content is as the database holds it: unparsed, possibly nonsense.

    The stores select their columns in this order.
    """

    id: int
    claim_token: str
    attempts: int  # this one included
    overdue: float  # seconds since it fell due, at the moment of the claim
    taken_over: bool  # its last owner's lease ended without a result
    message_id: str
    created_at: datetime
    expires_in: float | None  # seconds left at the moment of the claim, by the database's clock
    sender: str | None
    to_addrs: str
    cc_addrs: str | None
    bcc_addrs: str | None
    reply_to: str | None
    subject: str | None
    body_text: str | None
    body_html: str | None
    template: str | None
    context: str | None  # JSON text
    locale: str | None
    headers: str | None  # JSON text
    priority: int
    max_attempts: int | None
    transport: str | None
    on_doubt: str
    has_attachments: bool
    size: int = 0
    """Bytes of body_text, body_html and context. What is larger than `INLINE` is left out; it is loaded when needed."""
    tag: str | None = None
    held: bool | None = None  # False: it was held, and a person released it
    gate: str = ""
    """Where it was claimed: a transport, `@domain` of a recipient, or '' for an email not routed yet."""
    sensitive: bool = False
    due_at: str = ""
    """When it fell due, as the database writes it: what is given back takes its old place in the queue."""
    way: str = ""
    """The transport that it will go over, which is decided after the claim."""
    to_note: bool = False
    """Whether whoever takes it over would look for it on another way, so that this one is noted before it goes there:
    meanwhile the row waits at the gate of `way`."""
    home: str | None = None
    """The gate where it waits on, once nothing of it is in doubt; None: where it is."""
    quotas: Mapping[str, Counted] = field(default_factory=lambda: NOWHERE)
    """The limits in whose quotas it is counted, by the database's clock."""
    history: Mapping[str, Kind] = field(default_factory=dict)
    """The last outcome of every recipient tried before; an accepted one stays accepted."""

    @property
    def is_doubtful(self) -> bool:
        """Whether an attempt before may have sent it. Of one on hold that is on record before the final dot leaves."""
        return Kind.IN_DOUBT in self.history.values() or (self.taken_over and self.on_doubt != "hold")

    @property
    def returns_to(self) -> str | None:
        """The gate to put it back to if it is not tried; None: where it is, for only one server could know a copy."""
        return None if self.is_doubtful else self.home


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """An attachment with its bytes, loaded just before it is sent."""

    filename: str
    content: bytes
    content_type: str | None = None
    cid: str | None = None


class Result(NamedTuple):
    """What an attempt wrote: the verdict, and an outcome per recipient for the history."""

    id: int
    claim_token: str
    attempt: int
    verdict: Verdict
    outcomes: Mapping[str, Outcome] = NOBODY
    transport: str | None = None
    lost: Mapping[str, Outcome] = NOBODY
    """Outcomes of the attempt before this one, whose poller could not write them any more."""
    marks: tuple[int, ...] = ()
    """Ids of the outcomes that were put on record before the final dot, and which these replace."""
    smtp_seconds: float | None = None
    """From the ready message to its last outcome, waiting for a connection included; None where nothing was offered."""
