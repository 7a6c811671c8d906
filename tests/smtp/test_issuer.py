"""Access tokens from an issuer over real HTTPS: how long they are kept, what its refusals mean, and refresh tokens."""

import asyncio
import errno
import socket
import threading

import pytest

from outbox.core.classify import Stage, Trouble
from outbox.settings.oauth import OAuthSettings
from outbox.smtp.failures import OpeningError
from outbox.smtp.issuer import Issuer
from outbox.smtp.tokens import TokenSource
from tests.fixtures.issuer import answer

SECRET = "hunter2-secret"
REFUSALS = [
    (answer(400, error="invalid_grant"), Trouble.TOKEN_INVALID, "400 invalid_grant"),
    (
        answer(401, error="invalid_client", error_description=f"AADSTS7000215: Invalid {SECRET}"),
        Trouble.TOKEN_INVALID,
        "401 invalid_client AADSTS7000215",
    ),
    (answer(400, error=f"no: {SECRET}"), Trouble.TOKEN_INVALID, "400"),
    ((404, {}, f"<p>{SECRET}</p>".encode()), Trouble.TOKEN_INVALID, "404"),
    (answer(400, error="temporarily_unavailable"), Trouble.TOKEN, "400 temporarily_unavailable"),
    (answer(429, error="slow_down"), Trouble.TOKEN, "429 slow_down"),
    ((502, {}, b"<p>Bad gateway</p>"), Trouble.TOKEN, "502"),
]


@pytest.fixture
def ask(issuer, ca_file):
    """Makes what asks the issuer, with a client secret unless told otherwise."""

    def make(*, within: float = 30, **settings) -> Issuer:
        if "refresh_token" not in settings and "refresh_token_file" not in settings:
            settings.setdefault("client_secret", SECRET)
        settings = {"token_url": issuer.url, "client_id": "shop", "ca_file": ca_file, **settings}
        return Issuer(OAuthSettings(**settings), within)

    return make


@pytest.fixture
def strict(issuer):
    """The issuer changes the refresh token with every use, and takes any but the last one for stolen."""
    issuer.valid = "refresh-0"

    def next_one(fields):
        if fields["refresh_token"] != issuer.valid:
            return answer(400, error="invalid_grant")
        issuer.valid = f"refresh-{len(issuer.requests)}"
        return answer(200, access_token="good", expires_in=3600, refresh_token=issuer.valid)

    issuer.answers = [next_one] * 20
    return issuer


@pytest.fixture
def file(tmp_path):
    """The file of a refresh token."""
    path = tmp_path / "refresh_token"
    path.write_text("refresh-0\n")
    return path


async def failure(asked: Issuer) -> OpeningError:
    with pytest.raises(OpeningError) as caught:
        await asked.token()
    assert caught.value.stage is Stage.AUTH
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("lifetime", "used_for"), [(3600, 3540), ("3600", 3540), (100, 90)])
async def test_a_token_is_used_until_shortly_before_its_end(ask, issuer, clock, lifetime, used_for):
    issuer.tokens, issuer.lifetime = ["first", "second"], lifetime
    tokens = TokenSource(ask().token, clock)
    assert await tokens.current() == "first"
    clock.now += used_for - 1
    assert await tokens.current() == "first"
    clock.now += 1
    assert await tokens.current() == "second"


@pytest.mark.parametrize("lifetime", [None, "soon"])
async def test_a_token_of_unknown_end_is_used_until_it_is_refused(ask, issuer, clock, lifetime):
    issuer.tokens, issuer.lifetime = ["first", "second"], lifetime
    tokens = TokenSource(ask().token, clock)
    assert await tokens.current() == "first"
    clock.now += 86400
    assert await tokens.current() == "first"
    assert await tokens.current(refused="first") == "second"


async def test_connections_that_want_a_token_at_once_share_one_request(ask, issuer):
    tokens = TokenSource(ask().token)
    assert await asyncio.gather(*(tokens.current() for _ in range(10))) == ["good"] * 10
    assert await asyncio.gather(*(tokens.current(refused="good") for _ in range(1))) == ["good"]
    assert len(issuer.requests) == 2


@pytest.mark.parametrize(("given", "trouble", "said"), REFUSALS)
async def test_what_a_refusal_means_is_told_without_the_words_of_the_issuer(ask, issuer, given, trouble, said):
    issuer.answers = [given]
    error = await failure(ask())
    assert (error.what, error.detail) == (trouble, f"127.0.0.1 answered {said}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((200, {}, f"<p>Please log in, {SECRET}</p>".encode()), "what came is not JSON of a token"),
        ((200, {}, b"[]"), "what came is not JSON of a token"),
        (answer(200, id_token=SECRET), "127.0.0.1 answered without an access_token"),
    ],
)
async def test_an_answer_that_holds_no_token_is_tried_again_later(ask, issuer, given, said):
    issuer.answers = [given]
    error = await failure(ask())
    assert (error.what, error.detail) == (Trouble.TOKEN, said)


