"""One attempt at one email, as one pipe: whom for, may it be sent, compose, send, decide.

It knows nothing of the database; the poller hands it a claimed row and passes on the result.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from outbox.budget import Budget, Room
from outbox.core.claim import INLINE, URGENT, AttachedFile, Claimed, Result
from outbox.core.discretion import bug, discreet, fault_of
from outbox.core.elsewhere import Elsewhere
from outbox.core.errors import ContentError, DatabaseError, NotNowError
from outbox.core.message import Message
from outbox.core.outcome import Kind, Outcome, Report
from outbox.core.retry import Random, RetryPolicy, Standing, Verdict, blamed, decide, give_up, hold, postpone, settle
from outbox.core.status import Status
from outbox.mail.addressees import Addressees, addressees, read_addressees
from outbox.mail.composer import Composer
from outbox.smtp.transport import Transport

log = logging.getLogger("outbox.delivery")

LoadContent = Callable[[Claimed], Awaitable[Claimed]]
SizeOfFiles = Callable[[int], Awaitable[int]]
LoadFiles = Callable[[int], Awaitable[Sequence[AttachedFile]]]
WriteMark = Callable[[Result], Awaitable[tuple[int, ...]]]

SUSPICIOUS = 10
"""Weight of a fault that speaks against the email; of one that others may have met as well it is 1, so that even an
email that is alone in the queue of a server that never takes it comes to an end, after a day of trying."""

LOST = Outcome(Kind.IN_DOUBT, note="its poller died or hung in this attempt, so it may have been sent")
LOST_BEFORE_DOT = Outcome(Kind.DEFERRED, note="its poller died or hung before the final dot left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Everything an attempt needs, built once by the daemon."""

    composer: Composer
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    transports: Mapping[str, Transport]
    load_content: LoadContent
    size_of_files: SizeOfFiles
    load_files: LoadFiles
    mark: WriteMark
    policy: RetryPolicy
    random: Random
    bounces: Counter[int] = field(default_factory=Counter)
    budget: Budget = field(default_factory=Budget)

    async def attempt(
        self,
        row: Claimed,
        *,
        expired: bool,
        still_owned: Callable[[], bool],
        may_leave: Callable[[], Awaitable[bool]],
        on_record: Callable[[], None] = lambda: None,
    ) -> Result:
        """The result of this attempt. A fault of the row itself ends the row, it never raises.

        `may_leave` is awaited before a final dot. `on_record` is called before the attempt waits for a connection once
        more: what came of that dot, if it left, is on record.
        """
        mark = _Mark(row, self.mark, may_leave, on_record, self.elsewhere)
        with self.budget.room() as room:
            return await self._attempt(row, room, mark, expired=expired, still_owned=still_owned)

    async def _attempt(
        self,
        row: Claimed,
        room: Room,
        mark: "_Mark",
        *,
        expired: bool,
        still_owned: Callable[[], bool],
    ) -> Result:
        try:
            to = await read_addressees(row)
        except ContentError as error:
            standing = _standing(row, ())
            return _result(row, give_up(standing, str(error)), standing)
        standing = _standing(row, to.everyone)
        skip = standing.settled.keys() | to.bad.keys()
        waiting = [r for r in to.everyone if r not in skip]
        try:
            if verdict := self._unsent(standing, waiting, expired=expired):
                return _result(row, verdict, standing)
            transport = self._route(row)
            message = await self._compose(row, to, skip, room)
        except ContentError as error:
            return _result(row, give_up(standing, str(error)), standing)
        except NotNowError as error:
            wait = Verdict(Status.PENDING, delay=error.delay, counted=False, reason=str(error) or None)
            return _result(row, wait, standing)
        mark.transport, mark.recipients = transport.name, waiting
        began = time.perf_counter()
        report = await _send(transport, message, row, still_owned, mark)
        took = time.perf_counter() - began
        bounces = self._bounced(row.id, report, transport)
        if report.fault:
            standing = standing._replace(bounces=bounces)
            report = blamed(report, message.recipients, bounces)
        report.outcomes = {**mark.told(report.outcomes), **_newly_bad(to, row)}
        verdict = decide(standing, report, self.policy, self.random)
        outcomes = {r: report.outcomes[r] for r in to.everyone if r in report.outcomes}
        lost, marks = _lost(row, standing), tuple(mark.ids.values())
        # Where it is in doubt, no other could recognise the copy.
        kinds = {**row.history, **{r: outcome.kind for r, outcome in (*lost.items(), *outcomes.items())}}
        verdict = verdict._replace(route=transport.name if Kind.IN_DOUBT in kinds.values() else row.home)
        return Result(row.id, row.claim_token, row.attempts, verdict, outcomes, transport.name, lost, marks, took)

    def _unsent(self, standing: Standing, waiting: Sequence[str], *, expired: bool) -> Verdict | None:
        """The verdict on a row that must not be sent."""
        if verdict := settle(standing, self.policy, expired=expired):
            return verdict
        objection = self.elsewhere.objection(waiting)
        return hold(objection) if objection else None

    async def _compose(self, row: Claimed, to: Addressees, skip: Collection[str], room: Room) -> Message:
        """The message. What it was made of is gone from memory afterwards."""
        size = row.size if row.size > INLINE else 0
        if row.has_attachments:
            size += await self.size_of_files(row.id)
        await room.compose(size)
        row = await self.load_content(row)
        files = await self.load_files(row.id) if row.has_attachments else ()
        try:
            message = await self.composer.compose(row, to, files, skip)
        except ContentError as error:
            raise ContentError(fault_of(error, sensitive=row.sensitive)) from None
        if row.sensitive or row.priority == URGENT:
            message = message._replace(urgent=row.priority == URGENT, sensitive=row.sensitive)
        room.composed(len(message.content) + len(message.utf8_content or b""))
        return message

    def _bounced(self, row: int, report: Report, transport: Transport) -> int:
        """How often this email was the one at which a transport that is well otherwise failed. Only remembered: where
        pollers change, it takes longer until it is held against the email."""
        if not (report.fault and report.fault.about_message):
            return self.bounces.pop(row, 0) // SUSPICIOUS
        # The first fault after a success, and not this email's first: others went through in between.
        self.bounces[row] += SUSPICIOUS if self.bounces[row] and transport.failures == 1 else 1
        return self.bounces[row] // SUSPICIOUS

    def reluctance(self, row: Claimed) -> int:
        """How much later than others an email should be tried."""
        return self.bounces.get(row.id, 0)

    def after_bug(self, row: Claimed, error: Exception) -> Result:
        """The result where our own code failed: the row waits for its next attempt, the others go on."""
        standing = _standing(row, ())
        return _result(row, postpone(standing, bug(error, sensitive=row.sensitive), self.policy, self.random), standing)

    def _route(self, row: Claimed) -> Transport:
        if row.transport and row.transport not in self.transports:
            known = ", ".join(sorted(self.transports))
            raise ContentError(f"transport {row.transport!r} is not configured (there is: {known})")
        return self.transports[row.way]


