"""Limits: how many emails may go in a while, as all pollers together keep them. Pure; the time comes in.

A limit by the second or minute is a pace: emails are spread evenly, each with a slot of its own (the generic cell rate
algorithm, without bursts). A limit by the hour or day is a quota: what it leaves may be used at once, and no window of
that length, wherever it begins, holds more. State is kept as JSON, with the database's time in it.
"""

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_RATE = re.compile(r"(\d+)\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LONGEST_PACE = 60.0
"""Seconds: a rate for so long, or less, is a pace."""

QUOTAS = frozenset(seconds for seconds in _SECONDS.values() if seconds > LONGEST_PACE)
"""Seconds of the windows that quotas can have."""

AHEAD = 2.0
"""Seconds that a slot may lie in the future. Pollers that share a pace reserve one behind the other."""

APART = 0.1
"""Seconds between the slots of one email at several limits, at most: it begins at the last of them, and none of the
others may be lost by then."""

PARTS = 60
"""Parts of a quota's window that are counted on their own. It is kept to two parts more than the window, so that no
window can hold more; at most so much of the quota stays unused for a while."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` emails in `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _SECONDS.items() if seconds == self.seconds), None)
        names = {"s": "s", "m": "min", "h": "hour", "d": "day"}
        return f"{self.count}/{names[unit]}" if unit else f"{self.count} in {self.seconds:.0f} s"

    @property
    def paced(self) -> bool:
        """Whether it spreads emails, rather than counting them."""
        return self.seconds <= LONGEST_PACE

    @property
    def interval(self) -> float:
        """Seconds between two emails, where they are spread."""
        return self.seconds / self.count


def parse_rate(text: object) -> Rate:
    """`14/s`, `30/min`, `500/hour`, `10000/day`. Raises ValueError, which says what would be right."""
    match = _RATE.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if not match or not 1 <= int(match[1]) <= 1_000_000_000:
        raise ValueError(f"{text!r} is not a rate; write it like 14/s, 30/min, 500/hour or 10000/day")
    return Rate(int(match[1]), _SECONDS[match[2][0]])


class Counted(NamedTuple):
    """That an email was let through for a time, and in which windows that counts."""

    at: float
    windows: Collection[float]


@dataclass(slots=True)
class Meter:
    """Where a limit stands. `now` is in seconds of any one clock, the database's."""

    rates: Sequence[Rate]
    slot: float = 0.0
    """When the next email may go, as far as paces are concerned."""
    used: dict[float, dict[int, int]] = field(default_factory=dict)
    """By windows: what was used in each part of the time. Also of quotas that only others have: while settings change,
    pollers with the old ones and with the new ones send side by side."""

    @classmethod
    def read(cls, rates: Sequence[Rate], state: str | None) -> "Meter":
        """As it was written. What cannot be read is forgotten."""
        try:
            found = json.loads(state) if state else {}
            slot = float(found.get("slot", 0.0))
            used = {float(w): {int(p): int(n) for p, n in parts.items()} for w, parts in found.get("used", {}).items()}
            used = {window: used[window] for window in used.keys() & QUOTAS}
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls(rates)
        if not math.isfinite(slot) or any(count < 0 for parts in used.values() for count in parts.values()):
            return cls(rates)
        return cls(rates, slot, used)

    def write(self) -> str:
        """For the next one."""
        used: dict[str, Any] = {str(window): parts for window, parts in self.used.items() if parts}
        return json.dumps({"slot": self.slot, "used": used}, separators=(",", ":"))

    def wait(self, now: float) -> float:
        """Seconds until one more can be let through; 0 where it can be now. A slot may lie `AHEAD`."""
        quotas = [self._quota_wait(rate, now) for rate in self.rates if not rate.paced]
        if not self._interval:
            return max(quotas, default=0.0)
        # Beyond that lies none of ours: the clock was set back, or the pace was slower.
        self.slot = min(self.slot, self._latest(now))
        return max(0.0, self.slot - AHEAD - now, *quotas)

    def take(self, now: float, at: float = 0.0) -> float:
        """Let one through, for which `wait` must be 0, and not before `at`; seconds until it may go."""
        slot = now
        if self._interval:
            slot = max(self.slot, now, at)
            self.slot = slot + self._interval
        for seconds in self.used.keys() | {rate.seconds for rate in self.rates if not rate.paced}:
            parts = self._current(seconds, now)
            part = _part(slot, seconds)
            parts[part] = parts.get(part, 0) + 1
        return slot - now

    def counted(self, at: float) -> Counted:
        """How the one counts that was let through last, for this time."""
        return Counted(at, tuple(self.used))

    def put_back(self, counted: Counted) -> None:
        """Do not count one that was let through and not tried; a quota that came up since never counted it."""
        for seconds in counted.windows:
            parts, part = self.used.get(seconds, {}), _part(counted.at, seconds)
            if parts.get(part):
                parts[part] -= 1

    def next_slot(self, now: float) -> float | None:
        """When the next one may go by its pace, if it has one; `wait` comes first."""
        return max(self.slot, now) if self._interval else None

    def next(self, now: float) -> float:
        """Seconds until the next one may go, for people to read."""
        return max(self.wait(now), self.slot - now if self._interval else 0.0)

    @property
    def _interval(self) -> float:
        return max((rate.interval for rate in self.rates if rate.paced), default=0.0)

    def _latest(self, now: float) -> float:
        """No slot that was taken lies later."""
        return now + AHEAD + self._interval

    def _current(self, seconds: float, now: float) -> dict[int, int]:
        """What was used in the parts of this window that still count."""
        parts = self.used.setdefault(seconds, {})
        latest = _part(self._latest(now), seconds)
        for part in [part for part in parts if part > latest]:  # the clock was set back: it counts from now on
            parts[latest] = parts.get(latest, 0) + parts.pop(part)
        for part in [part for part in parts if _end(part, seconds) <= now]:
            del parts[part]
        return parts

    def _quota_wait(self, rate: Rate, now: float) -> float:
        parts = self._current(rate.seconds, now)
        surplus = sum(parts.values()) - rate.count + 1
        for part in sorted(parts):
            if surplus <= 0:
                break
            surplus -= parts[part]
            if surplus <= 0:
                return _end(part, rate.seconds) - now
        return 0.0


def _part(time: float, window: float) -> int:
    """The part of the time that `time` is in."""
    return int(time // (window / PARTS))


def _end(part: int, window: float) -> float:
    """When what was used in `part` counts no more."""
    return (part + PARTS + 2) * (window / PARTS)
