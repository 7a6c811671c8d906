"""What the daemon has signed still holds when it has arrived."""

from typing import Any

import pytest

from outbox import Attachment, unsubscribe
from tests.fixtures.verifier import verify

TEXT = "Grüße\n.\n..\n.a line that begins with a dot\n\n  \t two   spaces  \n" + "long " * 300 + "\n\n\n"
DOTS = ".\n..\n.dot  \n" + "x" * 900 + "\n\n"


@pytest.fixture
def config(tmp_path, keys):
    path = tmp_path / "signing.toml"
    path.write_text(keys.toml)
    return str(path)


@pytest.fixture
def templates(tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "order.subject.txt").write_text("Bestellung {{ number }} für Ägypten", encoding="utf-8")
    (folder / "order.html").write_text("<style>p { color: red }</style>\n.\n<p>Grüße", encoding="utf-8")
    return str(folder)


async def test_each_kind_of_email_arrives_with_a_signature_that_holds(
    outbox, put, smtpd, keys, config, templates, execute
):
    kinds: list[dict[str, Any]] = [
        {"text": DOTS},
        {"subject": "Grüße aus Köln, " * 8, "text": TEXT, "html": "<p>\n.\n</p>"},
        {"subject": None, "template": "order", "context": {"number": 7}},
        {"subject": "Files", "text": ".", "attachments": [Attachment("ä.bin", bytes(range(256)) * 9)]},
        {"subject": "Large", "text": TEXT * 300},
    ]
    senders = {"Shop <shop@example.org>": "example.org", "a@news.sub.example.org": "sub.example.org"}
    for sender in senders:
        for kind in kinds:
            await put(sender=sender, **{"text": None, **kind})
    await put(sender="a@example.net")
    daemon = await outbox("--config", config, "run", "--drain", OUTBOX_TEMPLATES=templates)
    code, errors = await daemon.ended()
    assert (code, await execute("SELECT id FROM email_outbox WHERE status <> 'sent'")) == (0, []), errors
    assert len(smtpd.messages) == len(kinds) * 2 + 1
    for received in smtpd.messages:
        if received.sender == "a@example.net":
            assert received.message["DKIM-Signature"] is None
            continue
        tags = verify(received.content, keys.records)
        assert tags["d"] == {"shop@example.org": "example.org"}.get(received.sender, "sub.example.org")


@pytest.mark.smtpd(smtputf8=True)
async def test_the_form_with_raw_addresses_is_signed_as_well(outbox, put, smtpd, keys, config):
    await put(to="José <josé@example.org>", subject="Grüße", text=TEXT)
    assert (await (await outbox("--config", config, "run", "--drain")).ended())[0] == 0
    [received] = smtpd.messages
    assert "josé@example.org".encode() in received.content
    verify(received.content, keys.records)


@pytest.mark.smtpd(dot=["drop"])
async def test_a_second_copy_is_signed_the_same(outbox, put, smtpd, keys, config):
    await put(text=TEXT, headers=unsubscribe(url="https://example.org/u"))
    await outbox("--config", config, "run", OUTBOX_DOUBT_DELAY="0s", OUTBOX_RETRY_SCHEDULE="1ms")
    first, second = await smtpd.received(2)
    assert first.content == second.content
    assert "list-unsubscribe" in verify(first.content, keys.records)["h"]


async def test_a_key_that_cannot_be_read_ends_the_daemon_at_its_start(outbox, tmp_path):
    (tmp_path / "outbox.toml").write_text('[dkim."example.org"]\nselector = "s1"\nkey = "none.pem"\n')
    code, errors = await (await outbox("run")).ended()
    said = "dkim.example.org.key: 'none.pem' cannot be read: No such file or directory"
    assert (code, errors) == (2, f"outbox: {said}\n")
