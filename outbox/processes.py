"""Pollers as processes: one, which is this one, or several: started, sent our signals, replaced when they die."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from outbox.core.errors import INTERRUPTED, OutboxError, SettingsError
from outbox.log_format import set_up_logging
from outbox.settings import Settings
from outbox.systemd import Systemd, tell_life
from outbox.tuning import give_large_blocks_back

log = logging.getLogger("outbox.processes")

HOPELESS = 2
"""Exit code of a poller that cannot work as it is configured; it is not started again."""

RESTART_DELAY = 1.0
"""Seconds before a poller that died is replaced, so that one that dies at once does not spin."""


def run_here(settings: Settings, systemd: Systemd, *, drain: bool = False) -> int:
    """Run one poller in this process, on uvloop where it exists. Returns the exit code."""
    try:
        import uvloop
    except ImportError:
        with asyncio.Runner() as runner:
            return runner.run(_poll(settings, systemd, drain=drain))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_poll(settings, systemd, drain=drain))


async def _poll(settings: Settings, systemd: Systemd, *, drain: bool = False) -> int:
    """Poll until SIGTERM or SIGINT, then drain; a second signal breaks off what is in flight.

    With `drain`, end by itself when nothing is due. Returns the exit code: 1 where due mail had to be left behind, and
    INTERRUPTED where a drain was. `systemd` is told how it goes.
    """
    from outbox.daemon import Poller

    give_large_blocks_back()
    stopping = asyncio.Event()
    poller = Poller(settings, drain=drain)
    stopped_by: list[int] = []

    def on_signal(number: int) -> None:
        if stopping.is_set():
            poller.hurry()
        stopped_by.append(number)
        stopping.set()
        systemd.stopping()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    life: asyncio.Task[None] | None = None
    try:
        async with poller:
            systemd.ready(poller.status)
            life = asyncio.create_task(tell_life(systemd, poller), name="outbox-life")
            finished = asyncio.create_task(poller.finished())
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait({finished, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if stopping.is_set():
                finished.cancel()
                return INTERRUPTED if drain and signal.SIGINT in stopped_by else 0
            finished.result()
            return 1 if await poller.left_behind() else 0
    finally:
        if life:
            life.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def run_processes(settings: Settings, systemd: Systemd, count: int, *, drain: bool = False) -> int:
    """Run `count` pollers until SIGTERM or SIGINT, or with `drain` until all are done. Returns the worst exit code.

    The settings reach the children through a pipe, so that no password shows in a process list. `systemd` is told by
    the parent what is true of all of them.
    """
    pollers = _Pollers(settings, systemd, drain=drain)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pollers.stop)
    for place in range(count):
        pollers.start(place)
    worst = pollers.wait()
    return INTERRUPTED if drain and pollers.interrupted else worst


@dataclass(eq=False, slots=True)
class _Running:
    """A child, and what it has told of itself."""

    number: int
    process: SpawnProcess
    words: Connection
    ready: bool = False
    alive: bool = False

    def hear(self) -> None:
        """Take in what it has to say."""
        with suppress(EOFError, OSError):
            while self.words.poll():
                word = self.words.recv()
                self.ready = self.ready or word.startswith("READY=1")
                self.alive = self.alive or word.startswith("WATCHDOG=1")


class _Pollers:
    """The children, and whether they are to stop."""

    def __init__(self, settings: Settings, systemd: Systemd, *, drain: bool) -> None:
        self._settings = settings
        self._systemd = systemd
        self._drain = drain
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._running: list[_Running] = []
        self._told_ready = False
        self.interrupted = False
        """By Ctrl-C."""

    def start(self, number: int) -> None:
        """Start the poller with this number, from 0: a new one in the place of one that died has the same."""
        ours, theirs = self._context.Pipe(duplex=False)
        settings = self._settings
        if settings.metrics_port:  # each has its own: what they tell can be added up by whoever asks
            settings = settings.model_copy(update={"metrics_port": settings.metrics_port + number})
        child = _Child(settings, self._drain, logging.getLogger().level, theirs, self._systemd.watchdog)
        process = self._context.Process(target=_run_child, args=(child,), name=f"poller-{number}")
        process.start()
        theirs.close()
        self._running.append(_Running(number, process, ours))
        if self._stopping.is_set():  # the signal came while it was being started
            process.terminate()

    def stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature is the library's
        self._stopping.set()
        self._systemd.stopping()
        self.interrupted |= number == signal.SIGINT
        for poller in self._running:
            if poller.process.is_alive():
                poller.process.terminate()

    def wait(self) -> int:
        """Until all have ended for good; the worst exit code."""
        worst = 0
        while self._running:
            wait([poller.process.sentinel for poller in self._running] + [poller.words for poller in self._running])
            for poller in self._running:
                poller.hear()
            self._tell()
            for ended in [poller for poller in self._running if not poller.process.is_alive()]:
                ended.process.join()
                ended.words.close()
                self._running.remove(ended)
                code = self._final_code(ended.process)
                if code is not None:
                    worst = max(worst, code)
                elif not self._stopping.wait(RESTART_DELAY):
                    self.start(ended.number)
        return worst

    def _tell(self) -> None:
        """Tell systemd what is true of all. One that hangs, or that never gets ready, keeps the parent silent."""
        count = len(self._running)
        if not self._told_ready and all(poller.ready for poller in self._running):
            self._told_ready = True
            self._systemd.ready(f"{count} pollers poll")
        if all(poller.alive for poller in self._running):
            self._systemd.alive(f"{count} pollers poll")
            for poller in self._running:
                poller.alive = False

    def _final_code(self, ended: SpawnProcess) -> int | None:
        """What it ended with, or None where another has to take its place."""
        if self._stopping.is_set() and ended.exitcode == -signal.SIGTERM:
            return 0  # stopped before it had begun
        if self._stopping.is_set() or self._drain or ended.exitcode == HOPELESS:
            return abs(ended.exitcode or 0)
        log.error("a poller ended with code %s; starting another", ended.exitcode)
        return None


@dataclass(frozen=True, slots=True)
class _Child:
    """What a child is given."""

    settings: Settings
    drain: bool
    level: int
    words: Connection
    watchdog: float | None

    def tell(self, text: str) -> None:
        with suppress(OSError):  # the parent was killed; that is seen to elsewhere
            self.words.send(text)


def _run_child(child: _Child) -> None:
    # Ctrl-C reaches the whole foreground group; the parent passes it on as SIGTERM, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up_logging(child.level, child.settings.log_format)
    try:
        sys.exit(run_here(child.settings, Systemd(child.tell, child.watchdog), drain=child.drain))
    except SettingsError as error:
        log.error("%s", error)  # noqa: TRY400  # one line: it names the fault and the cure
        sys.exit(HOPELESS)
    except OutboxError as error:
        log.error("%s", error)  # noqa: TRY400  # as above; a database may come back, so the parent starts another
        sys.exit(1)
    except Exception:
        log.exception("the poller ended by an error that should not be; please report it")
        sys.exit(1)


def _end_with_parent() -> None:
    """Nobody could stop or replace a poller whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
