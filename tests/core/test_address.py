"""Addresses as applications write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.address import Mailbox, parse_list, parse_mailbox
from outbox.core.errors import AddressError

LOCAL = st.from_regex(r"[A-Za-z0-9_+-]{1,20}(\.[A-Za-z0-9_+-]{1,10})?", fullmatch=True)
DOMAIN = st.from_regex(r"([a-z0-9]{1,20}\.){1,3}(org|com|example)", fullmatch=True)
NAME = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=40).map(
    lambda name: " ".join(name.split())
)


def written(mailbox: Mailbox) -> str:
    name = mailbox.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{mailbox.address}>'


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("ada@example.org", Mailbox("", "ada", "example.org")),
        (" <ada@example.org> ", Mailbox("", "ada", "example.org")),
        ("Ada <ada@example.org>", Mailbox("Ada", "ada", "example.org")),
        ("Ada  King <ada@EXAMPLE.org>", Mailbox("Ada King", "ada", "example.org")),
        ('"King, Ada" <ada@example.org>', Mailbox("King, Ada", "ada", "example.org")),
        ('"A \\"the first\\"" <ada@example.org>', Mailbox('A "the first"', "ada", "example.org")),
        ("ada@example.org (Ada, of London)", Mailbox("", "ada", "example.org")),
        ("Zoë <zoe@bücher.example>", Mailbox("Zoë", "zoe", "xn--bcher-kva.example")),
        ("josé@example.org", Mailbox("", "josé", "example.org")),
        ('"a b"@example.org', Mailbox("", '"a b"', "example.org")),
        ("root@localhost", Mailbox("", "root", "localhost")),
        ("root@[127.0.0.1]", Mailbox("", "root", "[127.0.0.1]")),
        ("ADA@example.org", Mailbox("", "ADA", "example.org")),
    ],
)
def test_an_address_is_read(text, mailbox):
    assert parse_mailbox(text) == mailbox


NO_ADDRESSES = ["", "ada", "ada@", "@example.org", "a b@example.org", "ada@exa mple.org", "a..b@example.org"]
NO_DOMAINS = ["ada@-x.org", f"ada@{'x' * 64}.org", "ada@example..org", "ada@xn--a.example", f"a@{'x.' * 130}org"]
NOT_ONE = ["<ada@example.org> x", "<a@x.org> <b@x.org>", "a@x.org, b@x.org"]


@pytest.mark.parametrize("text", [*NO_ADDRESSES, *NO_DOMAINS, *NOT_ONE])
def test_what_is_no_single_address_is_an_error_that_shows_it(text):
    with pytest.raises(AddressError, match="address"):
        parse_mailbox(text)


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x7f", "\x85", "\u2028", "\ud800"])
def test_a_control_character_spoils_the_whole_list(character):
    with pytest.raises(AddressError, match="control character"):
        parse_list(f"ada@example.org, bob@example.org{character}")


def test_a_list_keeps_its_order_and_reports_its_bad_entries():
    found = parse_list('a@x.org, nonsense, "B, b" <b@x.org>,, c@x.org')
    assert [mailbox.address for mailbox in found.mailboxes] == ["a@x.org", "b@x.org", "c@x.org"]
    ((entry, error),) = found.bad
    assert entry == "nonsense"
    assert error.startswith("'nonsense' is not an address")


@pytest.mark.parametrize(("address", "utf8"), [("josé@example.org", True), ("jose@bücher.example", False)])
def test_only_a_non_ascii_local_part_needs_smtputf8(address, utf8):
    assert parse_mailbox(address).utf8 is utf8


@settings(deadline=None)
@given(st.lists(st.builds(Mailbox, NAME, LOCAL, DOMAIN), max_size=5))
def test_any_list_is_read_back_as_it_was_written(mailboxes):
    assert parse_list(", ".join(map(written, mailboxes))).mailboxes == tuple(mailboxes)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused_and_never_yields_an_address_that_could_end_a_command(text):
    try:
        found = parse_list(text)
    except AddressError:
        found = parse_list("")
    for mailbox in found.mailboxes:
        assert not set(mailbox.address) & set("\r\n\0<>")
        assert mailbox.domain.isascii()
