"""The policy, row by row, and that it has an answer to everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.classify import MAX_FRESH, QUOTA_WAIT, Action, Judgement, Situation, Stage, Trouble, judge
from outbox.core.reply import Reply

NEW = {"reused": False}
REUSED = {"reused": True}
FIRST = {"first": True}


def said(text: str) -> Reply:
    return Reply.of(int(text[:3]), text[4:])


def case(row: str, stage: Stage, what: str | Trouble, action: Action, **more: object):
    """A row of the table: `more` are fields of the situation, and expectations `wait`, `fewer`, `crowded`, `close`."""
    expected = {name: more.pop(name) for name in ("wait", "fewer", "crowded", "close") if name in more}
    return pytest.param(stage, what, more, action, expected, id=f"row {row}: {stage} {what}")


S, T, A = Stage, Trouble, Action

TABLE = [
    case("1", S.CONNECT, T.UNREACHABLE, A.PAUSE, close=True),
    case("2", S.CONNECT, T.TIMEOUT, A.PAUSE, close=True),
    case("2", S.GREETING, T.TIMEOUT, A.PAUSE, close=True),
    case("3", S.CONNECT, T.DNS, A.PAUSE),
    case("3", S.CONNECT, T.DNS_UNKNOWN, A.PAUSE),
    case("3 persisting", S.CONNECT, T.DNS_UNKNOWN, A.CONFIG, failures=2),
    case("4", S.GREETING, T.CLOSED, A.PAUSE, fewer=True, crowded=True),
    case("5", S.GREETING, "421 4.7.0 too many connections", A.PAUSE, fewer=True, crowded=True),
    case("5", S.GREETING, "421 4.7.0 try again in 5 minutes", A.PAUSE, fewer=True, crowded=False, wait=300.0),
    case("6", S.GREETING, "554 5.7.1 blocked", A.CONFIG),
    case("7", S.CONNECT, T.TLS_MODE, A.CONFIG),
    case("8", S.CONNECT, T.CERTIFICATE, A.CONFIG),
    case("8", S.STARTTLS, T.CERTIFICATE, A.CONFIG),
    case("9", S.STARTTLS, T.NOT_OFFERED, A.CONFIG),
    case("10", S.STARTTLS, "454 4.7.0 TLS not available", A.PAUSE),
    case("10", S.STARTTLS, T.TIMEOUT, A.PAUSE),
    case("10", S.STARTTLS, T.TLS_FAILED, A.PAUSE),
    case("11", S.EHLO, "451 4.3.0 later", A.PAUSE),
    case("11", S.EHLO, "550 5.7.1 bad name", A.CONFIG),
    case("12", S.AUTH, "535 5.7.8 bad credentials", A.CONFIG, close=True),
    case("12", S.AUTH, "534 5.7.9 too weak", A.CONFIG),
    case("12", S.AUTH, "538 5.7.11 encrypt", A.CONFIG),
    case("13", S.AUTH, "454 4.7.0 temporary failure", A.PAUSE),
    case("13", S.AUTH, "550 Too many messages. Try again in 92 seconds", A.PAUSE, wait=92.0),
    case("14", S.AUTH, "421 4.7.0 too many login attempts", A.PAUSE),
    case("15", S.AUTH, T.NOT_OFFERED, A.CONFIG),
    case("16", S.AUTH, T.TOKEN, A.PAUSE),
    case("16", S.AUTH, T.TOKEN_INVALID, A.CONFIG),
    case("17", S.MAIL, "530 5.7.0 authentication required", A.CONFIG, close=True),
    case("17", S.RCPT, "530 5.7.0 authentication required", A.CONFIG),
    case("19", S.MAIL, T.CLOSED, A.FRESH, **REUSED, **FIRST, close=True),
    case("19", S.MAIL, T.TIMEOUT, A.FRESH, **REUSED, **FIRST),
    case("19", S.MAIL, "421 4.4.2 idle", A.FRESH, **REUSED, **FIRST, close=True),
    case("19", S.MAIL, "451 4.4.2 Timeout waiting for data", A.FRESH, **REUSED, **FIRST),
    case("19 exhausted", S.MAIL, T.CLOSED, A.DEFER_MESSAGE, **REUSED, **FIRST, fresh_tries=MAX_FRESH),
    case("20", S.MAIL, "421 4.3.2 busy", A.PAUSE, **NEW, **FIRST, fewer=True),
    case("20", S.MAIL, T.CLOSED, A.FRESH, **NEW, **FIRST),
    case("20 again", S.MAIL, T.CLOSED, A.DEFER_MESSAGE, **NEW, **FIRST, fresh_tries=1),
    case("21", S.RCPT, "421 4.3.2 closing", A.FRESH, **REUSED, close=True),
    case("21", S.RCPT, "421 4.3.2 closing", A.PAUSE, **NEW, close=True),
    case("22", S.MAIL, "451 4.3.0 later", A.DEFER_MESSAGE, fewer=False),
    case("22", S.MAIL, "452 4.3.1 no space", A.DEFER_MESSAGE, fewer=True),
    case("22", S.MAIL, "450 4.7.1 greylisted", A.DEFER_MESSAGE, fewer=True),
    case(
        "23", S.MAIL, "432 4.3.2 Concurrent connections limit exceeded", A.PAUSE, fewer=True, crowded=True, close=True
    ),
    case(
        "23", S.DATA, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", A.PAUSE, crowded=True, accepted=1
    ),
    case("23", S.DOT, "454 Throttling failure: Maximum sending rate exceeded", A.PAUSE, fewer=True, crowded=False),
    case("23", S.DOT, "454 Throttling failure: Daily message quota exceeded", A.PAUSE),
    case("23", S.RCPT, "450 4.2.1 Peak SMTP relay limit exceeded", A.PAUSE),
    case("23", S.RCPT, "450 4.7.1 rate limited, try again in 90 seconds", A.PAUSE, wait=90.0),
    case("23 not", S.RCPT, "454 4.7.1 <bob@example.org>: Relay access denied", A.DEFER),
    case("24", S.MAIL, "553 5.7.1 sender not allowed", A.DENY),
    case("24", S.MAIL, "550 5.7.60 SendAsDenied", A.DENY),
    case("24", S.MAIL, "554 Message rejected: Email address is not verified", A.DENY),
    case("24 syntax", S.MAIL, "553 5.1.7 bad sender address syntax", A.REFUSE_MESSAGE),
    case("26", S.MAIL, "552 5.3.4 Message size limit exceeded", A.REFUSE_MESSAGE),
    case("26", S.DOT, "552 Message size limit exceeded", A.REFUSE_MESSAGE),
    case("26", S.RCPT, "552 5.3.4 too big for bob", A.REFUSE),
    case("27", S.RCPT, "503 5.5.1 bad sequence", A.FRESH, close=True),
    case("27 repeated", S.RCPT, "503 5.5.1 bad sequence", A.DEFER_MESSAGE, fresh_tries=MAX_FRESH),
    case("28", S.MAIL, "555 5.5.4 unsupported SIZE", A.PLAIN, parameters=True),
    case("28", S.MAIL, "501 5.5.4 syntax", A.PLAIN, parameters=True),
    case("28 else", S.MAIL, "501 5.5.4 syntax", A.REFUSE_MESSAGE),
    case("31", S.RCPT, "250 ok", A.GO_ON),
    case("31", S.RCPT, "251 will forward", A.GO_ON),
    case("31", S.RCPT, "252 cannot verify", A.GO_ON),
    case("32", S.RCPT, "450 4.2.0 greylisted", A.DEFER),
    case("32", S.RCPT, "451 4.3.0 busy", A.DEFER),
    case("33", S.RCPT, "452 4.5.3 too many recipients", A.NEXT, accepted=1),
    case("33", S.RCPT, "452 too many", A.NEXT, accepted=1),
    case("33", S.RCPT, "552 too many recipients", A.NEXT, accepted=1),
    case("33", S.RCPT, "550 5.5.3 too many recipients", A.NEXT, accepted=1),
    case("33 none yet", S.RCPT, "452 4.5.3 too many recipients", A.DEFER),
    case("34", S.RCPT, "452 4.2.2 mailbox full", A.DEFER, accepted=1),
    case("34", S.RCPT, "552 5.2.2 mailbox full", A.DEFER, accepted=1),
    case("34", S.RCPT, "552 User quota exceeded", A.DEFER),
    case("35", S.RCPT, "550 5.1.1 no such user", A.REFUSE),
    case("35", S.RCPT, "551 not local", A.REFUSE),
    case("35", S.RCPT, "553 bad mailbox", A.REFUSE),
    case("35", S.RCPT, "554 5.7.1 refused", A.REFUSE),
    case("35", S.RCPT, "556 no mail here", A.REFUSE),
    case("35", S.RCPT, "550 Account over user quota, limit exceeded", A.REFUSE),
    case("36", S.RCPT, "554 5.7.1 <bob@example.org>: Relay access denied", A.DENY),
    case("36", S.RCPT, "550 5.7.1 Relaying denied", A.DENY),
    case("36", S.RCPT, "550 5.7.1 Unable to relay", A.DENY),
    case("36", S.RCPT, "550 relay not permitted", A.DENY),
    case("36", S.RCPT, "553 sorry, that domain isn't in my list of allowed rcpthosts", A.DENY),
    case("36", S.RCPT, "550 5.7.64 TenantAttribution; Relay Access Denied", A.DENY),
    case("36 not", S.RCPT, "550 5.1.1 <bob@relay.example.org>: no such user", A.REFUSE),
    case("36 not", S.RCPT, "550 5.7.1 message refused by policy", A.REFUSE),
    case("39", S.DATA, "451 4.3.0 later", A.DEFER_MESSAGE, accepted=1),
    case("39", S.DATA, "554 5.7.1 no", A.REFUSE_MESSAGE, accepted=1),
    case("39", S.DATA, "354 go on", A.GO_ON, accepted=1),
    case("40", S.DATA, "503 no valid recipients", A.CONSEQUENCE),
    case("40", S.DATA, "554 no valid recipients", A.CONSEQUENCE),
    case("41", S.DOT, "250 queued", A.ACCEPT),
    case("41", S.DOT, "200 fine", A.ACCEPT),
    case("42", S.DOT, "451 4.3.0 later", A.DEFER_MESSAGE, close=False),
    case("42", S.DOT, "421 4.3.2 shutting down", A.DEFER_MESSAGE, close=True, **REUSED),
    case("43", S.DOT, "550 5.7.1 spam", A.REFUSE_MESSAGE),
    case("43", S.DOT, "554 5.6.0 content", A.REFUSE_MESSAGE),
    case("44", S.DOT, "550 5.4.5 Daily user sending limit exceeded", A.PAUSE, wait=QUOTA_WAIT),
    case("44", S.DOT, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", A.PAUSE),
    case("44", S.MAIL, "550 5.7.1 sending quota exceeded, retry after 2 hours", A.PAUSE, wait=7200.0),
    case("45", S.BODY, T.CLOSED, A.FRESH, close=True, **REUSED),
    case("45", S.BODY, T.CLOSED, A.FRESH, close=True, **NEW),
    case("45 slow", S.BODY, T.TIMEOUT, A.DEFER_MESSAGE, close=True),
    case("46", S.DOT, T.CLOSED, A.IN_DOUBT, close=True),
    case("46", S.DOT, T.TIMEOUT, A.IN_DOUBT, close=True),
    case("47", S.RCPT, T.MALFORMED, A.FRESH, close=True, **REUSED),
    case("47", S.RCPT, T.MALFORMED, A.PAUSE, close=True, **NEW),
    case("47", S.DOT, T.MALFORMED, A.IN_DOUBT, close=True),
]


@pytest.mark.parametrize(("stage", "what", "situation", "action", "expected"), TABLE)
def test_the_table_is_followed(stage, what, situation, action, expected):
    judgement = judge(Situation(stage, **situation), what if isinstance(what, Trouble) else said(what))
    assert judgement.action is action
    for name, value in expected.items():
        assert getattr(judgement, name) == value, name


situations = st.builds(
    Situation,
    stage=st.sampled_from(Stage),
    reused=st.booleans(),
    first=st.booleans(),
    fresh_tries=st.integers(0, MAX_FRESH + 1),
    accepted=st.integers(0, 3),
    parameters=st.booleans(),
    failures=st.integers(0, 3),
)
replies = st.builds(
    Reply.of,
    st.integers(0, 999),
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            ["4.5.3 too many", "5.2.2 full", "4.7.0 rate limit exceeded", "5.4.5 daily limit", "4.4.2 idle"]
        ),
    ),
)
troubles = st.sampled_from(Trouble)


@given(situations, st.one_of(replies, troubles))
def test_every_situation_has_a_judgement(situation, what):
    assert isinstance(judge(situation, what), Judgement)


@given(situations, st.one_of(replies, troubles))
def test_trouble_before_mail_never_blames_a_message(situation, what):
    if situation.stage.before_mail:
        assert judge(situation, what).action in {Action.GO_ON, Action.PAUSE, Action.CONFIG}


@given(situations, st.one_of(replies, troubles))
def test_after_the_final_dot_nothing_is_sent_again_at_once(situation, what):
    if situation.stage is Stage.DOT:
        judgement = judge(situation, what)
        assert judgement.action not in {Action.FRESH, Action.NEXT, Action.PLAIN, Action.GO_ON, Action.CONSEQUENCE}
        if isinstance(what, Trouble):
            assert judgement == Judgement(Action.IN_DOUBT, close=True)
        elif judgement.action is Action.ACCEPT:
            assert what.positive


@given(situations, troubles)
def test_a_connection_in_trouble_is_never_used_again(situation, trouble):
    assert judge(situation, trouble).close


@given(situations, st.one_of(replies, troubles))
def test_fresh_connections_for_one_message_are_bounded(situation, what):
    if judge(situation, what).action is Action.FRESH:
        assert situation.fresh_tries < MAX_FRESH
