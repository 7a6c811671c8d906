"""`outbox demo`: builds the stage, lets the shop do its business, shows what becomes of it, and clears up."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from outbox.core.status import FINAL
from outbox.db.engine import create_engine
from outbox.db.models import Email
from outbox.db.operations import Operations
from outbox.db.schema import migrate
from outbox.demo.catcher import Catcher, Caught
from outbox.demo.screen import Screen
from outbox.demo.shop import EXPECTED, GREYLISTED_RECIPIENT, TEMPLATES, UNKNOWN_RECIPIENT, Shop

PATIENCE = 30.0
"""Seconds until the demo gives up; it needs about five."""

LOOK_INTERVAL = 0.1
"""Seconds between looks at the table."""


async def run() -> int:
    """The whole demo. Returns 0 where everything came as it was told beforehand, else 1."""
    _end_by_cancelling(asyncio.current_task())
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="outbox-demo-"))
    caught: list[Caught] = []
    screen = Screen()
    screen.say(f"folder       {folder}")
    engine = create_engine(f"sqlite:///{folder / 'outbox.db'}")
    catcher = Catcher(folder / "caught", caught.append, answer=_DifficultServer())
    try:
        _, revision = await migrate(engine)
        screen.say(f"database     {folder / 'outbox.db'}, schema {revision}")
        port = await catcher.start()
        screen.say(f"SMTP server  smtp://127.0.0.1:{port}, a local catcher")
        async with _daemon(folder, port) as process:
            screen.say(f"daemon       outbox run, pid {process.pid}\n")
            shop = Shop(engine)
            await shop.open()
            await shop.do_business()
            emails = await _watch(engine, screen, caught, process)
        orders = await shop.orders()
    finally:
        await catcher.stop()
        await engine.dispose()
    faults = _faults(emails, caught, orders)
    screen.conclude(emails, faults, folder, time.monotonic() - started)
    return 1 if faults else 0


class _DifficultServer:
    """How the demo's server answers RCPT: one recipient is unknown, one is greylisted."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def __call__(self, recipient: str) -> str | None:
        self._times[recipient] += 1
        if recipient == UNKNOWN_RECIPIENT:
            return "550 5.1.1 no such user here"
        if recipient == GREYLISTED_RECIPIENT and self._times[recipient] == 1:
            return "450 4.7.1 greylisted, please come back"
        return None


def _end_by_cancelling(task: "asyncio.Task[int] | None") -> None:
    """SIGTERM unwinds as Ctrl-C does: the daemon must not outlive the demo."""
    if task:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@asynccontextmanager
async def _daemon(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real daemon in its own process, as an installation would run it; its log is in the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOX_")}
    environment |= {
        "OUTBOX_DATABASE_URL": f"sqlite:///{folder / 'outbox.db'}",
        "OUTBOX_SMTP_URL": f"smtp://127.0.0.1:{port}",
        "OUTBOX_SENDER": "Example Shop <shop@example.org>",
        "OUTBOX_TEMPLATES": str(TEMPLATES),
        "OUTBOX_RETRY_SCHEDULE": "1s",
    }
    with (folder / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", "run"),
            cwd=folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _watch(
    engine: AsyncEngine, screen: Screen, caught: Sequence[Caught], process: asyncio.subprocess.Process
) -> list[Email]:
    """Show the rows as they change, until all are final, the daemon died or patience ends."""
    operations = Operations(engine)
    deadline = time.monotonic() + PATIENCE
    with screen.live() as update:
        while True:
            emails = sorted(await operations.emails(), key=lambda email: email.id)
            update(emails, caught)
            final = all(email.status in FINAL for email in emails)
            if final or process.returncode is not None or time.monotonic() > deadline:
                return emails
            await asyncio.sleep(LOOK_INTERVAL)


def _faults(emails: Sequence[Email], caught: Sequence[Caught], orders: int) -> list[str]:
    """What did not come as EXPECTED tells, a line each."""
    found = {email.tag: email for email in emails}
    faults = []
    for expected in EXPECTED:
        email = found.get(expected.tag)
        is_so = (email.status, email.attempts) if email else (None, 1)
        if is_so != (expected.status, expected.attempts):
            faults.append(f"{expected.tag}: expected {expected.status or 'no row'}, found {is_so[0] or 'no row'}")
    sent = sum(expected.status == "sent" for expected in EXPECTED)
    if len(caught) != sent:
        faults.append(f"the server accepted {len(caught)} emails, not {sent}")
    if orders != 1:
        faults.append(f"there are {orders} orders, not 1")
    return faults
