"""All policy about SMTP failures, in one place: what a reply or a trouble means at the stage where it came up.

The rules are those of RFC 5321 (§4.2, §4.3.2, §4.5.3, §6.1), RFC 3463 and RFC 4954, and what the large providers do
beside them. Scope comes first: does it say something about one recipient, the message, or the transport? Only then:
will it pass? Trouble before MAIL never blames a message.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from outbox.core.reply import Reply


class Stage(StrEnum):
    """Where in the session we were."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "message"  # DATA was answered by 354, the final dot has not left
    DOT = "final dot"  # the final dot may have left

    @property
    def before_mail(self) -> bool:
        """Whether the session had not come to a message yet."""
        return self in _BEFORE_MAIL


_BEFORE_MAIL = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})
_BEFORE_DATA = frozenset({Stage.MAIL, Stage.RCPT})


class Trouble(StrEnum):
    """What can go wrong without a reply; the value is how a person reads it."""

    UNREACHABLE = "the server cannot be reached"
    TIMEOUT = "timed out"
    DNS = "name lookup failed for now"
    DNS_UNKNOWN = "no such host name"
    CLOSED = "connection closed by the server"
    TLS_MODE = "the server does not speak TLS on this port (smtps:// is implicit TLS, smtp+starttls:// upgrades)"
    CERTIFICATE = "the server's certificate is not valid"
    TLS_FAILED = "TLS handshake failed"
    NOT_OFFERED = "required, but the server does not offer it"
    TOKEN = "no access token"
    TOKEN_INVALID = "no access token for this configuration"
    MALFORMED = "the server's reply is not SMTP"
    OUT_OF_STEP = "the server's replies do not fit what was said"


class Action(StrEnum):
    """What to do about it."""

    GO_ON = "go on"  # an intermediate success
    ACCEPT = "accept"  # the server took responsibility for all accepted recipients
    DEFER = "defer"  # this recipient later
    REFUSE = "refuse"  # this recipient never
    NEXT = "next"  # this recipient in the next transaction, at once
    DEFER_MESSAGE = "defer message"  # every recipient without a final answer later
    REFUSE_MESSAGE = "refuse message"  # every recipient without a final answer never
    DENY = "deny"  # the message or this recipient, for what may be wrong with our configuration just as well
    CONSEQUENCE = "consequence"  # follows from earlier replies, says nothing new
    PLAIN = "plain"  # once more without MAIL parameters
    FRESH = "fresh"  # once more at once, on a new connection
    PAUSE = "pause"  # the transport rests; the row keeps its attempt
    CONFIG = "config"  # like PAUSE, but a person must act
    IN_DOUBT = "in doubt"  # it may have been accepted


@dataclass(frozen=True, slots=True)
class Situation:
    """What else matters for the judgement."""

    stage: Stage
    reused: bool = False  # the connection has carried a message before
    first: bool = False  # this is the first command of the transaction
    fresh_tries: int = 0  # new connections this message has already been given
    accepted: int = 0  # recipients accepted so far in this transaction
    parameters: bool = False  # MAIL carried parameters (SIZE, SMTPUTF8 …) that we could leave out
    grouped: bool = False  # commands left together, and the server has not shown yet that it copes with that
    followed: bool = False  # at the final dot: the next transaction's group left behind it
    failures: int = 0  # times in a row that the transport could not be opened before this


@dataclass(frozen=True, slots=True)
class Judgement:
    """An action, and what goes with it."""

    action: Action
    wait: float | None = None  # seconds before the transport may be tried again
    fewer: bool = False  # one connection fewer, please
    crowded: bool = False  # and that is all that is wrong, if other connections live
    close: bool = False  # the connection must not be used again
    alone: bool = False  # one command at a time from now on


MAX_FRESH = 2
"""New connections one message may be given at once before it waits for its next attempt."""

QUOTA_WAIT = 3600.0
"""Seconds a transport rests at least when a daily quota is used up."""