@dataclass(slots=True)
class _Mark:
    """Puts outcomes on record while an attempt is under way, so that they hold whatever happens to this process: in
    doubt, before the final dot of an email on hold leaves; as they are, between the transactions of one attempt. The
    result replaces them."""

    row: Claimed
    write: WriteMark
    may_leave: Callable[[], Awaitable[bool]]
    on_record: Callable[[], None]
    elsewhere: Elsewhere
    transport: str = ""
    recipients: Sequence[str] = ()  # whom the outcomes are of, where one stands in for all
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    content_seen: bool = False

    async def before_dot(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether the dot may leave."""
        self.content_seen = True
        return await self.may_leave() and (self.row.on_doubt != "hold" or await self.put(outcomes))

    def told(self, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """`outcomes` as they may go on record."""
        outcomes = self.elsewhere.told(outcomes, self.recipients)
        return discreet(outcomes) if self.row.sensitive and self.content_seen else {**outcomes}

    async def between(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether another transaction may begin."""
        if outcomes and not await self.put(outcomes):
            return False
        self.on_record()
        return True

    async def put(self, outcomes: Mapping[str, Outcome]) -> bool:
        """Whether they are on record; not where the lease was lost or the database fails."""
        row, verdict, outcomes = self.row, Verdict(Status.IN_DOUBT), self.told(outcomes)
        old = tuple(self.ids[r] for r in outcomes if r in self.ids)
        result = Result(row.id, row.claim_token, row.attempts, verdict, outcomes, self.transport, marks=old)
        try:
            ids = await self.write(result)
        except DatabaseError as error:
            log.warning("email %d is not sent on, since nothing can be put on record: %s", row.id, error)
            return False
        self.outcomes.update(outcomes)
        self.ids.update(zip(outcomes, ids, strict=False))
        return bool(ids)


async def _send(
    transport: Transport, message: Message, row: Claimed, still_owned: Callable[[], bool], mark: _Mark
) -> Report:
    if not message.recipients:  # every entry of its lists was bad
        return Report()
    try:
        return await transport.send(
            message, attempt=row.attempts, still_owned=still_owned, before_dot=mark.before_dot, between=mark.between
        )
    except Exception as error:
        # We cannot tell where it broke off, so it may have gone out.
        log.error("email %d: internal error while sending", row.id, exc_info=not row.sensitive)  # noqa: TRY400  # which quotes
        doubt = Outcome(Kind.IN_DOUBT, note=bug(error, sensitive=row.sensitive))
        return Report({r: mark.outcomes.get(r, doubt) for r in message.recipients})


def _standing(row: Claimed, everyone: Sequence[str]) -> Standing:
    if not row.history:  # the everyday case: nothing to sort out
        return Standing(everyone, {}, row.attempts, row.max_attempts, row.on_doubt == "hold")
    known = set(everyone)
    final = {r: kind for r, kind in row.history.items() if kind in {Kind.ACCEPTED, Kind.REFUSED} and r in known}
    if len(final) == len(everyone):
        # Nobody waits, and yet the row is due: somebody asked for it again by hand. Who was refused gets another try.
        final = {r: kind for r, kind in final.items() if kind is Kind.ACCEPTED}
    doubt = any(row.history.get(r) is Kind.IN_DOUBT for r in everyone if r not in final)
    return Standing(everyone, final, row.attempts, row.max_attempts, row.on_doubt == "hold", doubt)


def _newly_bad(to: Addressees, row: Claimed) -> Mapping[str, Outcome]:
    return to.bad and {r: outcome for r, outcome in to.bad.items() if row.history.get(r) is not Kind.REFUSED}


def _result(row: Claimed, verdict: Verdict, standing: Standing) -> Result:
    verdict = verdict._replace(route=row.returns_to)
    return Result(row.id, row.claim_token, row.attempts, verdict, lost=_lost(row, standing))


def lost_before(row: Claimed) -> Mapping[str, Outcome]:
    """What to put on record where a row goes back that was taken over: whoever has it next could not know of it."""
    if not row.taken_over:
        return {}
    try:
        return _lost(row, _standing(row, addressees(row).everyone))
    except ContentError:
        return {}  # nothing was sent of it


def _lost(row: Claimed, standing: Standing) -> Mapping[str, Outcome]:
    """What to put on record of the attempt before, where its poller could not write it any more."""
    if not row.taken_over or (standing.hold and standing.doubt):  # the latter is on record: it was marked
        return {}
    outcome = LOST_BEFORE_DOT if standing.hold else LOST
    return {r: outcome for r in standing.recipients if r not in standing.settled}
