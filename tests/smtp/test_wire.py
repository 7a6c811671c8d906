"""The wire, on both event loops: replies go to the commands they answer, or the wire is not used any more."""

import asyncio

import pytest

from outbox.core.classify import Trouble
from outbox.core.reply import Reply
from outbox.smtp.wire import CHUNK, Wire, WireError
from tests.fixtures.scripted_smtpd import Peer, ScriptedSmtpd, drop, half_close, in_pieces, silence, when
from tests.smtp.loops import both_loops, run

PATIENT = 30.0
AT_ONCE = 0.001


class Opener(asyncio.Protocol):
    """The protocol that a wire takes over from."""

    lost = 0

    def connection_lost(self, exc):
        assert exc is None or isinstance(exc, OSError)
        self.lost += 1


async def wired(server: ScriptedSmtpd) -> tuple[Wire, Opener]:
    loop = asyncio.get_running_loop()
    transport, opener = await loop.create_connection(Opener, server.host, server.port)
    return Wire.take_over(transport), opener


def on_a_wire(loop_factory, script, test):
    """Run `test(wire, turn, server)` against `script`, and check that nothing is left behind."""

    async def whole():
        async with ScriptedSmtpd() as server:
            server.play(script)
            wire, opener = await wired(server)
            await test(wire, wire.turn(), server)
            wire.abort()
            await wire.closed()
            assert opener.lost == 1

    run(loop_factory, whole())


@both_loops
def test_replies_come_in_the_order_of_the_commands_however_they_are_cut(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        turn.write(b"B\r\nC\r\n", replies=2)
        assert not wire.usable
        assert [str(await turn.reply(PATIENT)) for _ in "ABC"] == ["250 a a", "550 b", "250 c"]
        assert wire.usable

    answer = in_pieces(b"250-a\r", b"\n25", b"0 a\r\n550 b\r\n250 c\r", b"\n")
    on_a_wire(loop_factory, [(b"A", silence), (b"B", silence), (b"C", answer)], test)


@both_loops
def test_an_unasked_reply_is_never_taken_for_the_answer_to_the_next_command(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        assert await turn.reply(PATIENT) == Reply(250, "a")
        assert not wire.usable
        with pytest.raises(WireError) as caught:
            turn.write(b"B\r\n")
        assert caught.value.said == Reply(421, "4.4.2 idle")

    on_a_wire(loop_factory, [(b"A", b"250 a\r\n421 4.4.2 idle\r\n")], test)


@both_loops
def test_the_beginning_of_an_unasked_reply_spoils_the_wire_too(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        await turn.reply(PATIENT)
        assert not wire.usable
        with pytest.raises(WireError):
            turn.write(b"B\r\n")

    on_a_wire(loop_factory, [(b"A", b"250 a\r\n421 4.4")], test)


@both_loops
def test_after_a_timeout_the_late_reply_is_not_paired_with_another_command(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        with pytest.raises(WireError) as caught:
            await turn.reply(AT_ONCE)
        assert caught.value.trouble is Trouble.TIMEOUT
        with pytest.raises(WireError):
            turn.write(b"B\r\n")

    on_a_wire(loop_factory, [(b"A", silence)], test)


@both_loops
def test_a_wire_whose_reader_was_cancelled_is_not_usable(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        reading = asyncio.create_task(turn.reply(PATIENT))
        await server.until(lambda: server.lines == [b"A\r\n"])
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert not wire.usable
        with pytest.raises(WireError):
            turn.write(b"B\r\n")

    on_a_wire(loop_factory, [(b"A", silence)], test)


@both_loops
@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (drop, Trouble.CLOSED),
        (half_close, Trouble.CLOSED),
        (b"oops\r\n", Trouble.MALFORMED),
        (b"250 " + b"x" * 9000, Trouble.MALFORMED),
        (b"250-x\r\n" * 5000, Trouble.MALFORMED),
    ],
    ids=["dropped", "half closed", "not SMTP", "endless line", "endless reply"],
)
def test_a_server_that_does_not_answer_properly_is_trouble(loop_factory, answer, trouble):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        with pytest.raises(WireError) as caught:
            await turn.reply(PATIENT)
        assert caught.value.trouble is trouble
        assert not wire.usable

    on_a_wire(loop_factory, [(b"A", answer)], test)


@both_loops
def test_a_reply_that_came_before_the_end_is_still_given_out(loop_factory):
    async def answer_and_go(peer: Peer) -> None:
        await peer.say(b"250 taken\r\n")
        peer.writer.close()

    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        await wire.closed()
        assert await turn.reply(PATIENT) == Reply(250, "taken")
        assert not wire.usable

    on_a_wire(loop_factory, [(b"A", answer_and_go)], test)


@both_loops
def test_sending_waits_until_everything_has_left(loop_factory):
    reading = asyncio.Event()
    content = b"x" * 400 * CHUNK
    got = bytearray()

    async def read_all(peer: Peer) -> None:
        await reading.wait()
        got.extend(await peer.reader.readexactly(len(content)))
        await peer.say(b"250 got it\r\n")

    async def test(wire, turn, server):
        sending = asyncio.create_task(turn.send(content, PATIENT))
        await asyncio.sleep(0)
        assert not sending.done()
        assert wire._transport.get_write_buffer_size() > 0
        reading.set()
        await sending
        assert wire._transport.get_write_buffer_size() == 0
        turn.write(b"")
        assert await turn.reply(PATIENT) == Reply(250, "got it")
        assert got == content

    on_a_wire(loop_factory, [(None, read_all)], test)


@both_loops
def test_sending_gives_up_when_no_byte_leaves(loop_factory):
    never = asyncio.Event()

    async def test(wire, turn, server):
        with pytest.raises(WireError) as caught:
            await turn.send(b"x" * 400 * CHUNK, 0.01)
        assert caught.value.trouble is Trouble.TIMEOUT

    on_a_wire(loop_factory, [(None, when(never, b""))], test)


@both_loops
def test_a_server_that_speaks_up_during_the_message_is_heard(loop_factory):
    async def refuse(peer: Peer) -> None:
        await peer.reader.readexactly(CHUNK)
        await peer.say(b"552 5.3.4 too big\r\n")

    async def test(wire, turn, server):
        with pytest.raises(WireError) as caught:
            await turn.send(b"x" * 400 * CHUNK, PATIENT)
        assert caught.value.said == Reply(552, "5.3.4 too big")

    on_a_wire(loop_factory, [(None, refuse)], test)


@both_loops
def test_aborting_wakes_who_waits_for_a_reply(loop_factory):
    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        reading = asyncio.create_task(turn.reply(PATIENT))
        await server.until(lambda: server.lines == [b"A\r\n"])
        wire.abort()
        with pytest.raises(WireError) as caught:
            await reading
        assert caught.value.trouble is Trouble.CLOSED
        assert wire.aborted

    on_a_wire(loop_factory, [(b"A", silence)], test)


@both_loops
def test_what_arrived_and_was_not_read_yet_is_noticed(loop_factory):
    peers = []

    async def keep(peer: Peer) -> None:
        peers.append(peer)
        await peer.say(b"250 ok\r\n")

    async def test(wire, turn, server):
        turn.write(b"A\r\n")
        await turn.reply(PATIENT)
        assert wire.quiet
        peers[0].writer.write(b"250 once more\r\n")
        assert wire.usable, "nobody has read it"
        assert not wire.quiet

    on_a_wire(loop_factory, [(b"A", keep)], test)
