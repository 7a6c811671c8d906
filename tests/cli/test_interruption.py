"""Long commands in a real terminal: they show how far they are, end at Ctrl-C anywhere, tell the truth, and go on."""

import asyncio
import json
import os
import pty
import re
import signal
import sys

import pytest

LONG_AGO = "'2020-01-01 00:00:00'"


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, process, master):
        self.process = process
        self._master = master
        self.shown = ""

    async def until(self, pattern):
        """Read until it has shown `pattern`; the match."""
        while not (match := re.search(pattern, self.shown)):
            self.shown += (await asyncio.to_thread(os.read, self._master, 65536)).decode()
        return match

    async def ended(self):
        """Exit code, once everything is read that it has shown."""
        try:
            while chunk := await asyncio.to_thread(os.read, self._master, 65536):
                self.shown += chunk.decode()
        except OSError:
            pass  # that is how a terminal ends on Linux
        return await self.process.wait()


@pytest.fixture
async def terminal(database, smtpd):
    """`await terminal("purge", …)` starts a command; those still running are killed at the end."""
    started = []

    async def start(*arguments):
        master, slave = pty.openpty()
        environment = {
            "OUTBOX_DATABASE_URL": database,
            "OUTBOX_SMTP_URL": smtpd.url,
            "OUTBOX_SENDER": "Shop <shop@example.org>",
            "TERM": "xterm",
            "COLUMNS": "100",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "outbox", *arguments),
            env={**os.environ, **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        started.append((process, master))
        return Terminal(process, master)

    yield start
    for process, master in started:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)


@pytest.fixture
def many(execute):
    """So many emails of a status, in one statement."""

    async def many(count, status, due="NULL", finished=LONG_AGO):
        numbers = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < :count)"
        await execute(
            f"{numbers} INSERT INTO email_outbox (to_addrs, body_text, status, due_at, finished_at)"
            f" SELECT 'r' || n || '@example.org', 'Hello', '{status}', {due}, {finished} FROM r",
            {"count": count},
        )

    return many


async def counts(execute):
    return dict(tuple(row) for row in await execute("SELECT status, count(*) FROM email_outbox GROUP BY status"))


def told(terminal, words):
    """The number in its last line, which is the only one."""
    lines = [line for line in terminal.shown.splitlines() if "interrupted: " in line]
    assert len(lines) == 1, terminal.shown
    assert "Traceback" not in terminal.shown
    match = re.search(rf"interrupted: ([\d,]+) {words}", lines[0])
    assert match, lines
    return int(match[1].replace(",", ""))


@pytest.mark.timeout(120)
async def test_a_purge_is_interrupted_midway_tells_what_it_deleted_and_goes_on(terminal, many, execute):
    await many(20_000, "sent")
    await many(50, "pending", due="'2999-01-01 00:00:00'", finished="NULL")
    running = await terminal("purge", "--older-than", "30d")
    await running.until(r"[1-9]\d*/20000")
    running.process.send_signal(signal.SIGINT)
    assert await running.ended() == 130
    deleted = told(running, "emails deleted so far; the same command goes on from there")
    assert 0 < deleted < 20_000
    assert await counts(execute) == {"sent": 20_000 - deleted, "pending": 50}
    again = await terminal("purge", "--older-than", "30d")
    assert await again.ended() == 0
    assert f"{20_000 - deleted:,} emails deleted ({20_000 - deleted:,} sent)" in again.shown
    assert await counts(execute) == {"pending": 50}


@pytest.mark.timeout(120)
async def test_a_retry_of_many_is_interrupted_midway_and_goes_on(terminal, many, execute):
    await many(10_000, "failed")
    running = await terminal("retry", "--status", "failed")
    await running.until(r"[1-9]\d*/10000")
    running.process.send_signal(signal.SIGINT)
    assert await running.ended() == 130
    done = told(running, "emails pending again so far; the same command goes on from there")
    assert await counts(execute) == {"pending": done, "failed": 10_000 - done}
    again = await terminal("retry", "--status", "failed")
    assert await again.ended() == 0
    assert await counts(execute) == {"pending": 10_000}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_drain_is_interrupted_midway_gives_the_rest_back_and_goes_on(terminal, many, execute, smtpd, processes):
    await many(3000, "pending", due=LONG_AGO, finished="NULL")
    running = await terminal("run", "--drain", "--processes", processes, "--log-level", "warning")
    await running.until(r"[1-9]\d*/3000")
    running.process.send_signal(signal.SIGINT)
    assert await running.ended() == 130
    done = told(running, "of 3,000 due emails are done; the same command goes on with the rest")
    assert await counts(execute) == {"sent": done, "pending": 3000 - done}
    assert len(smtpd.messages) == done
    again = await terminal("run", "--drain")
    assert await again.ended() == 0
    assert await counts(execute) == {"sent": 3000}
    assert len(smtpd.messages) == 3000


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # it is about the terminal
async def test_no_bar_breaks_the_lines_of_a_json_log_on_a_terminal(terminal, many):
    await many(30, "pending", due=LONG_AGO, finished="NULL")
    running = await terminal("run", "--drain", "--log-format", "json")
    assert await running.ended() == 0
    told = [json.loads(line) for line in running.shown.splitlines()]
    assert [line["event"] for line in told].count("attempt") == 30


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # on PostgreSQL a purge waits for nobody
async def test_who_presses_again_does_not_wait_for_the_batch_under_way(terminal, many, engine, execute):
    await many(100, "sent")
    async with engine.begin() as held:  # which takes the lock that the batch needs
        await held.exec_driver_sql("UPDATE email_outbox SET tag = 'held'")
        running = await terminal("purge", "--older-than", "30d")
        await running.until("0/100")
        running.process.send_signal(signal.SIGINT)
        await running.until(r"\x1b\[\?25h")  # the cursor is back
        running.process.send_signal(signal.SIGINT)
        assert await running.ended() == -signal.SIGINT, "which a shell tells as 130"
    assert "Traceback" not in running.shown
    assert await counts(execute) == {"sent": 100}