_CROWDED = re.compile(
    r"too many (?:concurrent|connections|sessions|simultaneous)|concurrent connections|connections? limit|"
    r"sender thread limit",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"relay(?:ing)?(?: access)?(?: is)? (?:denied|not |prohibited)|unable to relay|"
    r"(?:not|cannot|can't|won't|don't|never) (?:\w+ ){0,3}relay|for relay|rcpthosts",
    re.IGNORECASE,
)
_THROTTLE = re.compile(
    r"thrott|too many (?:concurrent|connections|messages|emails|logins)|concurrent connections|"
    r"rate.{0,20}(?:limit|exceed)|(?:limit|exceed).{0,20}rate|peak|sending rate|too fast|slow down|sender thread limit",
    re.IGNORECASE,
)
# "Improper use of SMTP command pipelining" (Postfix), "SMTP synchronization error" (Exim).
_OUT_OF_STEP = re.compile(r"pipelining|synchroni[sz]ation error", re.IGNORECASE)
# The sender's, that is: a mailbox over its quota and a message over the size limit are no matter of the transport.
_QUOTA = re.compile(
    r"daily.{0,40}(?:quota|limit)|(?:sending|submission|outgoing|outbound).{0,20}(?:quota|limit).{0,20}exceed|"
    r"exceed.{0,30}(?:sending|daily|submission|outgoing|outbound).{0,20}(?:quota|limit)|"
    r"storedrv.{0,80}(?:quota|limit|exceed)",
    re.IGNORECASE,
)


def goes_on(stage: Stage, reply: Reply) -> bool:
    """Whether `reply` is the everyday answer to MAIL, RCPT or DATA: `judge` says "go on", whatever the situation."""
    return reply.code == 354 if stage is Stage.DATA else 200 <= reply.code <= 299 and stage in _BEFORE_DATA


def judge(situation: Situation, what: Reply | Trouble) -> Judgement:
    """What `what` means in `situation`. Total: every combination has an answer."""
    if isinstance(what, Trouble):
        return _judge_trouble(situation, what)
    if not 200 <= what.code <= 599:
        return _judge_trouble(situation, Trouble.MALFORMED)
    if situation.stage.before_mail:
        return _judge_session(situation, what)
    return _judge_transaction(situation, what)


def _judge_trouble(s: Situation, trouble: Trouble) -> Judgement:
    if s.stage is Stage.DOT:
        # One that looks for the dot at the end of what it read, or takes offence at more: every such dot would fail.
        return Judgement(Action.IN_DOUBT, close=True, alone=s.grouped and s.followed)
    if s.stage.before_mail:
        return _judge_opening(s, trouble)
    if trouble is Trouble.OUT_OF_STEP and s.grouped:  # one that got lost in a group may be to blame
        return _fresh(s, alone=True)
    if trouble in {Trouble.MALFORMED, Trouble.OUT_OF_STEP}:
        return _fresh(s) if s.reused else Judgement(Action.PAUSE, close=True)
    # A server that reads on only after it has answered forgets what came with a command, or is offended by it.
    alone = s.grouped and (trouble is Trouble.TIMEOUT or not s.first) and s.stage is not Stage.BODY
    if trouble is Trouble.TIMEOUT and not (s.reused and s.first):
        # A second connection would wait as long again, and so would everything behind it.
        return Judgement(Action.DEFER_MESSAGE, close=True, alone=alone)
    if not s.reused and s.fresh_tries >= 1:
        return Judgement(Action.DEFER_MESSAGE, close=True)
    return _fresh(s, alone=alone)


def _judge_opening(s: Situation, trouble: Trouble) -> Judgement:
    """Trouble before MAIL: never the message's fault."""
    config = {Trouble.TLS_MODE, Trouble.CERTIFICATE, Trouble.NOT_OFFERED, Trouble.TOKEN_INVALID}
    if trouble in config or (trouble is Trouble.DNS_UNKNOWN and s.failures >= 2):
        return Judgement(Action.CONFIG, close=True)
    overload = s.stage is Stage.GREETING and trouble is Trouble.CLOSED
    return Judgement(Action.PAUSE, fewer=overload, crowded=overload, close=True)


def _judge_session(s: Situation, reply: Reply) -> Judgement:
    if reply.positive or (s.stage is Stage.AUTH and reply.code == 334):
        return Judgement(Action.GO_ON)
    passes = reply.code < 500 or (s.stage is Stage.AUTH and reply.wait is not None)
    if passes:
        crowded = reply.code < 500 and not reply.wait and (s.stage is Stage.GREETING or _is_crowd(reply))
        fewer = crowded or s.stage is Stage.GREETING or bool(_THROTTLE.search(reply.text))
        return Judgement(Action.PAUSE, wait=reply.wait, fewer=fewer, crowded=crowded, close=True)
    return Judgement(Action.CONFIG, close=True)


