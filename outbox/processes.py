"""Several pollers on one machine: starts them, passes signals on, starts a new one for each that dies."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from outbox.core.errors import INTERRUPTED, OutboxError, SettingsError
from outbox.settings import Settings

log = logging.getLogger("outbox.processes")

HOPELESS = 2
"""Exit code of a poller that cannot work as it is configured; it is not started again."""

RESTART_DELAY = 1.0
"""Seconds before a poller that died is replaced, so that one that dies at once does not spin."""


def run_here(settings: Settings, *, drain: bool = False) -> int:
    """Run one poller in this process, on uvloop where it exists. Returns the exit code."""
    import asyncio

    from outbox import daemon

    try:
        import uvloop
    except ImportError:
        with asyncio.Runner() as runner:
            return runner.run(daemon.run(settings, drain=drain))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(daemon.run(settings, drain=drain))


def run_processes(settings: Settings, count: int, *, drain: bool = False) -> int:
    """Run `count` pollers until SIGTERM or SIGINT, or with `drain` until all are done. Returns the worst exit code.

    The settings reach the children through a pipe, so that no password shows in a process list.
    """
    pollers = _Pollers(settings, drain=drain)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pollers.stop)
    for _ in range(count):
        pollers.start()
    worst = pollers.wait()
    return INTERRUPTED if drain and pollers.interrupted else worst


class _Pollers:
    """The children, and whether they are to stop."""

    def __init__(self, settings: Settings, *, drain: bool) -> None:
        self._arguments = settings, drain, logging.getLogger().level
        self._drain = drain
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self.interrupted = False
        """By Ctrl-C."""
        self._running: list[SpawnProcess] = []

    def start(self) -> None:
        poller = self._context.Process(target=_child, args=self._arguments, name=f"poller-{len(self._running)}")
        poller.start()
        self._running.append(poller)
        if self._stopping.is_set():  # the signal came while it was being started
            poller.terminate()

    def stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature is the library's
        self._stopping.set()
        self.interrupted |= number == signal.SIGINT
        for poller in self._running:
            if poller.is_alive():
                poller.terminate()

    def wait(self) -> int:
        """Until all have ended for good; the worst exit code."""
        worst = 0
        while self._running:
            wait([poller.sentinel for poller in self._running])
            for ended in [poller for poller in self._running if not poller.is_alive()]:
                ended.join()
                self._running.remove(ended)
                code = self._final_code(ended)
                if code is not None:
                    worst = max(worst, code)
                elif not self._stopping.wait(RESTART_DELAY):
                    self.start()
        return worst

    def _final_code(self, ended: SpawnProcess) -> int | None:
        """What it ended with, or None where another has to take its place."""
        if self._stopping.is_set() and ended.exitcode == -signal.SIGTERM:
            return 0  # stopped before it had begun
        if self._stopping.is_set() or self._drain or ended.exitcode == HOPELESS:
            return abs(ended.exitcode or 0)
        log.error("a poller ended with code %s; starting another", ended.exitcode)
        return None


def _child(settings: Settings, drain: bool, level: int) -> None:
    # Ctrl-C reaches the whole foreground group; the parent passes it on as SIGTERM, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_up_logging(level)
    try:
        sys.exit(run_here(settings, drain=drain))
    except SettingsError as error:
        log.error("%s", error)  # noqa: TRY400  # one line: it names the fault and the cure
        sys.exit(HOPELESS)
    except OutboxError as error:
        log.error("%s", error)  # noqa: TRY400  # as above; a database may come back, so the parent starts another
        sys.exit(1)


def _end_with_parent() -> None:
    """Nobody could stop or replace a poller whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def set_up_logging(level: int) -> None:
    """Log lines on stderr, as every poller process writes them."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-8s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it tells every call, and parameters with it
