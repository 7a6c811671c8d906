"""The flood guard: how many emails one recipient gets in a while. Pure; the time comes in.

Unlike a rate it is strict to the email: the times of the last ones are kept, and none goes that would be one too many
in the window that ends with it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from outbox.core.rate import Rate

MOST = 1000
"""Emails to one recipient in a window that a guard can allow: so many times are kept for each."""


@dataclass(slots=True)
class Recent:
    """The emails that one recipient got lately: their ids, each with its time in seconds of the database's clock."""

    times: dict[int, float] = field(default_factory=dict)

    @classmethod
    def read(cls, state: str | None) -> "Recent":
        """As it was written. What cannot be read is forgotten."""
        try:
            return cls({int(id_): float(time) for id_, time in json.loads(state or "{}").items()})
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def write(self) -> str:
        """For the next one."""
        return json.dumps(self.times, separators=(",", ":"))

    def is_full(self, email: int, limit: Rate, now: float) -> bool:
        """Whether `email` would be one too many. One that is tried again was counted already."""
        # Where the clock was set back, what seems to be still to come counts from now on.
        self.times = {id_: min(time, now) for id_, time in self.times.items() if time > now - limit.seconds}
        return email not in self.times and len(self.times) >= limit.count


def admit(
    emails: Sequence[tuple[int, Sequence[str]]], recent: Mapping[str, Recent], limit: Rate, now: float
) -> dict[int, str]:
    """Count `emails` (id and keys, one for each recipient) in `recent`; those that are too many, each with the key of
    its first recipient who has had enough. An email goes to all of them or to none."""
    refused: dict[int, str] = {}
    for id_, keys in emails:
        full = next((key for key in keys if recent[key].is_full(id_, limit, now)), None)
        if full is not None:
            refused[id_] = full
            continue
        for key in keys:
            recent[key].times.setdefault(id_, now)
    return refused
