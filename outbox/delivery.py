"""One attempt at one email, as one pipe: whom for, may it be sent, compose, send, decide.

It knows nothing of the database; the poller hands it a claimed row and passes on the result.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from outbox.core.claim import AttachedFile, Claimed, Result
from outbox.core.errors import ContentError
from outbox.core.message import Message
from outbox.core.outcome import Kind, Outcome, Report
from outbox.core.retry import Random, RetryPolicy, Standing, Verdict, decide, give_up, postpone, settle
from outbox.core.text import clean_text
from outbox.mail.addressees import Addressees, addressees
from outbox.mail.compose import Composer
from outbox.smtp.transport import Transport

log = logging.getLogger("outbox.delivery")

LoadFiles = Callable[[int], Awaitable[Sequence[AttachedFile]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Everything an attempt needs, built once by the daemon."""

    composer: Composer
    transports: Mapping[str, Transport]
    default_transport: str
    load_files: LoadFiles
    policy: RetryPolicy
    random: Random

    async def attempt(self, row: Claimed, *, expired: bool, still_owned: Callable[[], bool]) -> Result:
        """The result of this attempt. A fault of the row itself ends the row, it never raises."""
        standing = _standing(row, ())
        try:
            to = addressees(row)
            standing = _standing(row, to.everyone)
            verdict = settle(standing, self.policy, taken_over=row.taken_over, expired=expired)
            if verdict:
                return _result(row, verdict)
            transport = self._route(row)
            files = await self.load_files(row.id) if row.has_attachments else ()
            message = self.composer.compose(row, to, files, standing.settled.keys() | to.bad.keys())
        except ContentError as error:
            return _result(row, give_up(standing, str(error)))
        report = await _send(transport, message, still_owned)
        report.outcomes.update(_newly_bad(to, row))
        verdict = decide(standing, report, self.policy, self.random)
        if report.fault and verdict.delay == 0 and len(self.transports) > 1:
            # Rows for the other transports go on; this one must not be claimed over and over meanwhile.
            verdict = replace(verdict, delay=transport.paused_for)
        outcomes = {r: report.outcomes[r] for r in to.everyone if r in report.outcomes}
        return replace(_result(row, verdict), outcomes=outcomes, transport=transport.name)

    def after_bug(self, row: Claimed, error: Exception) -> Result:
        """The result where our own code failed: the row waits for its next attempt, the others go on."""
        return _result(row, postpone(_standing(row, ()), _bug(error), self.policy, self.random))

    def _route(self, row: Claimed) -> Transport:
        name = row.transport or self.default_transport
        if name not in self.transports:
            known = ", ".join(sorted(self.transports))
            raise ContentError(f"transport {name!r} is not configured (there is: {known})")
        return self.transports[name]


async def _send(transport: Transport, message: Message, still_owned: Callable[[], bool]) -> Report:
    if not message.recipients:  # every entry of its lists was bad
        return Report()
    try:
        return await transport.send(message, still_owned=still_owned)
    except Exception as error:
        # We cannot tell where it broke off, so it may have gone out.
        log.exception("internal error while sending")
        return Report({r: Outcome(Kind.IN_DOUBT, note=_bug(error)) for r in message.recipients})


def _bug(error: Exception) -> str:
    return f"internal error, please report it: {type(error).__name__}: {clean_text(str(error), 200)}"


def _standing(row: Claimed, everyone: Sequence[str]) -> Standing:
    final = {r: kind for r, kind in row.history.items() if kind in {Kind.ACCEPTED, Kind.REFUSED} and r in everyone}
    if len(final) == len(everyone):
        # Nobody waits, and yet the row is due: somebody asked for it again by hand. Who was refused gets another try.
        final = {r: kind for r, kind in final.items() if kind is Kind.ACCEPTED}
    return Standing(everyone, final, row.attempts, row.max_attempts, row.on_doubt == "hold")


def _newly_bad(to: Addressees, row: Claimed) -> Mapping[str, Outcome]:
    return {r: outcome for r, outcome in to.bad.items() if row.history.get(r) is not Kind.REFUSED}


def _result(row: Claimed, verdict: Verdict) -> Result:
    return Result(row.id, row.claim_token, row.attempts, verdict)
