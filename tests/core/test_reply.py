"""Replies of SMTP servers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.reply import Reply
from outbox.core.text import MAX_TEXT, clean_text


@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (550, "5.1.1 no such user", "5.1.1"),
        (450, "4.2.1 busy", "4.2.1"),
        (250, "2.0.0", "2.0.0"),
        (550, "4.7.1 contradicts itself", None),
        (550, "no such user", None),
        (550, "see 5.1.1", None),
        (550, "5.1.1234 too long", None),
        (550, "", None),
    ],
)
def test_the_enhanced_code_is_believed_where_it_agrees_with_the_code(code, text, enhanced):
    assert Reply(code, text).enhanced == enhanced


@pytest.mark.parametrize(
    ("code", "positive"), [(200, True), (250, True), (252, True), (299, True), (354, False), (450, False)]
)
def test_the_first_digit_decides_what_is_positive(code, positive):
    assert Reply(code).positive is positive


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Too many messages. Try again in 92 seconds", 92),
        ("retry after 5 min", 300),
        ("greylisted for 1 hour", 3600),
        ("come back in 30s", 30),
        ("in 3 mailboxes", None),
        ("try again later", None),
        ("", None),
    ],
)
def test_the_time_a_server_asks_for_is_read(text, seconds):
    assert Reply(450, text).wait == seconds


def test_a_reply_is_shown_as_it_came():
    assert str(Reply(550, "5.1.1 no such user")) == "550 5.1.1 no such user"
    assert str(Reply(250)) == "250"


@settings(deadline=None)
@given(st.integers(0, 999), st.text(st.characters(), max_size=2000))
def test_text_from_the_network_is_one_bounded_line_that_every_database_takes(code, text):
    reply = Reply.of(code, text)
    assert len(reply.text) <= MAX_TEXT
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in reply.text)


def test_what_is_cut_off_shows():
    assert clean_text("abcdef", 4) == "abc…"
    assert clean_text("abcd", 4) == "abcd"
