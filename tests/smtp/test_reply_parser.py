"""Replies are read alike however their bytes arrive, and nothing hostile is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.reply import Reply
from outbox.smtp.reply_parser import MAX_LINE, MAX_REPLY, MalformedReplyError, ReplyParser


def test_a_reply_over_several_lines_is_one_reply_with_its_enhanced_code_once():
    wire = b"550-5.1.1 The account does not exist.\r\n550-5.1.1 Check for typos.\r\n550 5.1.1 bye\r\n"
    assert ReplyParser().feed(wire) == [Reply(550, "5.1.1 The account does not exist. Check for typos. bye")]


def test_a_line_feed_alone_ends_a_line():
    assert ReplyParser().feed(b"250-a\n250 b\n") == [Reply(250, "a b")]


def test_a_code_without_text_is_a_reply():
    assert ReplyParser().feed(b"250\r\n354 \r\n") == [Reply(250, ""), Reply(354, "")]


def test_bytes_that_are_not_utf_8_do_not_make_a_reply_unreadable():
    assert ReplyParser().feed(b"250 caf\xe9\r\n") == [Reply(250, "caf\ufffd")]


@pytest.mark.parametrize(
    "wire",
    [
        b"hello\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"25 short\r\n",
        b"2500 long\r\n",
        b"650 no such class\r\n",
        b"\r\n",
        b"250-ok\r\n550 not ok\r\n",
        b"250_ok\r\n",
    ],
)
def test_what_is_not_a_reply_is_malformed(wire):
    with pytest.raises(MalformedReplyError):
        ReplyParser().feed(wire)


def test_a_reply_that_was_complete_before_the_nonsense_is_one():
    with pytest.raises(MalformedReplyError) as caught:
        ReplyParser().feed(b"250 queued\r\nnonsense\r\n")
    assert caught.value.before == [Reply(250, "queued")]


def test_a_line_without_end_is_malformed():
    with pytest.raises(MalformedReplyError):
        ReplyParser().feed(b"250 " + b"x" * MAX_LINE)


def test_lines_without_end_are_malformed():
    with pytest.raises(MalformedReplyError):
        ReplyParser().feed(b"250-x\r\n" * (MAX_REPLY // 7 + 1))


@given(
    st.lists(st.lists(st.text("abc -.1", max_size=9), min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), max_size=40),
)
def test_the_cuts_between_segments_do_not_matter(texts, cuts):
    wire = b""
    for lines in texts:
        wire += b"".join(f"250-{line}\r\n".encode() for line in lines[:-1]) + f"250 {lines[-1]}\r\n".encode()
    parser, found, rest = ReplyParser(), [], wire
    for cut in [*cuts, len(wire)]:
        found += parser.feed(rest[:cut])
        rest = rest[cut:]
    assert found == ReplyParser().feed(wire)
    assert len(found) == len(texts)
    assert not parser.midway
