"""The application: commits and rolls back emails without pause, cancels some and retries some, as people do."""

import asyncio
from random import Random

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from outbox import Email, enqueue
from outbox.db.engine import create_engine
from outbox.db.operations import Operations
from soak.diary import Diary, Span, Wish
from soak.session import now

ROLLED_BACK = 0.1
BATCH = 12
PATIENCE = 0.2
"""Seconds until a database that failed is asked again."""


class Application:
    """Writes through its own engine, one transaction after the other."""

    def __init__(self, url: str, diary: Diary, seed: int) -> None:
        self._engine = create_engine(url)
        self._operations = Operations(self._engine)
        self._diary = diary
        self._random = Random(f"application/{seed}")
        self._count = 0

    async def write(self, emails: int, seconds: float) -> None:
        """So many emails, spread over so many seconds."""
        begin, written = now(), 0
        while written < emails:
            wanted = min(emails, int(emails * (now() - begin) / seconds) + 1)
            while written < wanted:
                written += await self._transaction(min(self._random.randint(1, BATCH), wanted - written))
            await asyncio.sleep(self._random.uniform(0.02, 0.3))

    async def meddle(self) -> None:
        """Cancel and retry now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
            try:
                await self._operations.cancel(await self._some("status = 'pending'", 2))
                await self._operations.retry(await self._some("status IN ('failed', 'partial', 'cancelled')", 1))
                self._diary.faults["cancels and retries"] += 1
            except (SQLAlchemyError, OSError) as error:
                self._blame(error)
                await asyncio.sleep(PATIENCE)

    async def close(self) -> None:
        """Close its connections."""
        await self._engine.dispose()

    async def _some(self, condition: str, limit: int) -> list[int]:
        newest = text(f"SELECT id FROM email_outbox WHERE {condition} ORDER BY id DESC LIMIT {limit}")
        async with self._engine.connect() as connection:
            return list((await connection.execute(newest)).scalars())

    async def _transaction(self, size: int) -> int:
        """Insert some emails and commit, or roll back; how many were surely committed."""
        wishes = [self._wish() for _ in range(size)]
        keep = self._random.random() >= ROLLED_BACK
        if not keep:
            for wish in wishes:
                wish.committed = False
        self._diary.wishes.update({wish.tag: wish for wish in wishes})
        begin = now()
        try:
            async with self._engine.connect() as connection:
                await enqueue(connection, *(self._email(wish) for wish in wishes))
                await (connection.commit() if keep else connection.rollback())
            for wish in wishes:
                wish.committed = keep
            self._time(Span("write", begin, now()))
        except (SQLAlchemyError, OSError) as error:
            self._blame(error)
            await asyncio.sleep(PATIENCE)
        self._diary.faults["rolled back"] += 0 if keep else size
        return size if all(wish.committed for wish in wishes) else 0

    def _wish(self) -> Wish:
        self._count += 1
        tag = f"e{self._count}"
        sort = self._random.random()
        ending = "-refused" if sort < 0.02 else "-busy" if sort < 0.025 else ""
        others = self._random.choice((0, 0, 0, 1, 1, 2, 3))
        recipients = (f"{tag}-0{ending}@soak.test", *(f"{tag}-{n}@soak.test" for n in range(1, others + 1)))
        return Wish(tag, recipients, hold=self._random.random() < 0.15)

    def _email(self, wish: Wish) -> Email:
        to, others = wish.recipients[:2], wish.recipients[2:]
        return Email(
            to=to,
            cc=others[:1] or None,
            bcc=others[1:] or None,
            subject=f"Soak {wish.tag}",
            text="Hello\n.\nagain\n" * self._random.randint(1, 40),
            on_doubt="hold" if wish.hold else "resend",
            max_attempts=4 if "-busy" in wish.recipients[0] else None,
            priority=self._random.choice((0, 1, 1, 1, 2)),
            tag=wish.tag,
        )

    def _time(self, write: Span) -> None:
        if self._diary.broken_between(write.begin, write.end):
            return  # a stopped daemon, too: in a transaction it keeps SQLite's lock
        seconds = write.end - write.begin
        self._diary.slowest_write = max(self._diary.slowest_write, seconds)
        if seconds > 1.0:
            self._diary.slow_writes.append(write)

    def _blame(self, error: Exception) -> None:
        """A database that was broken may fail; one that was only busy may not."""
        if isinstance(error, DBAPIError) and "locked" in str(error.orig):
            self._diary.errors.append(f"the application was told {error.orig}")
