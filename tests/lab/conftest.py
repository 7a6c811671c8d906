"""Real daemons before a real SMTP server, to be killed, stopped and cut off at named points (see soak.programs)."""

import pytest

from soak.databases import Postgres
from soak.programs import Daemon, SinkProcess
from tests.fixtures.processes import warm


@pytest.fixture(params=[False, True], ids=["one by one", "grouped"])
def pipelining(request):
    """Everything here holds for servers that are given one command at a time, and for those that take groups."""
    return request.param


@pytest.fixture
async def sink(tmp_path, pipelining):
    """An SMTP server in a process of its own, without faults."""
    async with SinkProcess(tmp_path / "sink.jsonl", pipelining=pipelining) as sink:
        yield sink


class WarmDaemon(Daemon):
    """One that starts in no time."""

    _launch = staticmethod(warm)


@pytest.fixture
async def daemon(sink, tmp_path):
    """`await daemon(database)` starts one that polls; those still running are killed at the end."""
    started: list[Daemon] = []

    async def start(database, **environment):
        daemon = WarmDaemon(f"d{len(started)}.test", tmp_path)
        started.append(daemon)
        settings = {
            "OUTBOX_DATABASE_URL": database,
            "OUTBOX_SMTP_URL": f"smtp://127.0.0.1:{sink.port}",
            "OUTBOX_SENDER": "Shop <shop@example.org>",
            "OUTBOX_POLL_INTERVAL": "50ms",
            "OUTBOX_LEASE": "2s",
            **environment,
        }
        await daemon.start(settings, "--log-level", "debug")
        assert await daemon.ready(), daemon.lines
        return daemon

    yield start
    for daemon in started:
        if daemon.alive:
            await daemon.end(9)


@pytest.fixture
async def own_postgres():
    """A PostgreSQL server that the test may break."""
    async with Postgres() as server:
        yield server


@pytest.fixture
def copies(sink):
    """(recipient, daemon, Message-ID, Date) of everything that the server took, in order."""

    def read():
        return [
            (recipient, dot["who"], dot["message_id"], dot["date"])
            for dot in sink.events("dot")
            if dot["taken"]
            for recipient in dot["recipients"]
        ]

    return read
