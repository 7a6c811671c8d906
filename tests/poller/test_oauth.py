"""Logging in by access token, through the real daemon: the token comes from a real issuer, by HTTPS."""

import asyncio

import pytest

from outbox.daemon import Poller
from outbox.settings import Settings
from outbox.smtp.transport import Transport
from tests.fixtures.issuer import answer

SECRETS = ("hunter2", "old-refresh", "new-refresh", "good", "stale")

pytestmark = pytest.mark.smtpd(tls="starttls", token="good", mechanisms=("XOAUTH2",))


@pytest.fixture
def configured(database, smtpd, issuer, ca_file):
    def make(**oauth):
        url = f"smtp+starttls://shop%40example.org@127.0.0.1:{smtpd.url.rpartition(':')[2]}"
        oauth = {"token_url": issuer.url, "client_id": "shop", "ca_file": ca_file, **oauth}
        default = {"url": url, "ca_file": ca_file, "oauth": oauth, "max_connections": 3}
        basics = {"database_url": database, "sender": "shop@example.org", "poll_interval": "200ms"}
        return Settings(transports={"default": default}, **basics)

    return make


async def test_client_credentials_are_changed_for_a_token_that_all_connections_share(
    insert, row, configured, smtpd, issuer
):
    ids = [await insert() for _ in range(5)]
    async with Poller(configured(client_secret="hunter2", scope="mail"), drain=True) as poller:
        await poller.finished()
    assert {(await row(id)).status for id in ids} == {"sent"}
    assert issuer.requests == [
        {"grant_type": "client_credentials", "client_id": "shop", "client_secret": "hunter2", "scope": "mail"}
    ]
    assert set(smtpd.logins) == {("shop@example.org", "good")}


async def test_a_new_refresh_token_replaces_the_one_in_the_file(insert, row, configured, issuer, tmp_path):
    file = tmp_path / "refresh"
    file.write_text("old-refresh\n")
    issuer.refresh_token = "new-refresh"
    id = await insert()
    async with Poller(configured(refresh_token_file=file), drain=True) as poller:
        await poller.finished()
    assert (await row(id)).status == "sent"
    assert issuer.requests[0]["refresh_token"] == "old-refresh"
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new-refresh\n", 0o600)
    assert [path.name for path in tmp_path.iterdir() if "refresh" in path.name] == ["refresh"]


async def test_a_token_that_the_server_refuses_is_changed_for_another_once(insert, row, configured, smtpd, issuer):
    issuer.tokens = ["stale", "good"]
    id = await insert()
    settings = configured(client_secret="hunter2")
    async with Poller(settings, drain=True) as poller:
        await poller.finished()
    assert ((await row(id)).status, (await row(id)).attempts) == ("sent", 1)
    assert [token for _, token in smtpd.logins] == ["stale", "good"]


@pytest.mark.parametrize(
    "case",
    [
        (400, {"error": "invalid_grant", "error_description": "hunter2 AADSTS7000215: no"}, "configuration: "),
        (503, {"error": "temporarily_unavailable"}, ""),
    ],
)
async def test_where_there_is_no_token_the_transport_rests_and_no_secret_is_told(
    insert, row, execute, configured, issuer, caplog, case
):
    status, fields, reason = case
    issuer.answers = [answer(status, **fields)] * 50
    paused = asyncio.Event()
    id = await insert()
    async with Poller(configured(client_secret="hunter2")) as poller:
        transport = poller._transports["default"]
        told = transport.on_change

        def note(one: Transport) -> None:
            assert told
            told(one)
            paused.set()

        transport.on_change = note
        await paused.wait()
        await poller._pauses.close()
    [state] = await execute("SELECT reason FROM email_transport")
    assert state.reason.startswith(reason)
    assert fields["error"] in state.reason
    assert ((await row(id)).status, (await row(id)).attempts) == ("pending", 0)
    shown = caplog.text + state.reason + str((await row(id)).last_error)
    assert not any(secret in shown for secret in SECRETS)
