"""Whether a transport may be used now: paused after a fault, on probation after the pause, then well again.

What other pollers and people know about the transport is adopted here as well, so that there is one answer.
"""

from collections.abc import Callable
from dataclasses import replace

from outbox.core.outcome import Fault, Scope
from outbox.core.retry import JITTER, MAX_WAIT, Random

_BACKOFF = {Scope.PAUSE: (1.0, 300.0), Scope.CONFIG: (300.0, 900.0)}
"""Seconds of the first pause, which doubles with every fault in a row, and of the longest."""

_SAME = 0.5
"""Seconds by which two clocks may differ about the end of one and the same pause."""


class Health:
    """Counts faults in a row. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], random: Random) -> None:
        self.failures = 0
        """Faults since the last success; after the pause, while there are any, only a probe should go out."""
        self.pauses = 0
        """Pauses there have been: what began before the last of them proves nothing about what came after."""
        self._clock = clock
        self._random = random
        self._until = 0.0
        self._fault: Fault | None = None

    @property
    def paused_for(self) -> float:
        """Seconds until the transport may be tried again, 0 where it may be now, infinity where a person decides."""
        return max(self._until - self._clock(), 0.0) if self._fault else 0.0

    @property
    def fault(self) -> Fault | None:
        """What was wrong last, None when all is well. Its `wait` is what is left of the pause."""
        # Whoever is told of it now was not the one at whose offer it came up.
        return replace(self._fault, wait=self.paused_for, about_message=False) if self._fault else None

    @property
    def by_hand(self) -> bool:
        """Whether a person paused it."""
        return self._fault is not None and self._fault.scope is Scope.BY_HAND

    def failed(self, fault: Fault) -> bool:
        """Pause; whether that is news. Connections that fail together are one failure: only a longer wait counts."""
        if self.by_hand:
            return False
        already = self.paused_for > 0
        if not already:
            self.failures += 1
        first, longest = _BACKOFF[fault.scope]
        step = min(first * 2.0 ** min(self.failures - 1, 20), longest)
        wait = max(step * self._random.uniform(1 - JITTER, 1 + JITTER), min(fault.wait or 0.0, MAX_WAIT))
        until = self._clock() + wait
        news = not already or (until > self._until and not self._as_before(fault))
        if news:
            self._pause(fault, until)
        return news

    def succeeded(self) -> bool:
        """The transport works. Whether that is news."""
        news = self._fault is not None
        self.failures, self._until, self._fault = 0, 0.0, None
        return news

    def adopt(self, fault: Fault | None) -> bool:
        """Take over what is known elsewhere: a fault whose `wait` is left of its pause, or None: all is well.

        Whether that is news. A pause that others found out about counts as a failure here too, so that whoever probes
        next waits as long as anybody would.
        """
        if fault is None:
            return self.succeeded()
        wait, before = fault.wait or 0.0, self._fault
        if not self.failures or (self.paused_for == 0 and wait > _SAME):
            self.failures += 1
        news = before is None or (before.scope, before.reason) != (fault.scope, fault.reason)
        if news:
            self._pause(replace(fault, wait=None), self._clock() + wait)
        else:
            self._until = self._clock() + wait
        return news

    def _pause(self, fault: Fault, until: float) -> None:
        self.pauses += 1
        self._until, self._fault = until, fault

    def _as_before(self, fault: Fault) -> bool:
        before = self._fault
        return before is not None and (before.scope, before.wait) == (fault.scope, fault.wait)
