"""Real `outbox` processes on the test's own database and SMTP server."""

import os
import signal

import pytest

from outbox import Email, enqueue
from tests.fixtures.guide import Shell
from tests.fixtures.processes import warm


class Running:
    """A process of the command line, with its output."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)

    async def ended(self):
        """Exit code and standard error."""
        _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()


@pytest.fixture
def launch():
    """How processes are started; `cold` where that is the point."""
    return warm


@pytest.fixture
async def outbox(database, smtpd, launch):
    """`await outbox("run", "--drain", OUTBOX_LEASE="1s")` starts one; those still running are killed at the end."""
    started = []

    async def start(*arguments, **environment):
        process = await launch(
            *arguments,
            env={
                **os.environ,
                "OUTBOX_DATABASE_URL": database,
                "OUTBOX_SMTP_URL": smtpd.url,
                "OUTBOX_SENDER": "Shop <shop@example.org>",
                "OUTBOX_POLL_INTERVAL": "100ms",
                **environment,
            },
        )
        started.append(process)
        return Running(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.fixture
def fill(engine):
    """Insert so many emails, each to its own recipient."""

    async def run(count, **keywords):
        async with engine.begin() as connection:
            emails = (
                Email(to=f"r{number}@example.org", subject=f"Hi {number}", text="Hello " * 100, html="<p>Hello</p>")
                for number in range(count)
            )
            return await enqueue(connection, *emails)

    return run


@pytest.fixture
def put(engine):
    """Insert one email; gives its id."""

    async def run(**keywords):
        async with engine.begin() as connection:
            email = Email(**{"to": "ada@example.org", "subject": "Hi", "text": "Hello"} | keywords)
            return (await enqueue(connection, email))[0]

    return run


@pytest.fixture
def shell(warm_outbox):
    """A shell as a reader of the guides has it, in the test's folder."""
    with Shell(warm_outbox) as shell:
        yield shell
