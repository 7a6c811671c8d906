"""What large providers say in their own ways, through a whole transport; and what a person reads of each fault."""

import asyncio
import random
import socket

import pytest

from outbox.core.message import Message
from outbox.core.outcome import Fault, Scope
from outbox.settings import TransportSettings
from outbox.smtp.transport import Transport
from tests.fixtures.scripted_smtpd import EHLO, GREETING, HELLO, MAIL, RCPT

MESSAGE = Message("shop@example.com", ("ada@example.org",), b"Subject: Hi\r\n\r\nhello\r\n")


@pytest.fixture
async def make(clock):
    transports: list[Transport] = []

    def make(url: str, **settings) -> Transport:
        configured = TransportSettings(url=url, **settings)
        transports.append(Transport("main", configured, clock=clock, random=random.Random(1)))
        return transports[-1]

    yield make
    for transport in transports:
        await transport.close()


async def fault_of(transport: Transport) -> Fault:
    """The fault that a message meets. It costs no attempt, and everybody is still to be tried."""
    report = await transport.send(MESSAGE)
    assert report.outcomes == {}
    assert report.fault
    return report.fault


QUIRKS = [
    # Microsoft 365
    ("mail", "432 4.3.2 Concurrent connections limit exceeded", Scope.PAUSE, 1),
    ("dot", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", Scope.PAUSE, 1),
    ("dot", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", Scope.PAUSE, 3600),
    # Amazon SES
    ("dot", "454 Throttling failure: Maximum sending rate exceeded", Scope.PAUSE, 1),
    ("dot", "454 Throttling failure: Daily message quota exceeded", Scope.PAUSE, 1),
    ("greeting", "421 Too many concurrent SMTP connections", Scope.PAUSE, 1),
    # Gmail, Workspace
    ("dot", "550 5.4.5 Daily user sending limit exceeded", Scope.PAUSE, 3600),
    ("rcpt", "450 4.2.1 Peak SMTP relay limit exceeded for customer", Scope.PAUSE, 1),
    ("mail", "421 4.7.0 Temporary System Problem. Try again later", Scope.PAUSE, 1),
    # Postfix
    ("greeting", "421 4.7.0 mx Error: too many connections from 192.0.2.1", Scope.PAUSE, 1),
    ("mail", "530 5.7.0 Must issue a STARTTLS command first", Scope.CONFIG, 300),
    ("greeting", "554 5.7.1 Service unavailable; client host blocked", Scope.CONFIG, 300),
    ("ehlo", "550 5.7.1 Helo command rejected", Scope.CONFIG, 300),
]


@pytest.mark.parametrize(("stage", "reply", "scope", "seconds"), QUIRKS, ids=[f"{q[0]} {q[1][:30]}" for q in QUIRKS])
async def test_limits_and_blocks_pause_the_transport_and_cost_no_attempt(
    make, smtpd, clock, stage, reply, scope, seconds
):
    smtpd.faults = {stage: reply, **({"helo": reply} if stage == "ehlo" else {})}
    transport = make(smtpd.url)
    fault = await fault_of(transport)
    assert fault.scope is scope
    where = {"dot": "final dot", "greeting": "greeting", "ehlo": "EHLO"}.get(stage, stage.upper())
    assert fault.reason == f"127.0.0.1:{smtpd.port}: {where}: {reply}"
    assert 0.8 * seconds <= transport.paused_for <= 1.2 * seconds
    smtpd.faults = {}
    clock.now += transport.paused_for
    report = await transport.send(MESSAGE)
    assert [o.kind.value for o in report.outcomes.values()] == ["accepted"]


LOGINS = [
    ("550 Too many messages. Try again in 92 seconds", Scope.PAUSE, 92),  # NotiSend
    ("454 4.7.0 Too many login attempts, please try again later", Scope.PAUSE, 1),  # Gmail
    ("454 4.7.0 Temporary authentication failure", Scope.PAUSE, 1),
    ("432 4.3.2 Concurrent connections limit exceeded", Scope.PAUSE, 1),
    ("535 5.7.8 Username and Password not accepted", Scope.CONFIG, 300),
    ("534 5.7.9 Application-specific password required", Scope.CONFIG, 300),
    ("550 5.7.30 Basic authentication is not supported for Client Submission", Scope.CONFIG, 300),  # Microsoft 365
]


@pytest.mark.parametrize(("reply", "scope", "seconds"), LOGINS, ids=[login[0][:30] for login in LOGINS])
@pytest.mark.smtpd(auth=("ada", "s3cret"))
async def test_a_login_that_is_limited_passes_and_one_that_is_wrong_needs_a_person(make, smtpd, reply, scope, seconds):
    smtpd.faults = {"auth": reply}
    transport = make(smtpd.url)
    fault = await fault_of(transport)
    assert (fault.scope, fault.reason) == (scope, f"127.0.0.1:{smtpd.port}: AUTH: {reply}")
    assert 0.8 * seconds <= transport.paused_for <= 1.2 * seconds


@pytest.mark.smtpd(auth=("ada", "s3cret"), mechanisms=())
async def test_a_server_without_login_is_told_apart(make, smtpd, caplog):
    fault = await fault_of(make(smtpd.url))
    assert fault.scope is Scope.CONFIG
    assert fault.reason.endswith("AUTH: required, but the server does not offer it (AUTH PLAIN, LOGIN or CRAM-MD5)")
    assert "s3cret" not in caplog.text


async def test_a_limit_on_logins_that_closes_the_connection_passes(make, smtpd, scripted_smtpd):
    offers = (b"EHLO", b"250-scripted\r\n250 AUTH PLAIN\r\n")
    scripted_smtpd.play([GREETING, offers, (b"AUTH", b"421 4.7.0 too many login attempts\r\n")])
    fault = await fault_of(make(scripted_smtpd.url.replace("//", "//ada:s3cret@")))
    assert fault.scope is Scope.PAUSE
    assert "AUTH: " in fault.reason
    assert "s3cret" not in fault.reason


async def test_what_a_person_reads_of_a_server_that_is_not_there(make, unused_port):
    fault = await fault_of(make(f"smtp://127.0.0.1:{unused_port}"))
    assert fault.scope is Scope.PAUSE
    assert fault.reason == f"127.0.0.1:{unused_port}: connect: the server cannot be reached (Connection refused)"


@pytest.fixture
def unused_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def lookup(monkeypatch):
    """Name lookups end with this error."""

    def lookup(code: int, text: str) -> None:
        async def fail(*_, **__):
            raise socket.gaierror(code, text)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail, raising=False)

    return lookup


async def test_a_name_that_cannot_be_looked_up_for_now_passes(make, lookup):
    lookup(socket.EAI_AGAIN, "Temporary failure in name resolution")
    fault = await fault_of(make("smtp://mx.example.org:25"))
    assert fault.scope is Scope.PAUSE
    assert fault.reason == (
        "mx.example.org:25: connect: name lookup failed for now (Temporary failure in name resolution)"
    )


async def test_a_name_that_stays_unknown_needs_a_person(make, lookup, clock):
    lookup(socket.EAI_NONAME, "Name or service not known")
    transport = make("smtp://mx.example.org:25")
    scopes = []
    for _ in range(3):
        fault = await fault_of(transport)
        assert fault.reason == "mx.example.org:25: connect: no such host name (Name or service not known)"
        scopes.append(fault.scope)
        clock.now += transport.paused_for
    assert scopes == [Scope.PAUSE, Scope.PAUSE, Scope.CONFIG]


@pytest.mark.smtpd(tls="implicit", auth=("ada", "s3cret"))
async def test_a_certificate_that_is_not_trusted_needs_a_person(make, smtpd, caplog):
    fault = await fault_of(make(smtpd.url))
    assert fault.scope is Scope.CONFIG
    assert fault.reason == (
        f"127.0.0.1:{smtpd.port}: connect: the server's certificate is not valid"
        " (unable to get local issuer certificate)"
    )
    assert "s3cret" not in caplog.text


@pytest.mark.smtpd(hide=("STARTTLS",))
async def test_a_server_without_starttls_is_never_spoken_to_in_the_clear(make, smtpd):
    fault = await fault_of(make(smtpd.url.replace("smtp://", "smtp+starttls://ada:s3cret@")))
    assert fault.scope is Scope.CONFIG
    assert fault.reason == f"127.0.0.1:{smtpd.port}: STARTTLS: required, but the server does not offer it"
    assert not any(command.startswith("AUTH") for command in smtpd.commands)


async def test_a_plain_port_taken_for_a_tls_one_says_which_urls_there_are(make, smtpd):
    fault = await fault_of(make(smtpd.url.replace("smtp://", "smtps://")))
    assert fault.scope is Scope.CONFIG
    assert "does not speak TLS on this port (smtps:// is implicit TLS, smtp+starttls:// upgrades)" in fault.reason


async def test_an_idle_timeout_is_nobodys_fault(make, scripted_smtpd):
    once = [*HELLO, MAIL, RCPT, (b"DATA", b"354 go on\r\n"), (b".", b"250 2.0.0 queued\r\n")]
    bye = (b"QUIT", b"221 bye\r\n")
    idle = b"451 4.4.2 Timeout waiting for data from client\r\n"
    scripted_smtpd.play([*once, (b"MAIL", idle)], [GREETING, EHLO, *once[2:], bye])
    transport = make(scripted_smtpd.url)
    for _ in range(2):
        report = await transport.send(MESSAGE)
        assert [o.kind.value for o in report.outcomes.values()] == ["accepted"]
    assert transport.fault is None


async def test_an_hour_of_outage_costs_a_few_probes_and_no_attempt(make, smtpd, clock):
    smtpd.faults = {"greeting": "421 4.3.2 down"}
    transport = make(smtpd.url)
    ends = clock.now + 3600
    while clock.now < ends:
        reports = await asyncio.gather(*(transport.send(MESSAGE) for _ in range(5)))
        assert all(report.fault and not report.outcomes for report in reports)
        clock.now += transport.paused_for
    assert 10 <= smtpd.connections <= 30
    smtpd.faults = {}
    report = await transport.send(MESSAGE)
    assert [o.kind.value for o in report.outcomes.values()] == ["accepted"]
    reports = await asyncio.gather(*(transport.send(MESSAGE) for _ in range(50)))
    assert [report.fault for report in reports] == [None] * 50
