"""What goes to somebody else says whom it was for, and nobody else is in its header."""

from outbox.core.address import parse_mailbox
from outbox.mail.addressees import addressees
from outbox.mail.composer import LARGE, Composer
from outbox.mail.redirect import SHOWN
from outbox.mail.signing import Signer
from tests.fixtures.verifier import verify
from tests.mail.rows import SHOP, claimed, composed, raw_lines, read

TEAM = parse_mailbox("Team <team@example.org>")


def test_the_target_alone_is_shown_and_the_others_are_named():
    to = "Ada <ada@example.org>, b@example.org"
    message = composed(redirect_to=TEAM, to_addrs=to, cc_addrs="c@example.org", bcc_addrs="d@e.example")
    header = read(message.content)
    assert (header["To"], header["Cc"], header["Bcc"]) == ("Team <team@example.org>", None, None)
    assert header["X-Original-To"] == "ada@example.org, b@example.org"
    assert (header["X-Original-Cc"], header["X-Original-Bcc"]) == ("c@example.org", "d@e.example")


def test_an_everyday_email_has_one_such_field():
    header = read(composed(redirect_to=TEAM).content)
    assert [name for name in header if name.startswith("X-Original")] == ["X-Original-To"]


def test_long_lists_are_folded_and_cut():
    people = ", ".join(f"{'x' * 40}{number}@{'sub.' * 20}example.org" for number in range(3000))
    message = composed(redirect_to=TEAM, to_addrs=people)
    assert max(map(len, raw_lines(message))) < 998
    shown = read(message.content)["X-Original-To"]
    assert shown.count("@") == SHOWN
    assert shown.endswith(f"example.org, and {3000 - SHOWN} more")
    assert len(message.content) < 20_000


def test_an_original_address_needs_no_special_server():
    message = composed(redirect_to=TEAM, to_addrs="José <josé@example.org>, ada@example.org")
    assert message.utf8_content is None
    assert read(message.content)["X-Original-To"] == "josé@example.org, ada@example.org"


def test_a_target_may_need_one():
    message = composed(redirect_to=parse_mailbox("josé@example.org"))
    assert "To: josé@example.org\r\n".encode() in (message.utf8_content or b"")


def test_it_is_signed_as_well(keys):
    verify(composed(redirect_to=TEAM, signer=Signer([keys.rsa])).content, keys.records)


async def test_a_child_redirects_too_and_the_envelope_has_the_target_alone(tmp_path):
    (tmp_path / "hi.txt").write_text("Hello")
    (tmp_path / "hi.subject.txt").write_text("Hi")
    composer = Composer(SHOP, tmp_path, redirect_to=TEAM)
    try:
        for columns in ({}, {"template": "hi", "body_text": None}, {"body_text": "x " * LARGE}):
            row = claimed(bcc_addrs="d@e.example", **columns)
            message = await composer.compose(row, addressees(row), (), ())
            assert message.recipients == ("team@example.org",)
            assert read(message.content)["X-Original-Bcc"] == "d@e.example"
            nobody = await composer.compose(row, addressees(row), (), ["ada@example.org", "d@e.example"])
            assert nobody.recipients == ()
    finally:
        await composer.close()
