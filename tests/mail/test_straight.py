"""The straight path makes the very bytes that the general one makes, or leaves the row to it."""

from datetime import UTC, datetime, timedelta, timezone
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outbox.core.address import AddressList, Mailbox, parse_list, simple_mailbox
from outbox.core.errors import ContentError
from outbox.core.message import Message
from outbox.mail import compose as general
from outbox.mail.addressees import Addressees, addressees
from outbox.mail.content import Content
from outbox.mail.straight import straight
from tests.mail.rows import MESSAGE_ID, SHOP, claimed, composed

EDGES = [
    "=?",
    "=?utf-8?q?a?=",
    " ",
    "  ",
    "\t",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\x7f",
    "\ud800",
    "é",
    "日",
    ",",
    '"',
    ".",
    "(",
    ";",
]
PIECES = st.sampled_from([*EDGES, "Ada", "order no. 7", "=_", "<b>", "-", "'"]) | st.text(max_size=3)
NASTY = st.lists(PIECES, max_size=6).map("".join)


def of_length(least: int, most: int) -> st.SearchStrategy[str]:
    """Words of so many characters in all."""
    return st.integers(least, most).map(lambda length: ("word " * length)[: length - 1] + "x")


def with_something(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return text | st.builds("{}{}".format, text, PIECES) | st.builds("{}{}".format, PIECES, text)


LINE = with_something(of_length(1, 12) | of_length(60, 80)) | NASTY
NAME = with_something(of_length(1, 12) | of_length(52, 66)) | NASTY
DOMAIN = st.sampled_from(
    ["b.example", "B.example", "sub-domain.b.example", "b--c.example", "bücher.example", "localhost", "x"]
)
ADDRESS = st.builds("{}@{}".format, st.sampled_from(["a", "a.b+c_d", "é", '"a b"', "a..b", "x" * 64, "x" * 65]), DOMAIN)
ADDRESS_LIKE = ADDRESS | st.builds("a@{}.cc".format, st.integers(1, 64).map("b".__mul__))
ENTRY = st.builds("{} <{}>".format, NAME, ADDRESS_LIKE) | with_something(ADDRESS_LIKE) | NASTY
LONG_LINE = st.integers(994, 1002).map("x".__mul__)
BODY = st.lists(LINE | LONG_LINE | st.sampled_from(["\n", "\r\n", "\r", "\n.\n", "=_"]), max_size=6).map("".join)
BODIES = st.none() | BODY
RARE = st.sampled_from([None, None, None, None, "", " ", "c@d.example"])
IDS = [
    MESSAGE_ID,
    "<20269999T999999.0a.1@x.example>",
    "<theirs@x.example>",
    "<20260102T030405.0a.1@é>",
    "<a b@c>",
    "x",
    b"<20260102T030405.0a.7@x.example>",
]
HEADERS = [None, None, "{}", "", "null", '{"X-Note": "x"}', '{"Auto-Submitted": "no"}', "["]
MESSAGE_IDS = st.sampled_from([MESSAGE_ID] * 5 + IDS) | st.builds("<20260102T030405.0a.7@{}>".format, NASTY)
MOMENTS = st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))])


def outcome(**columns: object) -> Message | str:
    try:
        return composed(**columns)
    except ContentError as error:
        return str(error)


@settings(max_examples=1000, deadline=None)
@given(
    columns=st.fixed_dictionaries(
        {"subject": st.none() | LINE, "to_addrs": ENTRY, "body_text": BODIES, "body_html": BODIES},
        optional={
            "sender": ENTRY,
            "cc_addrs": RARE,
            "bcc_addrs": RARE,
            "reply_to": RARE,
            "headers": st.sampled_from(HEADERS),
            "message_id": MESSAGE_IDS,
            "created_at": MOMENTS,
        },
    )
)
@example({"subject": "x" * 67, "to_addrs": "a@b.example", "body_text": "Hello", "body_html": "<p>Hello"})
@example({"subject": "x" * 68, "to_addrs": "a@b.example", "body_text": "Hello", "body_html": "<p>Hello"})
@example({"subject": "Hi", "to_addrs": f"{'x' * 61} <a@b.cc>", "body_text": "Hello", "body_html": None})
@example({"subject": "Hi", "to_addrs": "A.B <a@b.example>", "body_text": "Hello", "body_html": "\0"})
@example(
    {"subject": "Hi", "to_addrs": "Ada <a@b.example>", "body_text": "x" * 998 + "\n" + "x" * 999, "body_html": None}
)
@example(
    {"subject": "=?utf-8?q?a?=", "to_addrs": "=?utf-8?q?a?= <a@b.example>", "body_text": "é", "body_html": "日" * 99}
)
def test_both_paths_make_the_same_of_every_row(columns):
    with patch.object(general, "straight", return_value=None):
        expected = outcome(**columns)
    assert outcome(**columns) == expected


def taken(**columns: object) -> bool:
    row = claimed(**columns)
    content = Content(row.subject, row.body_text, row.body_html)
    return straight(row, addressees(row), SHOP, content) is not None


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {
            "to_addrs": "Ada King <ada@example.org>",
            "subject": "Your order no. 12345, and more",
            "body_html": "<p>Hello",
        },
        {"body_text": "Grüße\n", "body_html": "<p>日本"},
        {"body_text": "x" * 2000},
    ],
)
def test_everyday_rows_take_the_straight_path(columns):
    assert taken(**columns)


@pytest.mark.parametrize(
    "columns",
    [
        {"subject": "Grüße"},
        {"subject": "x" * 68},
        {"subject": None},
        {"to_addrs": "a@b.example, c@d.example"},
        {"to_addrs": '"King, Ada" <ada@example.org>'},
        {"to_addrs": "é@example.org"},
        {"cc_addrs": "a@b.example"},
        {"reply_to": "a@b.example"},
        {"headers": '{"X-Note": "x"}'},
        {"body_text": None, "body_html": "<p>Hello"},
        {"message_id": "<theirs@example.org>"},
    ],
)
def test_everything_else_is_left_to_the_general_path(columns):
    assert not taken(**columns)


@settings(max_examples=500, deadline=None)
@given(ENTRY)
@example("Ada King <ada@example.org>")
@example("a@" + "b" * 63 + ".cc")
@example("x" * 65 + "@b.example")
def test_a_simple_address_is_read_as_any_other(text):
    mailbox = simple_mailbox(text)
    assert mailbox is None or parse_list(text) == AddressList((mailbox,))


def test_simple_addresses_are_read_at_once():
    ada = Mailbox("Ada King", "ada", "example.org")
    assert simple_mailbox("Ada King <ada@example.org>") == ada
    assert addressees(claimed(to_addrs="Ada King <ada@example.org>")) == Addressees(
        (ada,), (), (), ("ada@example.org",)
    )
