"""The daemon with the settings that a provider needs: access tokens, and a preset."""

from collections import Counter

import pytest

SECRETS = ("hunter2", "refresh-0", "refresh-1", "the-token")


@pytest.mark.smtpd(tls="starttls", token="the-token", mechanisms=("XOAUTH2",))
async def test_several_processes_log_in_by_token_and_share_the_refresh_token(
    outbox, fill, smtpd, issuer, ca_file, execute, tmp_path
):
    issuer.tokens = ["stale", "the-token"]
    issuer.refresh_token = "refresh-1"
    (tmp_path / "client_secret").write_text("hunter2\n")
    (tmp_path / "refresh_token").write_text("refresh-0\n")
    (tmp_path / "outbox.toml").write_text(
        f"""
        [transports.default]
        url = "smtp+starttls://shop%40example.org@127.0.0.1:{smtpd.port}"
        ca_file = "{ca_file}"
        [transports.default.oauth]
        token_url = "{issuer.url}"
        client_id = "shop"
        client_secret_file = "client_secret"
        refresh_token_file = "refresh_token"
        ca_file = "{ca_file}"
        """
    )
    await fill(20)
    daemon = await outbox("run", "--log-level", "debug", "--drain", "--processes", "2", OUTBOX_SMTP_URL="")
    code, errors = await daemon.ended()
    assert (code, "Traceback" in errors) == (0, False), errors
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}
    assert max(Counter(m.recipients[0] for m in smtpd.messages).values()) == 1
    assert {user for user, _ in smtpd.logins} == {"shop@example.org"}
    assert Counter(token for _, token in smtpd.logins)["stale"] >= 1, "it was refused, and changed for another"
    assert issuer.requests[0]["refresh_token"] == "refresh-0"
    assert (tmp_path / "refresh_token").read_text() == "refresh-1\n"
    assert not [secret for secret in SECRETS if secret in errors]


async def test_a_preset_bounds_what_goes_over_a_connection(outbox, fill, smtpd, execute):
    await fill(9)
    daemon = await outbox("run", "--drain", OUTBOX_PRESET="mailgun", OUTBOX_MAX_CONNECTIONS="1")
    assert (await daemon.ended())[0] == 0
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}
    assert smtpd.connections == 3
