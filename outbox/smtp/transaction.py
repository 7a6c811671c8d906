"""One mail transaction, MAIL to the final dot, with an outcome for each recipient as its reply arrives.

What replies mean is decided in `core.classify`; here is what is said, in which order, and when the message can have
been accepted. Each command is built, sent and answered in separate steps, so that commands may be grouped
(RFC 2920) where a comment says "flush point".
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from outbox.core.classify import Action, Judgement, Situation, Stage, Trouble, judge
from outbox.core.message import Message
from outbox.core.outcome import Fault, Kind, Outcome, Scope
from outbox.core.reply import Reply
from outbox.core.text import CONTROL_CLASS
from outbox.smtp.connection import Connection
from outbox.smtp.failures import fault_of
from outbox.smtp.wire import WireError

_SAFE = re.compile(rf'(?:[^\s<>"\\{CONTROL_CLASS}]|"(?:[^"\\{CONTROL_CLASS}]|\\[^{CONTROL_CLASS}])*")*')

OnRecord = Callable[[Mapping[str, Outcome]], Awaitable[bool]]

LEASE_LOST = "the lease was lost before the final dot"
NOT_ON_RECORD = "nothing more is sent before what was is on record"
STOPPING = "the transport is stopping"


@dataclass(slots=True)
class Transacted:
    """What came of a transaction. Recipients without an outcome were not tried, or belong into the next one."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    fresh: bool = False
    """Once more at once, on a new connection."""
    fault: Fault | None = None
    denied: bool = False
    """Everybody was refused, for what may be wrong with our configuration just as well."""
    fewer: bool = False
    """The server is short of breath: one connection fewer, please."""


