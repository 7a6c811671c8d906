"""docs/templates.md says what happens: every block in it is run, in its order, and what it prints is compared."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from outbox import invitation
from outbox.mail.templates import Templates

GUIDE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) · (.+) \|$", re.MULTILINE)


@pytest.fixture
def shell(monkeypatch, sqlite_database) -> "Shell":
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OUTBOX_DATABASE_URL", sqlite_database)
    return Shell(sqlite_database.removeprefix("sqlite+aiosqlite:///"))


class Shell:
    """What a reader does with the blocks."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._names: dict[str, object] = {}

    def console(self, _name: str, block: str) -> None:
        for command, printed in commands(block):
            if match := re.fullmatch(r"export (\w+)=(\S+)", command):
                os.environ[match[1]] = match[2]
                continue
            ran = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=50)
            assert (ran.stdout.rstrip("\n"), ran.stderr) == (printed, ""), command

    def python(self, _name: str, block: str) -> None:
        exec(block, self._names)

    def sql(self, _name: str, block: str) -> None:
        visit = self._names.get("visit")
        ics = invitation(**visit).content if isinstance(visit, dict) else None
        with closing(sqlite3.connect(self._database)) as connection, connection:
            for statement in block.split(";\n"):
                if statement.strip():
                    connection.execute(statement, {"ics": ics} if ":ics" in statement else {})

    def file(self, name: str, block: str) -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(block, encoding="utf-8")


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command, and what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed.rstrip("\n")


@pytest.mark.timeout(240)
def test_everything_in_the_guide_happens_as_it_says(shell, monkeypatch):
    monkeypatch.setenv("OUTBOX_TEMPLATES", "")
    for kind, name, block in BLOCK.findall(GUIDE):
        getattr(shell, "file" if name else kind)(name, block)


def test_the_filters_give_what_their_table_says(tmp_path):
    rows = ROW.findall(GUIDE)
    assert len(rows) == 8
    for filter, value, *said in rows:
        (tmp_path / "x.txt").write_text(f"{{{{ {value}|{filter} }}}}", encoding="utf-8")
        given = [Templates(tmp_path).render("x", {}, locale).text for locale in ("en", "de")]
        assert [re.sub("[\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]", " ", text or "") for text in given] == said