def _judge_transaction(s: Situation, reply: Reply) -> Judgement:
    if reply.positive:
        return _judge_positive(s)
    if reply.code < 400:
        expected = s.stage is Stage.DATA and reply.code == 354
        return Judgement(Action.GO_ON) if expected else _judge_trouble(s, Trouble.OUT_OF_STEP)
    if s.stage is Stage.DATA and s.accepted == 0:
        return Judgement(Action.CONSEQUENCE)
    about_transport = _judge_transport(s, reply)
    if about_transport:
        return about_transport
    if s.stage is Stage.RCPT:
        return _judge_recipient(s, reply)
    if s.stage is Stage.MAIL and s.parameters and reply.code in {500, 501, 502, 504, 555}:
        return Judgement(Action.PLAIN)
    if reply.code < 500:
        return Judgement(Action.DEFER_MESSAGE, fewer=s.stage is Stage.MAIL and _is_busy(reply), close=reply.code == 421)
    # "This sender may not": the row's own sender may be wrong, or our login, or the verification of our domain.
    denied = s.stage is Stage.MAIL and reply.code in {550, 553, 554} and reply.enhanced not in {"5.1.7", "5.3.4"}
    return Judgement(Action.DENY if denied else Action.REFUSE_MESSAGE)


def _judge_positive(s: Situation) -> Judgement:
    if s.stage is Stage.DOT:
        return Judgement(Action.ACCEPT)
    if s.stage in {Stage.DATA, Stage.BODY}:  # "250" where only 354 makes sense
        return _judge_trouble(s, Trouble.OUT_OF_STEP)
    return Judgement(Action.GO_ON)


def _judge_transport(s: Situation, reply: Reply) -> Judgement | None:
    """What a negative reply inside a transaction says about the transport; None where it says nothing."""
    stale = reply.code == 421 or (reply.code == 451 and (reply.enhanced or "").startswith("4.4."))
    if stale and s.first and s.reused:
        return _fresh(s)
    if _is_throttle(reply):
        return _slow_down(reply)
    if _is_quota(reply):
        return Judgement(Action.PAUSE, wait=max(reply.wait or 0.0, QUOTA_WAIT), close=True)
    if _OUT_OF_STEP.search(reply.text) or (reply.code == 503 and s.stage is not Stage.DOT):
        return _fresh(s, alone=s.grouped)
    if s.stage is Stage.DOT:
        return None
    if reply.code == 421:
        return _fresh(s) if s.reused else _slow_down(reply)
    if reply.code == 530 and s.stage in {Stage.MAIL, Stage.RCPT}:
        return Judgement(Action.CONFIG, close=True)
    return None


def _judge_recipient(s: Situation, reply: Reply) -> Judgement:
    enhanced = reply.enhanced or ""
    mailbox_full = enhanced.endswith(".2.2")
    too_many = enhanced in {"4.5.3", "5.5.3"} or (reply.code in {452, 552} and not mailbox_full)
    if enhanced == "5.3.4":
        return Judgement(Action.REFUSE)
    if too_many and s.accepted:
        return Judgement(Action.NEXT)
    if reply.code < 500 or reply.code == 552 or too_many:
        return Judgement(Action.DEFER)
    return Judgement(Action.DENY if _is_relay_denial(reply) else Action.REFUSE)


def _fresh(s: Situation, *, alone: bool = False) -> Judgement:
    action = Action.FRESH if s.fresh_tries < MAX_FRESH else Action.DEFER_MESSAGE
    return Judgement(action, close=True, alone=alone)


def _slow_down(reply: Reply) -> Judgement:
    crowded = _is_crowd(reply) and not reply.wait
    return Judgement(Action.PAUSE, wait=reply.wait, fewer=True, crowded=crowded, close=True)


def _is_busy(reply: Reply) -> bool:
    enhanced = reply.enhanced or ""
    return enhanced in {"4.3.1", "4.3.2"} or enhanced.startswith("4.7.")


def _is_relay_denial(reply: Reply) -> bool:
    policy = reply.enhanced is None or reply.enhanced.startswith("5.7.")
    return policy and bool(_DENIED.search(reply.text))


def _is_crowd(reply: Reply) -> bool:
    """Whether only the number of our connections is at fault, not how fast we send."""
    return reply.code == 432 or bool(_CROWDED.search(reply.text))


def _is_throttle(reply: Reply) -> bool:
    if reply.code == 421 or reply.code >= 500:
        return False
    enhanced = reply.enhanced or ""
    # 432 is Microsoft's limit of connections. 454 alone is not enough: Postfix defers one relayed recipient by it.
    return reply.code == 432 or (not enhanced.startswith(("4.5.3", "4.2.2")) and bool(_THROTTLE.search(reply.text)))


def _is_quota(reply: Reply) -> bool:
    enhanced = reply.enhanced or ""
    if reply.code < 500 or reply.code == 552 or enhanced in {"5.2.2", "5.3.4"}:
        return False
    return enhanced == "5.4.5" or bool(_QUOTA.search(reply.text))