async def transact(
    connection: Connection,
    message: Message,
    recipients: Sequence[str],
    *,
    still_owned: Callable[[], bool],
    before_dot: OnRecord | None = None,
    fresh_tries: int = 0,
) -> Transacted:
    """Offer `message` to `recipients`. Afterwards `connection.usable` says whether it may be used again.

    `still_owned` is asked before MAIL and again just before the final dot, and `before_dot` is awaited there: where
    either says no, the message is not sent.
    `fresh_tries` counts the new connections that this message was given already. Cancellation closes the connection.
    """
    transaction = _Transaction(connection, message, recipients, still_owned, before_dot, fresh_tries)
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
    ) -> None:
        self.result = Transacted()
        self._connection = connection
        self._wire = connection.wire
        self._timeouts = connection.settings.timeouts
        self._message = message
        self._recipients = recipients
        self._still_owned = still_owned
        self._before_dot = before_dot
        self._fresh_tries = fresh_tries
        self._stage = Stage.MAIL
        self._first = True
        self._reused = connection.messages > 0
        self._accepted: list[str] = []
        self._utf8 = False
        self._content = b""

    async def run(self) -> None:
        """All of it, as far as it goes."""
        if not self._owned() or not self._prepare():
            return
        if self._reused and not self._wire.quiet:
            self._connection.abort()
            self.result.fresh = True
            return
        self._connection.messages += 1
        try:
            if await self._reset() and await self._mail() and await self._rcpt() and await self._data():
                await self._dot()
        except WireError as trouble:
            self._broken(trouble)

    def _owned(self) -> bool:
        if self._still_owned():
            return True
        self.result.fault = Fault(Scope.STOPPING, LEASE_LOST)
        return False

    # What can be known before a word is said.

    def _prepare(self) -> bool:
        """Settle what no server could take; False where nobody is left."""
        features = self._connection.features
        sender = self._message.sender
        if not _SAFE.fullmatch(sender):
            self._settle(Kind.REFUSED, note="5.1.7 the sender's address cannot be written to a server safely")
        elif not sender.isascii() and not features.smtputf8:
            self._settle(Kind.REFUSED, note=_needs_utf8("the sender's address"))
        for recipient in self._waiting():
            if not _SAFE.fullmatch(recipient) or not recipient:
                self._set(recipient, Kind.REFUSED, note="5.1.3 the address cannot be written to a server safely")
            elif not recipient.isascii() and not features.smtputf8:
                self._set(recipient, Kind.REFUSED, note=_needs_utf8("this address"))
        self._utf8 = not all(address.isascii() for address in (sender, *self._waiting()))
        self._content = (self._utf8 and self._message.utf8_content) or self._message.content
        if features.size and len(self._content) > features.size:
            note = f"5.3.4 the message has {len(self._content)} bytes, the server takes {features.size}"
            self._settle(Kind.REFUSED, note=note)
        return bool(self._waiting())

    # The commands, in order.

    async def _reset(self) -> bool:
        if not self._connection.needs_reset:
            return True
        reply = await self._ask(b"RSET", self._timeouts.command)  # flush point: may go with MAIL
        self._connection.needs_reset = False
        return reply.positive or self._apply(self._judge(Trouble.MALFORMED), Trouble.MALFORMED)

    async def _mail(self) -> bool:
        parameters = self._mail_parameters()
        line = f"MAIL FROM:<{self._message.sender}>{parameters}"
        reply = await self._ask(line.encode(), self._timeouts.mail)  # flush point
        judgement = self._judge(reply, parameters=" SIZE=" in parameters)
        if judgement.action is Action.PLAIN:
            self._connection.without_parameters = True
            return await self._mail()
        return self._apply(judgement, reply)

    def _mail_parameters(self) -> str:
        features, parameters = self._connection.features, ""
        if features.offers_size and not self._connection.without_parameters:
            parameters += f" SIZE={len(self._content)}"
        if self._utf8:
            parameters += " BODY=8BITMIME SMTPUTF8" if features.eightbitmime else " SMTPUTF8"
        return parameters

    async def _rcpt(self) -> bool:
        self._stage = Stage.RCPT
        waiting, denied = self._waiting(), 0
        for recipient in waiting:
            reply = await self._ask(f"RCPT TO:<{recipient}>".encode(), self._timeouts.rcpt)  # flush point
            self._connection.needs_reset = True
            judgement = self._judge(reply)
            match judgement.action:
                case Action.GO_ON:
                    self._accepted.append(recipient)
                case Action.DEFER:
                    self._set(recipient, Kind.DEFERRED, reply)
                case Action.REFUSE | Action.DENY:
                    self._set(recipient, Kind.REFUSED, reply)
                    denied += judgement.action is Action.DENY
                case Action.NEXT:
                    pass  # no outcome yet: it belongs into the next transaction
                case _:
                    return self._apply(judgement, reply)
        self.result.denied = denied == len(waiting)
        return bool(self._accepted)

    async def _data(self) -> bool:
        self._stage = Stage.DATA
        reply = await self._ask(b"DATA", self._timeouts.data)  # flush point: DATA ends a group
        return self._apply(self._judge(reply), reply)

    async def _dot(self) -> None:
        self._stage = Stage.BODY
        await self._wire.send(stuffed(self._content), self._timeouts.block)
        if not await self._may_leave():
            self._connection.abort()  # closing before the dot is the only way to take a message back
            return
        self._wire.write(b".\r\n")
        self._stage = Stage.DOT
        reply = await self._wire.reply(self._timeouts.dot)
        self._connection.needs_reset = False
        self._apply(self._judge(reply), reply)

    async def _may_leave(self) -> bool:
        """The last word before the message is the server's."""
        if self._before_dot and self._owned():
            doubt = {recipient: Outcome(Kind.IN_DOUBT) for recipient in self._accepted}
            if not await self._before_dot(self.result.outcomes | doubt):
                self.result.fault = Fault(Scope.STOPPING, NOT_ON_RECORD)
                return False
        return self._owned()

    async def _ask(self, command: bytes, timeout: float) -> Reply:  # noqa: ASYNC109  # one per command
        self._wire.write(command + b"\r\n")
        return await self._wire.reply(timeout)

    # What the answers do.

    def _judge(self, what: Reply | Trouble, *, parameters: bool = False) -> Judgement:
        situation = Situation(
            self._stage,
            reused=self._reused,
            first=self._first,
            fresh_tries=self._fresh_tries,
            accepted=len(self._accepted),
            parameters=parameters,
        )
        self._first = False
        return judge(situation, what)

    def _broken(self, trouble: WireError) -> None:
        if self._wire.aborted and self._stage is not Stage.DOT:
            self.result.fault = Fault(Scope.STOPPING, STOPPING)
            return
        what = self._reason_of(trouble)
        self._apply(self._judge(what), what)
        self._connection.abort()

    def _reason_of(self, trouble: WireError) -> Reply | Trouble:
        """What broke the wire: a notice that the server gave unasked, but never an answer to what was not asked yet."""
        said = trouble.said
        if said is None or self._stage is Stage.DOT:
            return trouble.trouble
        if said.code == 421 or (self._stage is Stage.BODY and said.code >= 400):  # 552 before it has read it all
            return said
        # "451 4.4.2 Timeout waiting for data" is a goodbye; a 250 or a 550 would be taken for some recipient's.
        return Trouble.CLOSED if 400 <= said.code <= 499 else Trouble.MALFORMED

    def _apply(self, judgement: Judgement, what: Reply | Trouble) -> bool:
        """Do what the judgement says about the message or the transport; whether the transaction goes on."""
        if judgement.close:
            self._connection.wire.close()
        if judgement.action in {Action.FRESH, Action.PAUSE}:
            self._forget_if_out_of_step(what)
        reply = what if isinstance(what, Reply) else None
        note = "" if reply else f"{self._stage}: {what}"
        match judgement.action:
            case Action.GO_ON:
                return True
            case Action.ACCEPT:
                self._settle_accepted(Kind.ACCEPTED, reply, "")
            case Action.IN_DOUBT:
                self._settle_accepted(Kind.IN_DOUBT, reply, note)
            case Action.DEFER_MESSAGE:
                self.result.fewer = judgement.fewer
                self._settle(Kind.DEFERRED, reply, note)
            case Action.REFUSE_MESSAGE | Action.DENY:
                self.result.denied = judgement.action is Action.DENY
                self._settle(Kind.REFUSED, reply, note)
            case Action.FRESH:
                self.result.fresh = True
            case Action.PAUSE | Action.CONFIG:
                fault = fault_of(self._connection.where, self._stage, judgement, str(what))
                self.result.fault = replace(fault, about_message=True)
            case _:  # CONSEQUENCE: the recipients have their outcomes already
                pass
        return False

    def _forget_if_out_of_step(self, what: Reply | Trouble) -> None:
        """Where a reply cannot be the answer to its command, those before it may have answered others as well."""
        if what is Trouble.MALFORMED or (isinstance(what, Reply) and what.code < 400):
            told = [r for r, outcome in self.result.outcomes.items() if outcome.reply]
            for recipient in told:
                del self.result.outcomes[recipient]

    def _waiting(self) -> list[str]:
        return [r for r in self._recipients if r not in self.result.outcomes]

    def _set(self, recipient: str, kind: Kind, reply: Reply | None = None, note: str = "") -> None:
        self.result.outcomes[recipient] = Outcome(kind, reply, note)

    def _settle(self, kind: Kind, reply: Reply | None = None, note: str = "") -> None:
        for recipient in self._waiting():
            self._set(recipient, kind, reply, note)

    def _settle_accepted(self, kind: Kind, reply: Reply | None, note: str) -> None:
        for recipient in self._accepted:
            self._set(recipient, kind, reply, note)


def stuffed(content: bytes) -> bytes:
    """`content` with the dots of RFC 5321 §4.5.2 doubled: no line of it can end the message."""
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled


def _needs_utf8(what: str) -> str:
    return f"5.6.7 {what} is internationalised, and the server does not offer SMTPUTF8"
