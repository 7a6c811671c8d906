"""What came of an attempt: an outcome for each recipient that was tried, and the transport's fault if it had one."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from outbox.core.reply import Reply


class Kind(StrEnum):
    """The values of `email_attempt.outcome`."""

    ACCEPTED = "accepted"  # the server took responsibility (2yz after the final dot)
    DEFERRED = "deferred"  # not now; a later attempt may succeed
    REFUSED = "refused"  # no attempt will succeed
    IN_DOUBT = "in_doubt"  # the final dot left and no answer came


class Outcome(NamedTuple):
    """The outcome of one recipient. `reply` is the server's, or None where we decided or it never answered."""

    kind: Kind
    reply: Reply | None = None
    note: str = ""
    """Our own words, where there is no reply or it needs explaining."""

    def __str__(self) -> str:
        return " — ".join(part for part in (str(self.reply) if self.reply else "", self.note) if part)


class Scope(StrEnum):
    """How far a fault reaches beyond the message in hand."""

    PAUSE = "pause"  # the transport is in trouble; it will pass
    CONFIG = "config"  # a person must mend the configuration
    BY_HAND = "by hand"  # a person paused it, and a person will resume it
    STOPPING = "stopping"  # we are shutting down, nothing is wrong


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a transport cannot be used now. It costs no row an attempt."""

    scope: Scope
    reason: str
    wait: float | None = None
    """Seconds the server asked us to wait, if it did."""
    fewer: bool = False
    """One connection fewer, please."""
    crowded: bool = False
    """Nothing but the number of our connections is wrong: with one fewer the others can go on."""
    about_message: bool = False
    """It came up when a message was offered, and may be about that one: others should be tried before it is again."""


@dataclass(slots=True)
class Report:
    """What a transport says of one message. Recipients missing from `outcomes` were not tried."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    fault: Fault | None = None
