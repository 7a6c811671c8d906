"""The SMTP server that all sides are measured with."""

import asyncio

import pytest

from benchmarks.sink import EHLO, Board, Session

ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
GO_ON = b"250 ok\r\n250 ok\r\n354 go on\r\n"


class Line(asyncio.Transport):
    """What the sink writes, one entry for each write."""

    def __init__(self):
        super().__init__()
        self.writes = []
        self.written = asyncio.Event()

    def write(self, data):
        self.writes.append(bytes(data))
        self.written.set()

    def is_closing(self):
        return False


@pytest.fixture
def board():
    return Board()


@pytest.fixture
async def line():
    return Line()


@pytest.fixture
async def session(board, line):
    """A session that was greeted and has said EHLO."""
    session = Session(board)
    session.connection_made(line)
    session.data_received(b"EHLO client\r\n")
    assert line.writes == [b"220 sink.test\r\n", EHLO]
    line.writes.clear()
    line.written.clear()
    return session


async def test_a_group_of_commands_is_answered_in_one_write(session, line, board):
    session.data_received(ENVELOPE)
    session.data_received(b"Subject: Hi\r\n\r\nHello\r\n.\r\n" + ENVELOPE)
    assert line.writes == [GO_ON, b"250 taken\r\n" + GO_ON]
    assert board.report(what=True)["count"] == 1


async def test_a_message_ends_at_the_dot_however_the_bytes_arrive(session, line, board):
    for byte in ENVELOPE + b"Hello\r\n..\r\n.not yet\r\n.\r\nQUIT\r\n":
        session.data_received(bytes([byte]))
    assert b"".join(line.writes) == GO_ON + b"250 taken\r\n221 bye\r\n"
    assert board.report(what=True)["count"] == 1


async def test_a_message_may_be_empty(session, line):
    session.data_received(ENVELOPE + b".\r\n")
    assert line.writes == [GO_ON + b"250 taken\r\n"]


async def test_the_times_are_told_where_they_are_asked_for(session, board):
    session.data_received(ENVELOPE + b".\r\n" + ENVELOPE + b".\r\n")
    report = board.obey({"report": "times"})
    assert report["times"] == [report["first"], report["last"]]
    assert board.obey({"begin": {"dot_delay": 0.5}}) == {"begun": True}
    assert board.obey({"report": True})["count"] == 0


async def test_nothing_is_answered_before_a_dot_that_waits(session, line, board):
    board.dot_delay = 0.001
    session.data_received(ENVELOPE + b"Hello\r\n.\r\n" + ENVELOPE)
    session.data_received(b"Hello again\r\n.\r\n")
    assert line.writes == [GO_ON]
    line.written.clear()
    await line.written.wait()
    assert line.writes[1] == b"250 taken\r\n"
    while board.report(what=True)["count"] < 2:
        line.written.clear()
        await line.written.wait()
    assert b"".join(line.writes) == (GO_ON + b"250 taken\r\n") * 2


async def test_what_comes_over_a_distance_is_looked_at_later_and_in_order(session, line, board):
    board.round_trip = 0.001
    for part in (ENVELOPE, b"Hello\r\n", b".\r\n"):
        session.data_received(part)
    assert line.writes == []
    while board.report(what=True)["count"] < 1:
        line.written.clear()
        await line.written.wait()
    assert b"".join(line.writes) == GO_ON + b"250 taken\r\n"
