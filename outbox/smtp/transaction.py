"""One mail transaction, MAIL to the final dot, with an outcome for each recipient as its reply arrives.

What replies mean is decided in `core.classify`, what is said in `plan`; here is when it is said, and when the message
can have been accepted. Where the server copes with it (RFC 2920), MAIL, RCPT and DATA leave as one group, and the
next transaction's group leaves behind the final dot of this one: then a message costs one round trip instead of four.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from outbox.core.classify import Action, Judgement, Situation, Stage, Trouble, goes_on, judge
from outbox.core.discretion import withheld
from outbox.core.message import Message
from outbox.core.outcome import Fault, Kind, Outcome, Scope
from outbox.core.reply import Reply
from outbox.smtp.connection import Connection
from outbox.smtp.failures import fault_of, is_out_of_step, reason_of
from outbox.smtp.plan import plan_of, stuffed
from outbox.smtp.transacted import Transacted
from outbox.smtp.wire import CHUNK, WireError

OnRecord = Callable[[Mapping[str, Outcome]], Awaitable[bool]]

LEASE_LOST = "the lease was lost before the final dot"
NOT_ON_RECORD = "nothing more is sent before what was is on record"
STOPPING = "the transport is stopping"

_CONTENT_SEEN = {Stage.BODY, Stage.DOT}
"""Where a server may quote it."""


async def transact(
    connection: Connection,
    message: Message,
    recipients: Sequence[str],
    *,
    still_owned: Callable[[], bool],
    before_dot: OnRecord | None = None,
    fresh_tries: int = 0,
    lend: Callable[[], bool] | None = None,
) -> Transacted:
    """Offer `message` to `recipients`. Afterwards `connection.usable` says whether it may be used again.

    `still_owned` is asked before MAIL and again just before the final dot, and `before_dot` is awaited there: where
    either says no, the message is not sent.
    `fresh_tries` counts the new connections that this message was given already. Commands are grouped where `lend` is
    given; it is called when the final dot is about to leave, and lets the next transaction on `connection` begin, if
    there is one. Cancellation closes the connection.
    """
    transaction = _Transaction(connection, message, recipients, still_owned, before_dot, fresh_tries, lend)
    try:
        await transaction.run()
    except BaseException:
        connection.abort()
        raise
    return transaction.result


class _Transaction:
    """The state of a transaction. Its steps return whether to go on."""

    def __init__(
        self,
        connection: Connection,
        message: Message,
        recipients: Sequence[str],
        still_owned: Callable[[], bool],
        before_dot: OnRecord | None,
        fresh_tries: int,
        lend: Callable[[], bool] | None,
    ) -> None:
        self.result = Transacted()
        self._connection = connection
        self._turn = connection.wire.turn()
        self._timeouts = connection.settings.timeouts
        self._plan = plan_of(message, recipients, connection.features)
        self._sensitive = message.sensitive
        self._still_owned = still_owned
        self._before_dot = before_dot
        self._fresh_tries = fresh_tries
        self._lend = lend
        self._stage = Stage.MAIL
        self._first = True
        self._followed = False
        self._reused = connection.messages > 0
        self._behind_a_dot = connection.wire.answering
        self._commands: deque[bytes] = deque()  # what has not been answered yet
        self._accepted: list[str] = []

    async def run(self) -> None:
        """All of it, as far as it goes."""
        if not self._owned():
            return
        self.result.outcomes.update(self._plan.refused)
        if not self._plan.recipients:
            return
        if self._reused and not (self._behind_a_dot or self._connection.wire.quiet):
            self._connection.abort()
            self.result.fresh = True
            return
        self._connection.messages += 1
        try:
            self._begin()
            if await self._reset() and await self._mail() and await self._rcpt() and await self._data():
                await self._dot()
            else:
                await self._catch_up()
        except WireError as trouble:
            self._broken(trouble)

    def _owned(self) -> bool:
        if self._still_owned():
            return True
        self.result.fault = Fault(Scope.STOPPING, LEASE_LOST)
        return False

    # The commands, in order.

    def _begin(self) -> None:
        """Have all commands leave, where they may leave together."""
        connection = self._connection
        commands = self._plan.commands(reset=connection.needs_reset, plain=connection.without_parameters)
        self._commands = deque(commands)
        if self._lend:
            self._turn.write(b"\r\n".join(commands), b"\r\n", replies=len(commands))

    async def _ask(self, timeout: float) -> Reply:  # noqa: ASYNC109  # one per command
        """The reply to the next command."""
        command = self._commands.popleft()
        if not self._lend:
            self._turn.write(command, b"\r\n")
        return await self._turn.reply(timeout)

    async def _reset(self) -> bool:
        if not self._connection.needs_reset:
            return True
        reply = await self._ask(self._timeouts.command)
        self._connection.needs_reset = False
        return reply.positive or self._apply(self._judge(Trouble.MALFORMED), Trouble.MALFORMED)

    async def _mail(self) -> bool:
        reply = await self._ask(self._timeouts.mail)
        if self._goes_on(reply):
            return True
        optional = self._plan.announces_size(plain=self._connection.without_parameters)
        judgement = self._judge(reply, parameters=optional)
        if judgement.action is Action.PLAIN:
            self._connection.without_parameters = True
            await self._catch_up()
            self._begin()
            return await self._reset() and await self._mail()
        return self._apply(judgement, reply)

    async def _rcpt(self) -> bool:
        self._stage = Stage.RCPT
        denied = 0
        for recipient in self._plan.recipients:
            reply = await self._ask(self._timeouts.rcpt)
            self._connection.needs_reset = True
            if self._goes_on(reply):
                self._accepted.append(recipient)
                continue
            judgement = self._judge(reply)
            match judgement.action:
                case Action.DEFER:
                    self.result.settle([recipient], Kind.DEFERRED, reply)
                case Action.REFUSE | Action.DENY:
                    self.result.settle([recipient], Kind.REFUSED, reply)
                    denied += judgement.action is Action.DENY
                case Action.NEXT:
                    pass  # no outcome yet: it belongs into the next transaction
                case _:
                    return self._apply(judgement, reply)
        self.result.denied = denied == len(self._plan.recipients)
        return bool(self._accepted)

    async def _data(self) -> bool:
        self._stage = Stage.DATA
        reply = await self._ask(self._timeouts.data)
        return self._goes_on(reply) or self._apply(self._judge(reply), reply)

    async def _dot(self) -> None:
        self._stage = Stage.BODY
        self._connection.proven |= self._behind_a_dot
        content = memoryview(stuffed(self._plan.content))
        last = max(len(content) - CHUNK, 0)
        await self._turn.send(content[:last], self._timeouts.block)
        if not await self._may_leave():
            self._connection.abort()  # closing before the dot is the only way to take a message back
            return
        self._turn.check()
        self._connection.needs_reset = False
        if self._lend:
            self._followed = self._lend()  # first: what is written in one round of the loop leaves together
        self._turn.write(content[last:], b".\r\n")
        self._stage = Stage.DOT  # from now on, and not where the wire refused it
        reply = await self._turn.reply(self._timeouts.dot)
        self._apply(self._judge(reply), reply)

    async def _may_leave(self) -> bool:
        """The last word before the message is the server's."""
        if self._before_dot and self._owned():
            doubt = {recipient: Outcome(Kind.IN_DOUBT) for recipient in self._accepted}
            if not await self._before_dot(self.result.outcomes | doubt):
                self.result.fault = Fault(Scope.STOPPING, NOT_ON_RECORD)
                return False
        return self._owned()

    async def _catch_up(self) -> None:
        """Hear the replies to what left in vain, and to a RSET: if they do not fit, nothing holds that was said."""
        if not self._lend:
            return
        told = bool(self.result.outcomes)
        try:
            while self._commands:
                data = len(self._commands) == 1
                reply = await self._ask(self._timeouts.command)
                if data and reply.code == 354:
                    # RFC 2920 §3.1 would have us send the dot; it could be taken for the end of a message.
                    self._connection.wire.close()
                elif reply.positive and (data or not self._connection.needs_reset):
                    self._out_of_step()
            if told:
                self._turn.write(b"RSET\r\n")
                reply = await self._turn.reply(self._timeouts.command)
                self._connection.needs_reset = False
                if not reply.positive:
                    self._out_of_step()
        except WireError as trouble:
            if reason_of(trouble, self._stage) is Trouble.MALFORMED:
                self._out_of_step()
            self.result.alone |= trouble.trouble is Trouble.TIMEOUT and not self._connection.proven
        self._commands.clear()

    def _out_of_step(self) -> None:
        self._apply(self._judge(Trouble.OUT_OF_STEP), Trouble.OUT_OF_STEP)

    # What the answers do.

    def _goes_on(self, reply: Reply) -> bool:
        """Whether there is nothing to judge."""
        if goes_on(self._stage, reply):
            self._first = False
            return True
        return False

    def _judge(self, what: Reply | Trouble, *, parameters: bool = False) -> Judgement:
        situation = Situation(
            self._stage,
            reused=self._reused,
            first=self._first,
            fresh_tries=self._fresh_tries,
            accepted=len(self._accepted),
            parameters=parameters,
            grouped=self._lend is not None and not self._connection.proven,
            followed=self._followed,
        )
        self._first = False
        return judge(situation, what)

    def _broken(self, trouble: WireError) -> None:
        if self._connection.wire.aborted and self._stage is not Stage.DOT:
            self.result.fault = Fault(Scope.STOPPING, STOPPING)
            return
        what = reason_of(trouble, self._stage)
        self._apply(self._judge(what), what)
        self._connection.abort()

    def _apply(self, judgement: Judgement, what: Reply | Trouble) -> bool:
        """Do what the judgement says about the message or the transport; whether the transaction goes on."""
        if judgement.close:
            self._connection.wire.close()
        self.result.alone |= judgement.alone
        if judgement.action in {Action.FRESH, Action.PAUSE} and is_out_of_step(what):
            self.result.forget_replies()
        if isinstance(what, Reply) and not what.positive and self._sensitive and self._stage in _CONTENT_SEEN:
            what = withheld(what)
        reply = what if isinstance(what, Reply) else None
        note = "" if reply else f"{self._stage}: {what}"
        match judgement.action:
            case Action.GO_ON:
                return True
            case Action.ACCEPT:
                self.result.settle(self._accepted, Kind.ACCEPTED, reply)
            case Action.IN_DOUBT:
                self.result.settle(self._accepted, Kind.IN_DOUBT, reply, note)
            case Action.DEFER_MESSAGE:
                self.result.fewer = judgement.fewer
                self.result.settle_rest(self._plan.recipients, Kind.DEFERRED, reply, note)
            case Action.REFUSE_MESSAGE | Action.DENY:
                self.result.denied = judgement.action is Action.DENY
                self.result.settle_rest(self._plan.recipients, Kind.REFUSED, reply, note)
            case Action.FRESH:
                self.result.fresh = True
            case Action.PAUSE | Action.CONFIG:
                fault = fault_of(self._connection.where, self._stage, judgement, str(what))
                self.result.fault = replace(fault, about_message=True)
            case _:  # CONSEQUENCE: the recipients have their outcomes already
                pass
        return False
