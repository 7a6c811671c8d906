"""One database and everything around it: keeps daemons running, breaks them and the database as planned."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from sqlalchemy import Executable, bindparam, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from outbox.db.engine import create_engine, read_only
from outbox.db.models import Email
from outbox.db.types import UtcNow
from soak.application import Application
from soak.databases import Database, Postgres, Sqlite
from soak.diary import Diary, Kill, Span
from soak.plan import TIMEOUTS, Plan
from soak.programs import Daemon, SinkProcess
from soak.session import now

POINTS = ("random", "MAIL", "RCPT", "DATA", "dot", "answered")
LOOK = 0.05
"""Seconds between looks at the rows of a dead poller."""

BEFORE = 3.0
"""Seconds before a kill in which something else that was broken may still show."""

FRUITLESS = 3.0
"""Seconds until a daemon that does not come to a named point is killed anyway."""

SETTLING = 180.0
"""Seconds after the last fault until a row that is not final counts as stuck."""

OF_THE_DEAD = select(func.count()).where(
    Email.due_at.isnot(None), Email.status == "sending", Email.claimed_by == bindparam("name")
)
LEASED = OF_THE_DEAD.where(Email.due_at > UtcNow())
LAST = text("SELECT coalesce(max(id), 0) FROM email_attempt")
OPEN = text("SELECT count(*) FROM email_outbox WHERE due_at IS NOT NULL")


class Theatre:
    """The run of one plan. Afterwards `diary`, `sink` and `all_daemons` have the evidence."""

    def __init__(self, plan: Plan, database: Database, sink: SinkProcess, folder: Path) -> None:
        self.plan = plan
        self.diary = Diary()
        self.sink = sink
        self.all_daemons: list[Daemon] = []
        self.url = database.url
        self._database = database
        self._folder = folder
        self._random = Random(f"theatre/{plan.seed}/{plan.database}")
        self._application = Application(self.url, self.diary, plan.seed)
        self._engine = create_engine(self.url)
        self._reader = read_only(self._engine)
        self._background: set[asyncio.Task[None]] = set()
        self._over = False

    async def run(self) -> None:
        """Everything, until nothing moves any more."""
        (self._folder / "outbox.toml").write_text(TIMEOUTS)
        await asyncio.gather(*(self._start() for _ in range(self.plan.daemons)))
        meddling = asyncio.create_task(self._application.meddle())
        async with asyncio.TaskGroup() as acts:
            acts.create_task(self._application.write(self.plan.emails, self.plan.seconds))
            acts.create_task(self._spread(self.plan.kills, self._kill))
            acts.create_task(self._spread(self.plan.stops, self._stop))
            acts.create_task(self._spread(self.plan.stops, self._replace))
            acts.create_task(self._spread(self.plan.restarts, self._break_database))
        meddling.cancel()
        while self._background:
            await asyncio.wait(self._background)
        await self._settle()
        self._over = True
        await self._end()

    # Daemons come and go.

    async def _start(self) -> None:
        """Another daemon; one that cannot start while the database is away is started again, as systemd would."""
        while not self._over:
            daemon = Daemon(f"d{len(self.all_daemons)}.{self.plan.database}.test", self._folder)
            self.all_daemons.append(daemon)
            await daemon.start(self.plan.environment(self.url, self.sink.port))
            if await daemon.ready():
                return
            await asyncio.sleep(0.2)

    def _running(self) -> list[Daemon]:
        return [daemon for daemon in self.all_daemons if daemon.alive and daemon.name and not daemon.marked]

    async def _victim(self) -> Daemon:
        while not (running := self._running()):
            await asyncio.sleep(LOOK)
        victim = self._random.choice(running)
        victim.marked = True
        return victim

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _spread(self, count: int, act: Callable[[int], Awaitable[None]]) -> None:
        """Do it so often, over the time of the plan; what takes too long delays the rest."""
        begin = now()
        for number in range(count):
            at = begin + self.plan.seconds * (number + self._random.random()) / count
            await asyncio.sleep(max(0.0, at - now()))
            await act(number)

    # The faults.

    async def _kill(self, number: int) -> None:
        victim = await self._victim()
        point = POINTS[number % len(POINTS)]
        if point != "random":
            fired = self.sink.arm(victim, point)
            await asyncio.wait([fired], timeout=FRUITLESS)
            if not fired.done():
                point = f"random ({point} not reached)"
        self.sink.disarm(victim)
        victim.send(signal.SIGKILL)
        await victim.wait()
        kill = Kill(victim.label, victim.name, point, victim.ended or now())
        self.diary.kills.append(kill)
        self.diary.faults["kill -9"] += 1
        self._later(self._start_after(self._random.uniform(0.1, 0.8)))
        freed = asyncio.Event()
        self._later(self._watch_recovery(kill, freed))
        await freed.wait()

    async def _start_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._start()

    async def _watch_recovery(self, kill: Kill, freed: asyncio.Event) -> None:
        """Until nothing is claimed in the name of the dead; `freed` when nothing is leased to it any more."""
        while (rows := await self._count(OF_THE_DEAD, name=kill.name)) != 0:
            kill.rows = max(kill.rows, rows or 0)
            if kill.freed is None and await self._count(LEASED, name=kill.name) == 0:
                kill.freed = now() - kill.t
                freed.set()
            await asyncio.sleep(LOOK)
        kill.freed = kill.freed or now() - kill.t
        freed.set()
        kill.recovery = now() - kill.t
        kill.clean = not self.diary.broken_between(kill.t - BEFORE, now())

    async def _stop(self, number: int) -> None:
        victim = await self._victim()
        if number % 2:
            await asyncio.wait([self.sink.arm(victim, "dot", signal.SIGSTOP)], timeout=FRUITLESS)
            self.sink.disarm(victim)
        victim.send(signal.SIGSTOP)
        begin = now()
        spans = self.diary.stops.setdefault(victim.label, [])
        spans.append(Span("stop", begin - 0.5, float("inf")))
        await asyncio.sleep(self.plan.lease + self._random.uniform(0.5, 2.0))
        victim.send(signal.SIGCONT)
        victim.marked = False
        spans[-1] = Span("stop", begin - 0.5, now())
        self.diary.faults["SIGSTOP past the lease"] += 1
        if isinstance(self._database, Sqlite):  # in the middle of a transaction it kept the lock
            self.diary.outages.append(Span("locked by a stopped daemon", begin, now()))

    async def _replace(self, _number: int) -> None:
        victim = await self._victim()
        victim.send(signal.SIGTERM)
        self.diary.faults["SIGTERM"] += 1
        await self._start()
        code = await victim.wait()
        killed = any(kill.label == victim.label for kill in self.diary.kills)
        if code != 0 and not killed:
            self.diary.errors.append(f"{victim.label} ended with code {code} after SIGTERM")

    async def _break_database(self, number: int) -> None:
        if isinstance(self._database, Postgres):
            await self._break_postgres(self._database, number)
        else:
            await self._lock_sqlite(self._database, number)

    async def _break_postgres(self, database: Postgres, number: int) -> None:
        mode = ("fast", "immediate")[number % 2]
        long = number % 10 == 9
        down = self.plan.lease + 2 if long else self._random.uniform(0.0, 1.5)
        async with self._outage(f"restart ({mode}{', past the lease' if long else ''})"):
            await database.restart(mode, down)
        self._later(self._watch_return())
        await asyncio.sleep(self._random.uniform(0.5, 2.0))
        async with self._outage("sessions cut"):
            await database.cut()

    async def _watch_return(self) -> None:
        """Until results are written again."""
        begin, before = now(), None
        while (last := await self._count(LAST)) is None or before is None or last <= before:
            before = last if before is None else before
            await asyncio.sleep(LOOK)
        self.diary.returns.append(now() - begin)

    async def _lock_sqlite(self, database: Sqlite, number: int) -> None:
        long = number % 10 == 9
        await database.lock()
        async with self._outage(f"long transaction{', past the lease' if long else ''}"):
            await asyncio.sleep(self.plan.lease + 2 if long else self._random.uniform(0.5, 3.0))
            await database.unlock()
        if number % 3 == 2:
            await self._check_integrity(database)

    async def _check_integrity(self, database: Sqlite) -> None:
        said = await database.intact()
        self.diary.faults["integrity checks"] += 1
        if said != "ok":
            self.diary.errors.append(f"integrity_check: {said}")

    @asynccontextmanager
    async def _outage(self, what: str) -> AsyncIterator[None]:
        begin = now()
        self.diary.faults[what] += 1
        self.diary.outages.append(Span(what, begin, float("inf")))
        place = len(self.diary.outages) - 1
        try:
            yield
        finally:
            self.diary.outages[place] = Span(what, begin, now())

    # The end.

    async def _settle(self) -> None:
        begin = now()
        while await self._count(OPEN) != 0 and now() - begin < SETTLING:
            await asyncio.sleep(0.3)

    async def _end(self) -> None:
        codes = await asyncio.gather(*(daemon.end() for daemon in self.all_daemons if daemon.alive))
        self.diary.errors.extend(f"a daemon ended with code {code} at the end" for code in codes if code)
        if isinstance(self._database, Sqlite):
            await self._check_integrity(self._database)
        await self._application.close()
        await self._engine.dispose()

    async def _count(self, query: Executable, **parameters: str) -> int | None:
        """A number from the database; None while it cannot be asked."""
        try:
            async with self._reader.connect() as connection:
                return int((await connection.execute(query, parameters)).scalar_one())
        except (SQLAlchemyError, OSError):
            return None
