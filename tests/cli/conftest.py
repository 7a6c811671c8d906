"""The command line as its users have it: in this process, where that is enough, or as a process of its own."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from outbox import cli
from outbox.db.engine import create_engine


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def outbox(monkeypatch, capsys):
    """Run a command in this process, as `main` does."""

    monkeypatch.setenv("COLUMNS", "200")

    def outbox(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["outbox", *args])
        code = cli._exit_code()
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return outbox


@pytest.fixture
def shell():
    """Run a command as a process. Whatever happens, it shows no traceback."""

    def shell(*args: str, stdin: str | bytes = b"", **environment: str) -> Answer:
        ran = subprocess.run(
            [sys.executable, "-m", "outbox", *args],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=os.environ | environment,
            check=False,
            timeout=50,
        )
        answer = Answer(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
        assert "Traceback" not in answer.err, answer.err
        return answer

    return shell


@pytest.fixture
def outbox_db(sqlite_database, monkeypatch) -> Path:
    """A migrated SQLite file that all commands of this test use."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", sqlite_database)
    return Path(sqlite_database.removeprefix("sqlite+aiosqlite:///"))


@pytest.fixture
def sql(outbox_db):
    """Plain SQL by another driver, committed."""

    def sql(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(outbox_db)) as connection, connection:
            return connection.execute(statement, parameters).fetchall()

    return sql


@dataclass
class CatchProcess:
    """A running `outbox catch`."""

    process: subprocess.Popen[str]
    stdout: IO[str]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def line(self) -> str:
        """The next line it prints; waits for it."""
        return self.stdout.readline()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def catch(tmp_path):
    """A running `outbox catch` on a free port."""
    folder = tmp_path / "caught"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "outbox", "catch", "--port", "0", "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            assert process.stdout
            first = process.stdout.readline()
            port = re.search(r":(\d+),", first)
            assert port, first + process.stdout.read()
            yield CatchProcess(process, process.stdout, int(port[1]), folder)
        finally:
            process.kill()


@pytest.fixture
def engine_sql(database):
    """Plain SQL on either database, committed, from a loop of its own."""

    async def execute(statement: str) -> None:
        engine = create_engine(database)
        async with engine.begin() as connection:
            await connection.exec_driver_sql(statement)
        await engine.dispose()

    return lambda statement: asyncio.run(execute(statement))
