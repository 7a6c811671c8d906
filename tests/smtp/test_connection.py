"""Opening connections: every kind of TLS on both event loops, every way it fails, and who is told which secret."""

import asyncio
import socket
import ssl
import sys
import time

import pytest
import trustme

from outbox.core.classify import Stage, Trouble
from outbox.core.reply import Reply
from outbox.settings import TransportSettings
from outbox.smtp.connection import Connection, Features, _own_name, open_connection, tls_context
from outbox.smtp.failures import OpeningError
from outbox.smtp.tokens import AccessToken, TokenSource, token_from_command
from tests.fixtures.scripted_smtpd import EHLO, GREETING, drop, silence, upgrade
from tests.fixtures.smtpd import Smtpd
from tests.smtp.loops import both_loops, run


async def opened(url: str, ca_file=None, tokens=None, **settings) -> Connection:
    configured = TransportSettings(url=url, ca_file=ca_file, **settings)
    return await open_connection(configured, context=tls_context(configured), tokens=tokens, clock=time.monotonic)


async def failure(url: str, ca_file=None, tokens=None, **settings) -> OpeningError:
    with pytest.raises(OpeningError) as caught:
        await opened(url, ca_file, tokens, **settings)
    return caught.value


@both_loops
@pytest.mark.parametrize("tls", [None, "starttls", "implicit"])
def test_a_connection_opens_speaks_and_closes(loop_factory, tls, server_context, ca_file):
    async def test():
        async with Smtpd(server_context, tls=tls, auth=("ada", "secret"), size=1000) as server:
            connection = await opened(server.url, ca_file)
            assert connection.features == Features(size=1000, offers_size=True, eightbitmime=True)
            assert (connection.tls is None) == (tls is None)
            turn = connection.wire.turn()
            turn.write(b"NOOP\r\n")
            assert (await turn.reply(30)).code == 250
            await connection.close()
            assert not connection.usable
            assert server.commands[-1] == "QUIT"

    run(loop_factory, test())


