"""What came of a transaction: an outcome for each recipient, and what it says about the server."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from outbox.core.outcome import Fault, Kind, Outcome
from outbox.core.reply import Reply


@dataclass(slots=True)
class Transacted:
    """Recipients without an outcome were not tried, or belong into the next transaction."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    fresh: bool = False
    """Once more at once, on a new connection."""
    fault: Fault | None = None
    denied: bool = False
    """Everybody was refused, for what may be wrong with our configuration just as well."""
    fewer: bool = False
    """The server is short of breath: one connection fewer, please."""
    alone: bool = False
    """The server did not cope with commands in a group, though it offers to."""

    def settle(self, recipients: Iterable[str], kind: Kind, reply: Reply | None = None, note: str = "") -> None:
        """Theirs is this outcome, whatever was there before."""
        self.outcomes.update(dict.fromkeys(recipients, Outcome(kind, reply, note)))

    def settle_rest(self, recipients: Iterable[str], kind: Kind, reply: Reply | None, note: str) -> None:
        """It is this outcome for those who have none."""
        self.settle([r for r in recipients if r not in self.outcomes], kind, reply, note)

    def forget_replies(self) -> None:
        """The replies are out of step: none of them may have answered what it was taken for."""
        for recipient in [r for r, outcome in self.outcomes.items() if outcome.reply]:
            del self.outcomes[recipient]
        self.denied = False
