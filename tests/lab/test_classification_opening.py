"""Rows 1 to 16 of the classification of SMTP failures: no connection can be opened. No row pays for it."""

import contextlib
import socket
from base64 import b64decode

import pytest

from outbox.core.classify import Trouble
from tests.fixtures.aftermath import SENT, UNTRIED, Left, copies
from tests.fixtures.scripted_smtpd import DATA, DOT, GREETING, MAIL, QUIT, RCPT, drop, half_close, silence

# What comes before MAIL is the same whatever the database is.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

USER = ("ada", "secret")


@pytest.fixture
def closed_port():
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def full_port():
    """A port whose queue of connections is full: whoever connects hears nothing."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def not_tried(queue, smtpd=None, **settings):
    """The pause that came of draining two rows, both of which must be as if nobody had touched them."""
    ids = [await queue.add(), await queue.add(to_addrs="bob@example.org")]
    await queue.drain(**settings)
    for id in ids:
        assert await queue.left(id) == Left(*UNTRIED)
    pause = await queue.pause()
    assert pause
    assert (await queue.row(ids[0])).last_error.endswith(pause[1])
    if smtpd:
        assert not smtpd.messages
        assert not any(command.startswith("MAIL") for command in smtpd.commands)
    return pause


async def test_row_1_a_server_that_is_not_there_pauses_the_transport(queue, closed_port):
    kind, reason = await not_tried(queue, url=f"smtp://127.0.0.1:{closed_port}")
    assert kind == "pause"
    assert reason.startswith("connect: ")
    assert "refused" in reason


async def test_row_2_a_server_that_does_not_accept_in_time_pauses_the_transport(queue, full_port):
    pause = await not_tried(queue, url=f"smtp://127.0.0.1:{full_port}", timeouts={"connect": 0.2})
    assert pause == ("pause", "connect: timed out")


async def test_row_2_a_server_that_does_not_greet_in_time_pauses_the_transport(queue, scripted_smtpd):
    scripted_smtpd.play([(None, silence)])
    assert await not_tried(queue, timeouts={"connect": 0.2}) == ("pause", "greeting: timed out")
    assert scripted_smtpd.connections == 1


@pytest.fixture
def lookup(monkeypatch):
    """From now on names of no real host fail to be looked up with the given error."""
    real = socket.getaddrinfo

    def fails_with(error):
        def getaddrinfo(host, *args, **kwargs):
            if host in {b"mail.test", "mail.test"}:
                raise socket.gaierror(error, "lookup failed")
            return real(host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return fails_with


@pytest.mark.parametrize(
    ("error", "said"),
    [(socket.EAI_AGAIN, "name lookup failed for now"), (socket.EAI_NONAME, "no such host name")],
)
async def test_row_3_a_name_that_cannot_be_looked_up_pauses_the_transport(queue, lookup, error, said):
    lookup(error)
    assert await not_tried(queue, url="smtp://mail.test") == ("pause", f"connect: {said} (lookup failed)")


async def test_row_3_a_name_that_goes_on_being_unknown_needs_a_person(queue, lookup, brief_pauses):
    lookup(socket.EAI_NONAME)
    kind, _ = await not_tried(queue, url="smtp://mail.test")
    assert kind == "config"


@pytest.mark.parametrize("end", [drop, half_close])
async def test_row_4_a_connection_closed_before_the_greeting_pauses_the_transport(queue, scripted_smtpd, end):
    scripted_smtpd.play([(None, end)])
    assert await not_tried(queue) == ("pause", "greeting: connection closed by the server")
    assert scripted_smtpd.connections == 1


def refused(row, kind, reason, server=None, **faults):
    """What `faults` of a server with the options `server` come to."""
    marks = pytest.mark.smtpd(**(server or {}))
    return pytest.param(kind, reason, faults, id=f"row {row}: {reason}", marks=marks)


TLS = {"tls": "starttls"}
LOGIN = {"auth": USER}
NAME = "550 5.7.1 bad name"


@pytest.mark.parametrize(
    ("kind", "reason", "faults"),
    [
        refused(5, "pause", "greeting: 421 4.7.0 too many connections", greeting="421 4.7.0 too many connections"),
        refused(5, "pause", "greeting: 450 4.3.2 overloaded", greeting="450 4.3.2 overloaded"),
        refused(6, "config", "greeting: 554 5.7.1 you are blocked", greeting="554 5.7.1 you are blocked"),
        refused(6, "config", "greeting: 521 we take no mail", greeting="521 we take no mail"),
        refused(10, "pause", "STARTTLS: 454 4.7.0 not now", TLS, starttls="454 4.7.0 not now"),
        refused(10, "pause", "STARTTLS: connection closed by the server", TLS, starttls="drop"),
        refused(11, "pause", "EHLO: 451 4.3.0 later", ehlo="451 4.3.0 later"),
        refused(11, "pause", "EHLO: 421 4.3.2 closing", ehlo="421 4.3.2 closing"),
        refused(11, "config", f"EHLO: {NAME}", ehlo=NAME, helo=NAME),
        refused(12, "config", "AUTH: 535 5.7.8 bad credentials", LOGIN, auth="535 5.7.8 bad credentials"),
        refused(12, "config", "AUTH: 534 5.7.9 too weak", LOGIN, auth="534 5.7.9 too weak"),
        refused(12, "config", "AUTH: 538 5.7.11 encrypt", LOGIN, auth="538 5.7.11 encrypt"),
        refused(12, "config", "AUTH: 550 5.7.30 no basic login", LOGIN, auth="550 5.7.30 no basic login"),
        refused(13, "pause", "AUTH: 454 4.7.0 not now", LOGIN, auth="454 4.7.0 not now"),
        refused(14, "pause", "AUTH: 421 4.7.0 too many logins", LOGIN, auth="421 4.7.0 too many logins"),
        refused(
            15, "config", f"AUTH: {Trouble.NOT_OFFERED} (AUTH PLAIN, LOGIN or CRAM-MD5)", {**LOGIN, "mechanisms": ()}
        ),
        refused(9, "config", f"STARTTLS: {Trouble.NOT_OFFERED}", {**TLS, **LOGIN, "hide": ("STARTTLS",)}),
    ],
)
async def test_a_session_that_is_refused_costs_no_row_an_attempt(queue, smtpd, ca_file, kind, reason, faults):
    smtpd.faults.update(faults)
    assert await not_tried(queue, smtpd, ca_file=ca_file) == (kind, reason)
    assert smtpd.connections == 1
    logins = [command for command in smtpd.commands if command.startswith("AUTH")]
    assert len(logins) <= 1, "repeating a wrong password locks accounts"


@pytest.mark.smtpd(greeting=["421 4.7.0 too many connections"])
async def test_row_5_what_was_not_tried_is_sent_when_the_pause_ends(queue, smtpd, brief_pauses):
    id = await queue.add()
    await queue.drain()
    assert await queue.left(id) == Left(*SENT, ["1 ada accepted 250 2.0.0"])
    assert await queue.pause() is None
    assert (smtpd.connections, copies(smtpd)) == (2, ["ada"])


async def test_row_7_tls_from_the_start_on_a_plain_port_needs_a_person(queue, smtpd, ca_file):
    kind, reason = await not_tried(queue, smtpd, url=smtpd.url.replace("smtp:", "smtps:"), ca_file=ca_file)
    assert kind == "config"
    assert reason.startswith(f"connect: {Trouble.TLS_MODE}")


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("connect", marks=pytest.mark.smtpd(tls="implicit", auth=USER)),
        pytest.param("STARTTLS", marks=pytest.mark.smtpd(tls="starttls", auth=USER)),
    ],
)
async def test_row_8_a_certificate_nobody_vouches_for_needs_a_person_and_nothing_goes_out_in_plain(queue, smtpd, stage):
    kind, reason = await not_tried(queue, smtpd)
    assert kind == "config"
    assert reason.startswith(f"{stage}: {Trouble.CERTIFICATE} (")
    assert not any(command.startswith("AUTH") for command in smtpd.commands)


async def test_row_10_a_tls_handshake_that_hangs_pauses_the_transport(queue, scripted_smtpd, ca_file):
    offer = (b"EHLO", b"250-scripted\r\n250 STARTTLS\r\n")
    scripted_smtpd.play([GREETING, offer, (b"STARTTLS", b"220 go on\r\n"), (None, silence)])
    url = scripted_smtpd.url.replace("smtp:", "smtp+starttls:")
    pause = await not_tried(queue, url=url, ca_file=ca_file, timeouts={"command": 0.2})
    assert pause == ("pause", "STARTTLS: timed out")


async def test_row_11_a_server_that_knows_only_helo_is_sent_mail(queue, scripted_smtpd):
    helo = [(b"EHLO", b"502 5.5.1 what?\r\n"), (b"HELO", b"250 hello\r\n")]
    scripted_smtpd.play([GREETING, *helo, MAIL, RCPT, DATA, DOT, QUIT])
    id = await queue.add()
    await queue.drain()
    assert await queue.left(id) == Left(*SENT, ["1 ada accepted 250 2.0.0"])


def by_token(smtpd, *tokens):
    """Settings of a transport whose tokens come from a function: these, one after the other."""
    left = list(tokens)

    async def fetch():
        token = left.pop(0)
        if isinstance(token, Exception):
            raise token
        return token

    return {"url": smtpd.url.replace("//", "//ada@"), "oauth_token": fetch}


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_row_12_a_token_that_has_expired_is_replaced_at_once_and_the_mail_is_sent(queue, smtpd):
    id = await queue.add()
    await queue.drain(**by_token(smtpd, "expired", "good"))
    assert await queue.left(id) == Left(*SENT, ["1 ada accepted 250 2.0.0"])
    assert await queue.pause() is None
    assert smtpd.connections == 1


async def hang_up(peer):
    peer.writer.write(b"535 5.7.8 expired\r\n")
    peer.writer.close()


XOAUTH2 = [GREETING, (b"EHLO", b"250-scripted\r\n250 AUTH XOAUTH2\r\n")]


async def test_row_12_a_server_that_hangs_up_on_a_token_gets_another_one_at_once(queue, scripted_smtpd):
    id = await queue.add()
    let_in = (b"AUTH XOAUTH2", b"235 2.7.0 welcome\r\n")
    scripted_smtpd.play([*XOAUTH2, (b"AUTH XOAUTH2", hang_up)], [*XOAUTH2, let_in, MAIL, RCPT, DATA, DOT, QUIT])
    await queue.drain(**by_token(scripted_smtpd, "expired", "good"))
    assert await queue.left(id) == Left(*SENT, ["1 ada accepted 250 2.0.0"])
    assert await queue.pause() is None
    said = [b64decode(line.split()[2]) for line in scripted_smtpd.lines if line.startswith(b"AUTH")]
    assert [b"Bearer expired\1" in said[0], b"Bearer good\1" in said[1], len(said)] == [True, True, 2]


async def test_row_12_a_server_that_hangs_up_on_every_token_needs_a_person(queue, scripted_smtpd):
    scripted_smtpd.play(*[[*XOAUTH2, (b"AUTH XOAUTH2", hang_up)]] * 2)
    settings = by_token(scripted_smtpd, "expired", "expired too", "good")
    assert await not_tried(queue, **settings, max_connections=1) == ("config", "AUTH: 535 5.7.8 expired")


@pytest.mark.smtpd(token="good", mechanisms=())
async def test_row_12_a_token_that_is_refused_twice_needs_a_person(queue, smtpd):
    kind, reason = await not_tried(queue, smtpd, **by_token(smtpd, "expired", "expired too", "good"))
    assert (kind, reason) == ("config", "AUTH: 535 5.7.8 Authentication credentials invalid")


@pytest.mark.smtpd(auth=USER)
async def test_row_13_a_login_limit_that_names_its_time_is_waited_out_though_its_code_is_permanent(queue, smtpd):
    smtpd.faults["auth"] = "550 Too many messages. Try again in 92 seconds"
    await not_tried(queue, smtpd)
    assert 80 < await queue.paused_for() <= 92


@pytest.mark.smtpd(auth=USER)
async def test_row_15_a_server_that_takes_no_tokens_needs_a_person(queue, smtpd):
    settings = by_token(smtpd, "good") | {"url": f"smtp://ada@127.0.0.1:{smtpd.port}"}
    pause = await not_tried(queue, smtpd, **settings)
    assert pause == ("config", f"AUTH: {Trouble.NOT_OFFERED} (AUTH XOAUTH2)")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (RuntimeError("s3cret"), "pause", f"{Trouble.TOKEN} (RuntimeError in oauth_token)"),
        (ValueError("invalid_grant"), "config", f"{Trouble.TOKEN_INVALID} (ValueError in oauth_token)"),
    ],
)
@pytest.mark.smtpd(token="good", mechanisms=())
async def test_row_16_a_token_that_cannot_be_had_is_a_matter_of_the_transport(queue, smtpd, error, kind, said):
    assert await not_tried(queue, smtpd, **by_token(smtpd, error)) == (kind, f"AUTH: {said}")
