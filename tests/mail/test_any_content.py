"""Whatever stands in a row, it either becomes a sound message that says exactly that, or a ContentError."""

import json
import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from tests.mail.rows import composed, read, text_of

BREAKS = ["\r\n", "\n", "\r", "\0", "\r\nBcc: x@y.example", "\u2028", "\x85", "\ud800", "\t", "\r\n.\r\n", "=\r\n"]
SYNTAX = [*"<>,;:\"'()[]%*/.\\", "=?utf-8?q?a?=", "=?", "?=", "..", "a@b.example", "From ", "--=_", "=_"]
LETTERS = [" ", "  ", "é", "日本", "😀", "\u0301", "\u202e", "x" * 80, "y" * 1000]
NASTY = st.sampled_from([*BREAKS, *SYNTAX, *LETTERS])
ANY_TEXT = st.one_of(st.text(max_size=40), st.lists(NASTY | st.text(max_size=8), max_size=12).map("".join))
ONE_LINE = ANY_TEXT.map(lambda text: re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", " ", text).strip())
STORABLE = ANY_TEXT.map(lambda text: re.sub(r"[\0\ud800-\udfff]", "", text))

EXPECTED_NAMES = {"Date", "Message-ID", "From", "Reply-To", "To", "Cc", "Subject", "Auto-Submitted", "MIME-Version"}
BODY_NAMES = {"Content-Type", "Content-Transfer-Encoding"}


def same_lines(text: str) -> str:
    """Line ends made equal, the one at the end not counted."""
    return re.sub(r"\r\n|\r", "\n", text).removesuffix("\n")


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def assert_sound(content: bytes) -> None:
    """RFC 5322 in its strictest reading."""
    assert content.isascii()
    assert content.endswith(b"\r\n")
    assert b"\0" not in content
    lines = content.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    header = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(line.strip() for line in header)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.fixed_dictionaries(
        {},
        optional={
            "sender": ANY_TEXT,
            "to_addrs": ANY_TEXT.map(lambda text: f"a@example.org, {text}") | ANY_TEXT,
            "cc_addrs": ANY_TEXT,
            "bcc_addrs": ANY_TEXT,
            "reply_to": ANY_TEXT.map(lambda text: f"{text} <r@example.org>"),
            "subject": ANY_TEXT,
            "body_text": ANY_TEXT,
            "body_html": ANY_TEXT,
            "template": ANY_TEXT,
            "context": ANY_TEXT,
            "locale": ANY_TEXT,
            "message_id": ANY_TEXT,
            "headers": ANY_TEXT | st.dictionaries(st.text(max_size=8), ANY_TEXT, max_size=2).map(json.dumps),
        },
    ),
    files=st.lists(
        st.builds(
            AttachedFile,
            ANY_TEXT,
            st.binary(max_size=200),
            st.none() | ANY_TEXT | ANY_TEXT.map(lambda text: f"text/{text}"),
            st.none() | ANY_TEXT,
        ),
        max_size=2,
    ),
)
def test_any_row_is_refused_or_makes_a_sound_message_without_injected_headers(columns, files):
    extra = columns.get("headers")
    message, fault = None, ""
    try:
        message = composed(files, **columns)
    except ContentError as error:
        fault = str(error)
    if message is None:
        assert len(fault.splitlines()) == 1
        return
    assert_sound(message.content)
    allowed = EXPECTED_NAMES | BODY_NAMES | (set(json.loads(extra) or ()) if extra else set())
    names = read(message.content).keys()
    assert set(names) <= allowed
    assert all(names.count(name) == 1 for name in EXPECTED_NAMES & set(names))


@settings(max_examples=200, deadline=None)
@given(ONE_LINE)
@example("=?utf-8?q?a?=")
@example("two  spaces")
@example("x" * 3000)
def test_any_subject_is_read_back_as_it_was(subject):
    message = composed(subject=subject)
    assert_sound(message.content)
    assert read(message.content).get("Subject", "") == subject


@settings(max_examples=200, deadline=None)
@given(ONE_LINE, st.sampled_from(["to_addrs", "cc_addrs", "reply_to", "sender"]))
@example("Ada, Countess", "to_addrs")
@example('Ada "the first"', "sender")
@example("=?utf-8?q?boss=40example.org?=", "to_addrs")
@example("Ädà <boss@example.org>,", "cc_addrs")
def test_any_display_name_is_read_back_as_it_was_and_changes_no_address(name, column):
    header = {"to_addrs": "To", "cc_addrs": "Cc", "reply_to": "Reply-To", "sender": "From"}[column]
    message = composed(**{column: f"{quoted(name)} <ada@example.org>"})
    assert_sound(message.content)
    value = read(message.content)[header]
    assert [address.addr_spec for address in value.addresses] == ["ada@example.org"]
    # The name by the older parser: the newer one leaves the spaces between encoded words (RFC 2047 §6.2) in 3.11.
    shown, _ = parseaddr(message_from_bytes(message.content)[header])
    assert str(make_header(decode_header(shown))) == " ".join(name.split())


@settings(max_examples=200, deadline=None)
@given(STORABLE, STORABLE)
@example("é" * 500, "x" * 2000)
@example(".\n..\nFrom me\n", "trailing  \n\t\n")
def test_any_bodies_are_read_back_as_they_were(text, html):
    message = composed(body_text=f"t{text}", body_html=f"h{html}")
    assert_sound(message.content)
    first, second = read(message.content).iter_parts()
    assert same_lines(text_of(first)) == same_lines(f"t{text}")
    assert same_lines(text_of(second)) == same_lines(f"h{html}")


@settings(max_examples=200, deadline=None)
@given(ONE_LINE.filter(lambda name: not re.search(r"[/\\]|^\.*$", name) and len(name) <= 255), st.binary())
@example("Rechnung für Köln, März.pdf", b"%PDF")
@example("日" * 200 + ".pdf", b"")
@example("  100%.txt", b"")
def test_any_file_is_read_back_with_its_name_and_bytes(name, content):
    message = composed([AttachedFile(name, content, "application/x-any")])
    assert_sound(message.content)
    (file,) = read(message.content).iter_attachments()
    assert (file["Content-Disposition"].params["filename"], file.get_content()) == (name.strip(), content)


@settings(max_examples=200, deadline=None)
@given(ONE_LINE)
@example("https://example.org/?a=?utf-8?b?eA==?=")
def test_any_extra_header_is_read_back_as_it_was(value):
    message = composed(headers=json.dumps({"X-Note": value}))
    assert_sound(message.content)
    assert read(message.content)["X-Note"] == value


@pytest.mark.parametrize("column", ["sender", "reply_to", "to_addrs", "cc_addrs", "bcc_addrs", "subject", "message_id"])
@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r", "\u2028", "\x85", "\0"])
def test_a_line_break_in_a_header_column_is_refused(column, ending):
    good = "<a@b.example>" if column == "message_id" else "a@b.example"
    with pytest.raises(ContentError, match=column):
        composed(**{column: f"{good}{ending}Bcc: c@d.example"})