async def test_the_certificate_must_be_signed_by_somebody_we_trust(server_context, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    for tls, stage in (("implicit", Stage.CONNECT), ("starttls", Stage.STARTTLS)):
        async with Smtpd(server_context, tls=tls, auth=("ada", "secret")) as server:
            error = await failure(server.url, other)
            assert (error.stage, error.what) == (stage, Trouble.CERTIFICATE)
            assert "AUTH" not in " ".join(server.commands)


async def test_the_certificate_must_be_for_the_host_we_asked_for(authority, ca_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    async with Smtpd(context, tls="implicit") as server:
        error = await failure(server.url, ca_file)
        assert error.what is Trouble.CERTIFICATE
        assert "127.0.0.1" in error.detail


async def test_a_ca_file_that_holds_no_certificate_is_a_matter_of_configuration(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    error = await failure("smtps://127.0.0.1:1", broken)
    assert (error.stage, error.what) == (Stage.CONNECT, Trouble.CERTIFICATE)
    assert "broken.pem" in error.detail


def test_nothing_older_than_tls_1_2_is_spoken(ca_file):
    context = tls_context(TransportSettings(url="smtps://h", ca_file=ca_file))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


@both_loops
def test_implicit_tls_to_a_plain_port_is_told_as_such(loop_factory, server_context, ca_file):
    async def test():
        async with Smtpd(server_context) as server:
            error = await failure(server.url.replace("smtp:", "smtps:"), ca_file)
            assert (error.stage, error.what) == (Stage.CONNECT, Trouble.TLS_MODE)

    run(loop_factory, test())


@pytest.mark.smtpd(tls="starttls", hide=("STARTTLS",), auth=("ada", "secret"))
async def test_where_starttls_was_stripped_nothing_is_sent_in_plain_text(smtpd, ca_file):
    error = await failure(smtpd.url, ca_file)
    assert (error.stage, error.what) == (Stage.STARTTLS, Trouble.NOT_OFFERED)
    assert [command.split()[0] for command in smtpd.commands] == ["EHLO"]


@pytest.mark.smtpd(tls="starttls", starttls="454 4.7.0 TLS not available")
async def test_a_server_without_tls_for_now_is_asked_later(smtpd, ca_file):
    error = await failure(smtpd.url, ca_file)
    assert (error.stage, error.what) == (Stage.STARTTLS, Reply(454, "4.7.0 TLS not available"))


async def test_what_is_injected_before_starttls_is_not_believed_after_it(scripted_smtpd, server_context, ca_file):
    offer = (b"EHLO", b"250-scripted\r\n250 STARTTLS\r\n")
    injected = upgrade(server_context, b"220 go on\r\n250-injected\r\n250 SIZE 1\r\n")
    scripted_smtpd.play([GREETING, offer, (b"STARTTLS", injected), (b"EHLO", b"250-real\r\n250 SIZE 7\r\n")])
    connection = await opened(scripted_smtpd.url.replace("smtp:", "smtp+starttls:"), ca_file)
    assert connection.features.size == 7
    connection.abort()
    await connection.wire.closed()


async def test_what_cannot_be_reached_is_unreachable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"smtp://127.0.0.1:{unused.getsockname()[1]}")
    assert (error.stage, error.what) == (Stage.CONNECT, Trouble.UNREACHABLE)


@pytest.mark.parametrize(
    ("number", "trouble"), [(socket.EAI_NONAME, Trouble.DNS_UNKNOWN), (socket.EAI_AGAIN, Trouble.DNS)]
)
async def test_a_name_that_does_not_exist_differs_from_one_not_found_for_now(monkeypatch, number, trouble):
    async def lookup(*args, **kwargs):
        raise socket.gaierror(number, "lookup failed")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    error = await failure("smtp://mail.example.org")
    assert (error.stage, error.what, error.detail) == (Stage.CONNECT, trouble, "lookup failed")


async def test_a_name_that_cannot_be_a_host_is_unknown():
    error = await failure("smtp://a..example.org")
    assert error.what is Trouble.DNS_UNKNOWN


BRIEF = {"connect": 0.2, "command": 0.2}


@pytest.mark.parametrize(
    ("script", "stage", "what"),
    [
        ([(None, drop)], Stage.GREETING, Trouble.CLOSED),
        ([], Stage.GREETING, Trouble.CLOSED),
        ([(None, silence)], Stage.GREETING, Trouble.TIMEOUT),
        ([(None, b"421 4.7.0 busy\r\n")], Stage.GREETING, Reply(421, "4.7.0 busy")),
        ([(None, b"554 no\r\n")], Stage.GREETING, Reply(554, "no")),
        ([(None, b"SSH-2.0-OpenSSH\r\n")], Stage.GREETING, Trouble.MALFORMED),
        ([(None, b"250 what?\r\n")], Stage.GREETING, Trouble.MALFORMED),
        ([GREETING, (b"EHLO", drop)], Stage.EHLO, Trouble.CLOSED),
        ([GREETING, (b"EHLO", silence)], Stage.EHLO, Trouble.TIMEOUT),
        ([GREETING, (b"EHLO", b"451 4.3.0 later\r\n")], Stage.EHLO, Reply(451, "4.3.0 later")),
        ([GREETING, (b"EHLO", b"502 no\r\n"), (b"HELO", b"550 no!\r\n")], Stage.EHLO, Reply(550, "no!")),
    ],
    ids=[
        "drop",
        "closed at once",
        "silent",
        "busy",
        "no service",
        "not SMTP",
        "not a greeting",
        "EHLO drop",
        "EHLO silent",
        "EHLO later",
        "no HELO either",
    ],
)
async def test_the_stage_of_a_failure_is_known(scripted_smtpd, script, stage, what):
    if script:
        scripted_smtpd.play(script)
    error = await failure(scripted_smtpd.url, timeouts=BRIEF)
    assert (error.stage, error.what) == (stage, what)
    await scripted_smtpd.until(lambda: scripted_smtpd.gone == 1)


async def test_a_server_that_knows_only_helo_will_do(scripted_smtpd):
    scripted_smtpd.play([GREETING, (b"EHLO", b"502 what?\r\n"), (b"HELO", b"250 hello\r\n")])
    connection = await opened(scripted_smtpd.url)
    assert connection.features == Features()
    connection.abort()
    await connection.wire.closed()


async def test_a_cancelled_opening_leaves_no_connection(scripted_smtpd):
    scripted_smtpd.play([GREETING, (b"EHLO", silence)])
    opening = asyncio.create_task(opened(scripted_smtpd.url))
    await scripted_smtpd.until(lambda: len(scripted_smtpd.lines) == 1)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    await scripted_smtpd.until(lambda: scripted_smtpd.gone == 1)


async def test_a_server_that_never_answers_quit_does_not_hold_us_up(scripted_smtpd):
    scripted_smtpd.play([GREETING, EHLO, (b"QUIT", silence)])
    connection = await opened(scripted_smtpd.url, timeouts={"quit": 0.01})
    await connection.close()
    await scripted_smtpd.until(lambda: scripted_smtpd.gone == 1)


@pytest.mark.smtpd(auth=("ada", "secret"))
async def test_a_wrong_password_is_tried_once(smtpd):
    error = await failure(smtpd.url.replace("secret", "wrong"))
    assert (error.stage, str(error.what)) == (Stage.AUTH, "535 5.7.8 Authentication credentials invalid")
    assert [c for c in smtpd.commands if c.startswith("AUTH")] == ["AUTH PLAIN"]
    assert "wrong" not in str(error)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_each_mechanism_logs_in(mechanism, server_context):
    async with Smtpd(server_context, auth=("ada", "secret"), mechanisms=(mechanism,)) as server:
        connection = await opened(server.url)
        await connection.close()
        assert f"AUTH {mechanism}" in server.commands


@pytest.mark.smtpd(auth=("ada", "secret"), mechanisms=())
async def test_a_server_without_a_mechanism_we_know_gets_no_password(smtpd):
    error = await failure(smtpd.url)
    assert (error.stage, error.what) == (Stage.AUTH, Trouble.NOT_OFFERED)


async def test_the_reason_of_a_421_while_logging_in_is_kept(scripted_smtpd):
    offer = (b"EHLO", b"250-scripted\r\n250 AUTH PLAIN LOGIN\r\n")
    scripted_smtpd.play([GREETING, offer, (b"AUTH PLAIN", b"421 4.7.0 too many logins\r\n")])
    error = await failure(scripted_smtpd.url.replace("//", "//ada:secret@"))
    assert (error.stage, error.what) == (Stage.AUTH, Reply(421, "4.7.0 too many logins"))


def source(*tokens: str) -> TokenSource:
    left = list(tokens)

    async def fetch() -> AccessToken:
        return AccessToken(left.pop(0))

    return TokenSource(fetch)


def by_token(smtpd: Smtpd) -> str:
    return f"smtp://ada@127.0.0.1:{smtpd.port}"


OAUTH = {"oauth_command": ("unused",)}


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_a_token_logs_in_and_serves_the_next_connection_too(smtpd):
    tokens = source("good")
    for _ in range(2):
        connection = await opened(by_token(smtpd), tokens=tokens, **OAUTH)
        await connection.close()
    assert smtpd.commands.count("AUTH XOAUTH2") == 2


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_a_refused_token_is_replaced_once(smtpd):
    connection = await opened(by_token(smtpd), tokens=source("expired", "good"), **OAUTH)
    await connection.close()
    error = await failure(by_token(smtpd), tokens=source("expired", "expired too", "good"), **OAUTH)
    assert error.what == Reply(535, "5.7.8 Authentication credentials invalid")
    assert smtpd.commands.count("AUTH XOAUTH2") == 4


@pytest.mark.smtpd(auth=("ada", "secret"))
async def test_a_token_needs_a_server_that_offers_xoauth2(smtpd):
    error = await failure(by_token(smtpd), tokens=source("good"), **OAUTH)
    assert error.what is Trouble.NOT_OFFERED


@both_loops
def test_a_command_prints_the_token(loop_factory):
    async def test():
        assert await token_from_command([sys.executable, "-c", "print('tok')"], 30) == AccessToken("tok\n")

    run(loop_factory, test())


@pytest.mark.parametrize(
    ("command", "trouble", "detail"),
    [
        (["/nonexistent/token"], Trouble.TOKEN, "oauth_command cannot be started: No such file or directory"),
        (["sh", "-c", "echo s3cret >&2; exit 3"], Trouble.TOKEN, "oauth_command exited with 3"),
        (["sh", "-c", "echo invalid_grant >&2; exit 1"], Trouble.TOKEN_INVALID, "oauth_command exited with 1"),
        (["sleep", "60"], Trouble.TOKEN, "oauth_command took longer than 0.05 s"),
        (["true"], Trouble.TOKEN, "what came is empty or not a token"),
    ],
)
async def test_why_there_is_no_token_is_told_without_the_secret(command, trouble, detail):
    tokens = TokenSource(lambda: token_from_command(command, 0.05 if command[0] == "sleep" else 30))
    with pytest.raises(OpeningError) as caught:
        await tokens.current()
    assert (caught.value.what, caught.value.detail) == (trouble, detail)


async def test_a_failing_token_function_is_named_without_its_words():
    async def fetch() -> AccessToken:
        raise RuntimeError("s3cret")

    with pytest.raises(OpeningError) as caught:
        await TokenSource(fetch).current()
    assert caught.value.detail == "RuntimeError in oauth_token"


@pytest.mark.parametrize(
    ("hostname", "sockname", "name"),
    [
        ("mail.example.org", ("10.0.0.1", 5), "mail.example.org"),
        ("laptop", ("10.0.0.1", 5), "[10.0.0.1]"),
        ("bad_name.local host", ("10.0.0.1", 5), "[10.0.0.1]"),
        ("laptop", ("fe80::1%eth0", 5, 0, 2), "[IPv6:fe80::1]"),
    ],
)
def test_we_call_ourselves_what_a_server_accepts(monkeypatch, hostname, sockname, name):
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert _own_name(sockname) == name


async def test_the_configured_name_is_used(smtpd):
    connection = await opened(smtpd.url, local_hostname="client.example.org")
    await connection.close()
    assert smtpd.commands[0] == "EHLO client.example.org"