async def test_a_redirect_gets_no_secret(ask, issuer, plain_issuer):
    issuer.answers = [answer(302, {"Location": plain_issuer.url}), answer(307, {"Location": plain_issuer.url})]
    asked = ask()
    for status in (302, 307):
        error = await failure(asked)
        assert (error.what, error.detail) == (Trouble.TOKEN_INVALID, f"127.0.0.1 answered {status}")
    assert plain_issuer.requests == []


async def test_an_issuer_whose_certificate_is_not_trusted_gets_no_secret(ask, issuer):
    error = await failure(ask(ca_file=None))
    assert error.what is Trouble.CERTIFICATE
    assert error.detail.startswith("that of 127.0.0.1: ")
    assert issuer.requests == []


async def test_a_ca_file_without_certificates_is_named(ask, tmp_path):
    (tmp_path / "empty.pem").write_text("")
    error = await failure(ask(ca_file=tmp_path / "empty.pem"))
    assert error.what is Trouble.CERTIFICATE
    assert "oauth.ca_file" in error.detail


async def test_an_issuer_that_cannot_be_reached_is_tried_again_later(ask):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    error = await failure(ask(token_url=f"https://127.0.0.1:{port}/token"))
    assert (error.what, error.detail) == (Trouble.TOKEN, "127.0.0.1 cannot be reached: Connection refused")


async def test_a_silent_issuer_is_given_up(ask, issuer):
    end = threading.Event()
    issuer.answers = [lambda _: answer(503, waited=end.wait())]
    error = await failure(ask(within=0.05))
    end.set()
    assert (error.what, error.detail) == (Trouble.TOKEN, "127.0.0.1 took longer than 0.05 s")


async def test_this_machine_is_reached_without_a_proxy(ask, plain_issuer, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await ask(token_url=plain_issuer.url).token()).text == "good"


async def test_a_secret_file_is_read_each_time(ask, issuer, tmp_path):
    path = tmp_path / "client_secret"
    path.write_text("first\n")
    asked = ask(client_secret=None, client_secret_file=path)
    await asked.token()
    path.write_text("second\n")
    await asked.token()
    assert [fields["client_secret"] for fields in issuer.requests] == ["first", "second"]


@pytest.mark.parametrize(
    ("content", "said"), [(b" \n", "is empty"), (b"\xff", "is not text"), (None, "cannot be read: No such file")]
)
async def test_a_secret_file_that_holds_none_needs_a_person(ask, tmp_path, content, said):
    path = tmp_path / "client_secret"
    path.write_bytes(content or b"")
    asked = ask(client_secret=None, client_secret_file=path)
    if content is None:
        path.unlink()
    error = await failure(asked)
    assert error.what is Trouble.TOKEN_INVALID
    assert error.detail.startswith(f"client_secret_file {path} {said}")


async def test_pollers_that_share_a_file_use_each_refresh_token_once(ask, strict, file):
    pollers = [ask(refresh_token_file=file) for _ in range(4)]
    tokens = await asyncio.gather(*(poller.token() for poller in pollers for _ in range(3)))
    assert {token.text for token in tokens} == {"good"}
    assert (len(strict.requests), strict.most_at_once) == (12, 1)
    assert file.read_text() == f"{strict.valid}\n"


async def test_a_refresh_token_that_comes_after_the_wait_was_given_up_is_kept(ask, strict, file):
    reached, go_on = threading.Event(), threading.Event()
    give = strict.answers[0]

    def late(fields):
        reached.set()
        go_on.wait()
        return give(fields)

    strict.answers.insert(0, late)
    asked = ask(refresh_token_file=file)
    given_up = asyncio.ensure_future(asked.token())
    await asyncio.to_thread(reached.wait)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    go_on.set()
    assert (await asked.token()).text == "good"
    assert [fields["refresh_token"] for fields in strict.requests] == ["refresh-0", "refresh-1"]


async def test_a_file_that_cannot_be_written_does_not_stop_the_mail(ask, strict, file, monkeypatch, caplog):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("outbox.smtp.refresh_tokens.tempfile.mkstemp", refuse)
    asked = ask(refresh_token_file=file)
    for _ in range(3):
        await asked.token()
    assert [fields["refresh_token"] for fields in strict.requests] == ["refresh-0", "refresh-1", "refresh-2"]
    [warning] = caplog.messages
    assert warning.endswith(f"refresh_token_file {file} cannot be written: Read-only file system")
    assert "refresh-" not in warning
    strict.valid = "by-hand"
    file.write_text("by-hand\n")
    await asked.token()
    assert strict.requests[-1]["refresh_token"] == "by-hand"


async def test_a_refresh_token_of_the_settings_is_replaced_in_memory(ask, strict, caplog):
    asked = ask(refresh_token="refresh-0")
    for _ in range(2):
        await asked.token()
    assert [fields["refresh_token"] for fields in strict.requests] == ["refresh-0", "refresh-1"]
    [warning] = caplog.messages
    assert "use refresh_token_file" in warning
    assert "refresh-0" not in warning


async def test_a_file_behind_a_link_is_replaced_where_it_lies(ask, strict, file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    await ask(refresh_token_file=link).token()
    assert (link.is_symlink(), file.read_text(), file.stat().st_mode & 0o777) == (True, "refresh-1\n", 0o600)
