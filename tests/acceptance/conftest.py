"""Real `outbox` processes on the test's own database and SMTP server."""

import asyncio
import os
import resource
import signal
import sys

import pytest

from outbox import Email, enqueue


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
async def outbox(database, smtpd):
    """`await outbox("run", "--drain", OUTBOX_LEASE="1s")` starts one; those still running are killed at the end."""
    started = []

    async def start(*arguments, **environment):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", *arguments),
            env={
                **os.environ,
                "OUTBOX_DATABASE_URL": database,
                "OUTBOX_SMTP_URL": smtpd.url,
                "OUTBOX_SENDER": "Shop <shop@example.org>",
                "OUTBOX_POLL_INTERVAL": "100ms",
                **environment,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
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
def largest_child():
    """Peak resident memory of the largest child process so far, in MiB."""
    return lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
