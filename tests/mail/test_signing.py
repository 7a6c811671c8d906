"""Signatures hold, for a verifier that shares nothing with what signs."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.claim import AttachedFile
from outbox.core.errors import SettingsError
from outbox.core.unsubscribe import unsubscribe
from outbox.mail import signing
from outbox.mail.addressees import addressees
from outbox.mail.composer import LARGE, Composer
from outbox.mail.signing import Signer
from outbox.mail.signing_key import KeyFile, load_key, read_key_files
from outbox.settings.dkim import DkimSettings
from tests.fixtures.keys import pem_of
from tests.fixtures.verifier import UnverifiedError, relaxed_body, verify
from tests.mail.rows import SHOP, claimed, composed

LINES = st.lists(st.sampled_from([" ", "\t", "  ", "a", "é", ".", "\n", "\r\n", "\n\n", " \n", "=_", "x" * 1000]))

READ = {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "auto-submitted", "in-reply-to"} | {
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-unsubscribe",
    "list-unsubscribe-post",
}
SHORT = b"""\
-----BEGIN PRIVATE KEY-----
MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAzjMyY0G4l0Bw49ya
VGRb2MMKJ2au9n32AxJ2pxpZYlJr7iM5yFAQvd3I8PHwkzWVm1mN34H5AQBEdSRg
PLEBTQIDAQABAkBWQZZnbPuh0eQnfYXVnbHKKDScLNkt5Z0+xb96wYv4k48beNgu
46So0Eisaf5g8WTzvUKPVUVC5N0xGxlCBDBFAiEA+NGYn5KBx0vCQstbE1QV27Qn
C4FH3ycbaDJreFGRSg8CIQDUJrX9X1VTx1Eei4jss5RlQz1R3tvdu1uSr+roQ0xK
4wIgPgWA1cXfM55eveeSvC6phCpT0TpYf/dvjXmD8GnknWECIQCMV5dop5ows9fr
1u6bdyih3FtCP6U/B2RKo2lIgMyFdQIhAJSWbayN1cB0TPrOWh1jQkwtwns5IXdw
1s4rB32x9oa6
-----END PRIVATE KEY-----
"""


@pytest.fixture(scope="module")
def signer(keys):
    return Signer([keys.rsa, keys.ed25519])


def test_an_everyday_email_is_signed(signer, keys):
    plain, message = composed(), composed(signer=signer)
    tags = verify(message.content, keys.records)
    assert {name: tags[name] for name in "acdst"} == {
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "s1",
        "t": str(int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp())),
    }
    assert "l" not in tags
    assert message.content.endswith(plain.content)
    assert message.recipients == plain.recipients


def test_every_attempt_signs_the_same(signer):
    assert composed(signer=signer) == composed(signer=signer)


def test_all_that_a_reader_sees_of_the_header_is_signed(signer, keys):
    headers = unsubscribe(url="https://example.org/u?who=5f2a") | {"X-Note": "x", "In-Reply-To": "<1@example.org>"}
    message = composed(signer=signer, cc_addrs="b@example.org", reply_to="c@example.org", headers=json.dumps(headers))
    fields = verify(message.content, keys.records)["h"].split(":")
    assert (fields.count("from"), len(fields)) == (2, len(READ) + 1)
    assert set(fields) == READ


def test_no_row_can_have_any_number_of_names_signed(signer, keys):
    headers = {f"List-{number}": "x" for number in range(500)} | {"List-Id": "<news.example.org>"}
    tags = verify(composed(signer=signer, headers=json.dumps(headers)).content, keys.records)
    assert [name for name in tags["h"].split(":") if name.startswith("list-")] == ["list-id"]


@pytest.mark.parametrize("place", [b"Date:", b"Message-ID:", b"MIME-Version:"])
def test_a_second_sender_anywhere_breaks_the_signature(signer, keys, place):
    forged = composed(signer=signer).content.replace(b"\r\n" + place, b"\r\nFrom: x@example.net\r\n" + place)
    with pytest.raises(UnverifiedError):
        verify(forged, keys.records)


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("a@example.org", "example.org"),
        ("a@EXAMPLE.org", "example.org"),
        ("a@deep.news.example.org", "example.org"),
        ("a@sub.example.org", "sub.example.org"),
        ("a@deep.sub.example.org", "sub.example.org"),
    ],
)
def test_the_nearest_domain_that_has_a_key_signs(signer, keys, sender, domain):
    assert verify(composed(signer=signer, sender=sender).content, keys.records)["d"] == domain


@pytest.mark.parametrize("sender", ["a@example.net", "a@notexample.org", "a@org"])
def test_no_other_domain_is_signed_for(signer, sender):
    assert composed(signer=signer, sender=sender) == composed(sender=sender)


def test_both_forms_of_a_message_are_signed(signer, keys):
    message = composed(signer=signer, to_addrs="José <josé@example.org>", subject="Grüße")
    for content in (message.content, message.utf8_content):
        assert content is not None
        verify(content, keys.records)
    assert "josé@example.org".encode() in (message.utf8_content or b"")


@pytest.mark.parametrize("sender", ["a@example.org", "a@sub.example.org"])
@given(subject=LINES, text=LINES, html=st.none() | LINES.map("".join))
def test_whatever_the_email_its_signature_holds(signer, keys, sender, subject, text, html):
    columns = {
        "subject": " ".join("".join(subject).split()) or None,
        "body_text": "x" + "".join(text),
        "body_html": html,
    }
    files = [AttachedFile("a.bin", bytes(range(256)), "application/octet-stream")] if html else []
    verify(composed(files, signer=signer, sender=sender, **columns).content, keys.records)


@given(lines=LINES, block=st.integers(1, 9), size=st.integers(1, 9))
def test_a_body_hashed_in_blocks_has_the_hash_of_the_whole(lines, block, size):
    body = "".join(lines).replace("\r\n", "\n").replace("\n", "\r\n").encode()
    body = body + b"\r\n" if body and not body.endswith(b"\r\n") else body
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "BLOCK", block)
        assert signing._body_hash(pieces) == sha256(relaxed_body(body)).digest()


async def test_what_a_child_composes_is_signed(tmp_path, keys):
    (tmp_path / "hi.txt").write_text("Hello {{ name }}\n.\n", encoding="utf-8")
    composer = Composer(SHOP, tmp_path, keys=[keys.rsa])
    try:
        for columns in (
            {"template": "hi", "context": '{"name": "Ada"}', "body_text": None},
            {"body_text": "x " * LARGE},
            {"body_html": "<p>Hello", "body_text": None},
            {"template": "hi", "context": '{"name": "é"}', "body_text": None, "to_addrs": "é@example.org"},
        ):
            row = claimed(**columns)
            message = await composer.compose(row, addressees(row), (), ())
            verify(message.content, keys.records)
            if message.utf8_content:
                verify(message.utf8_content, keys.records)
    finally:
        await composer.close()


def key_of(path, domain="example.org"):
    return read_key_files({domain: DkimSettings(selector="s1", key=path)})


def test_a_key_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"^dkim\.example\.org\.key: '.*none\.pem' cannot be read: No such file"):
        key_of(tmp_path / "none.pem")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        key_of(tmp_path)
    with pytest.raises(SettingsError, match="cannot be read: embedded null byte"):
        key_of(tmp_path / "a\0b")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: b"", "is not a private key in PEM form; make one"),
        (lambda: b"-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n", "is not a private key in PEM"),
        (lambda: SHORT, "has 512 bits, and nobody accepts less than 1024; make one"),
        (lambda: pem_of(ec.generate_private_key(ec.SECP256R1())), "is neither an RSA key nor an Ed25519 one"),
        (
            lambda: pem_of(rsa.generate_private_key(65537, 2048), encryption=BestAvailableEncryption(b"x")),
            "has a passphrase",
        ),
    ],
)
def test_what_is_no_such_key_is_one_line_that_does_not_quote_it(tmp_path, make, said):
    path = tmp_path / "key.pem"
    path.write_bytes(make())
    with pytest.raises(SettingsError) as caught:
        key_of(path)
    assert f"dkim.example.org.key: '{path}' {said}" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_short_key_is_weak():
    key = load_key(KeyFile("example.org", "s1", pem_of(rsa.generate_private_key(65537, 1024))))
    assert (key.weak, key.kind) == (True, "RSA 1024")


def test_where_no_key_is_configured_no_library_is_loaded():
    code = "import outbox.daemon, outbox.mail.child_main, sys; print({'dkim', 'cryptography'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert loaded.stdout.strip() == "set()"
