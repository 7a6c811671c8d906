"""What systemd hears of the daemon, on a real datagram socket."""

import asyncio
import signal
import socket
import tempfile
from multiprocessing import get_context
from pathlib import Path

import pytest

from outbox.processes import _Pollers, _Running
from outbox.settings import Settings
from outbox.systemd import Systemd

UNIT = Path(__file__).parents[2] / "docs" / "outbox.service"


class Listener:
    """systemd's end of the socket."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.setblocking(False)

    async def word(self):
        """The next thing it is told, by name."""
        text = (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    async def until(self, name):
        """The names of what it is told, up to the first word with this one."""
        heard: list[dict[str, str]] = []
        while not heard or name not in heard[-1]:
            heard.append(await self.word())
        return heard

    def waiting(self):
        """Whatever it was told and has not read yet."""
        words = []
        while True:
            try:
                words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return words


@pytest.fixture(params=["path", "abstract"])
def address(request):
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp") as folder:  # the path of a socket is short
        yield f"{'@' if request.param == 'abstract' else ''}{folder}/notify"


@pytest.fixture
def systemd(address):
    listener = Listener(address)
    with listener.socket:
        yield listener


@pytest.mark.parametrize("arguments", [[], ["--processes", "2"]])
async def test_systemd_hears_when_it_is_ready_that_it_lives_and_when_it_stops(outbox, systemd, address, arguments):
    daemon = await outbox("run", *arguments, NOTIFY_SOCKET=address, WATCHDOG_USEC="300000")
    first = await systemd.word()
    assert (first["READY"], "poll" in first["STATUS"]) == ("1", True)
    for _ in range(3):
        await systemd.until("WATCHDOG")
    daemon.kill(signal.SIGTERM)
    await systemd.until("STOPPING")
    code, errors = await daemon.ended()
    assert (code, "Traceback" in errors) == (0, False)


async def test_a_watchdog_that_is_meant_for_another_process_is_none(address):
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "9000000"}
    assert Systemd.of(environment).watchdog == 9.0
    assert Systemd.of(environment | {"WATCHDOG_PID": "1"}).watchdog is None
    assert not Systemd.of({}).listens


async def test_that_it_is_ready_is_told_until_it_is_heard(systemd, address):
    said = Systemd.of({"NOTIFY_SOCKET": address})
    for _ in range(1000):  # more than the socket of somebody who is busy takes
        said.status("busy")
    said.ready("it polls")
    assert not any("READY" in word for word in systemd.waiting())
    said.alive("it polls still")
    said.alive("and on")
    assert await systemd.word() == {"READY": "1", "WATCHDOG": "1", "STATUS": "it polls still"}
    assert await systemd.word() == {"WATCHDOG": "1", "STATUS": "and on"}


async def test_nothing_is_wrong_where_nobody_reads_the_socket(outbox, address):
    daemon = await outbox("run", "--drain", NOTIFY_SOCKET=address)
    code, errors = await daemon.ended()
    assert (code, "Traceback" in errors) == (0, False)


@pytest.fixture
def family():
    """A parent of two, and what it tells."""
    said: list[str] = []
    pollers = _Pollers(Settings(), Systemd(said.append, 9.0), drain=False)
    spawning, ends = get_context("spawn"), []
    for number in range(2):
        ours, theirs = spawning.Pipe(duplex=False)
        pollers._running.append(_Running(number, spawning.Process(), ours))
        ends.append(theirs)

    def tell(number, word):
        ends[number].send(word)
        pollers._running[number].hear()
        pollers._tell()

    return said, tell


def test_the_parent_is_ready_when_all_children_are(family):
    said, tell = family
    tell(0, "READY=1\nSTATUS=x")
    assert said == []
    tell(1, "READY=1\nSTATUS=x")
    assert said == ["READY=1\nSTATUS=2 pollers poll"]


def test_the_parent_lives_only_while_every_child_does(family):
    said, tell = family
    for _ in range(3):
        tell(0, "WATCHDOG=1\nSTATUS=x")
        tell(1, "STATUS=the poll loop stands still")
    assert said == []
    tell(1, "WATCHDOG=1\nSTATUS=x")
    assert said == ["WATCHDOG=1\nSTATUS=2 pollers poll"]


def test_the_unit_asks_for_what_the_daemon_tells():
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert {"Type=notify", "WatchdogSec=180"} <= set(lines)
