"""Denials: a server that will not relay for us, or not take our sender. One message's fault, or the configuration's?

A single message cannot tell, so it is tried again; several in a row without any success in between can. The reasons
are in docs/decisions/0012.
"""

from outbox.core.message import Message

IN_A_ROW = 3
"""Different messages denied in a row that make it a fault of the configuration."""

FINAL_ATTEMPT = 3
"""From this attempt of a row on a denial is final, where the configuration is not at fault."""

NOTE = "it may be the configuration that is refused, so this is tried again"


class Denials:
    """The messages denied since the last success of one transport."""

    def __init__(self) -> None:
        self._messages: set[int] = set()

    def add(self, message: Message) -> bool:
        """Whether with this one the configuration is to blame. However often it is tried, a message counts once."""
        self._messages.add(hash((message.sender, message.content)))
        return len(self._messages) >= IN_A_ROW

    def clear(self) -> None:
        """Something was not denied."""
        self._messages.clear()
