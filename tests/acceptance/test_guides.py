"""The guides, followed to the letter: every file, command and statement in them."""

import importlib.util
import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from outbox.core.status import Status
from tests.fixtures.guide import DOCS, Shell, assert_printed, blocks, commands, execute, follow, free_port, wait_for

pytestmark = pytest.mark.timeout(180)

GUIDES = sorted((DOCS / "guides").iterdir())

SQLITE = "export OUTBOX_DATABASE_URL=sqlite+aiosqlite:///shop.db OUTBOX_SENDER=shop@example.org"
SERVER = "export OUTBOX_SMTP_URL=smtp://127.0.0.1:1025; outbox catch > catch.log &"


@pytest.fixture
def shell(forked_outbox):
    with Shell(forked_outbox) as shell:
        yield shell


@pytest.fixture
def ready(shell, sqlite_template):
    """A shell with a migrated SQLite file and a running catcher."""
    shutil.copy(sqlite_template, "shop.db")
    shell.run(SQLITE)
    shell.run(SERVER)
    return shell


def caught() -> list[str]:
    return [path.read_text() for path in sorted(Path("caught").iterdir())]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_is_named_in_the_readme_and_its_links_lead_somewhere(guide):
    assert f"docs/guides/{guide.name}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", guide.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (guide.parent / target).exists(), target


def test_the_first_email_is_sent(shell):
    follow("guides/first_email.md", shell)
    [message] = caught()
    assert "Subject: Your order A-1001" in message


def test_a_script_sends_once_however_often_it_runs(shell):
    follow("guides/sending.md", shell)
    [message] = caught()
    assert "report.csv" in message


def test_fastapi_sends_beside_its_requests(ready):
    write_files("guides/sending.md", ready)
    port = free_port()
    ready.run(f"uvicorn --port {port} api:app > api.log 2>&1 &")
    wait_for(port)
    assert ask(f"http://127.0.0.1:{port}/welcome/ada@example.org", b"") == {"email": 1}
    while ask(f"http://127.0.0.1:{port}/emails/1")["status"] != "sent":
        pass
    [message] = caught()
    assert "Subject: Welcome" in message


def test_flask_enqueues_in_its_transaction(ready, monkeypatch):
    write_files("guides/sending.md", ready)
    monkeypatch.setenv("OUTBOX_DATABASE_URL", "sqlite+aiosqlite:///shop.db")
    found = importlib.util.spec_from_file_location("shop", "shop.py")
    assert found
    assert found.loader
    shop = importlib.util.module_from_spec(found)
    found.loader.exec_module(shop)
    assert shop.app.test_client().post("/reset/ada@example.org").json == {"email": 1}
    ready.run("outbox run --drain")
    assert '"erased": true' in ready.run("outbox show 1 --json") or "not shown" in ready.run("outbox show 1")
    [message] = caught()
    assert "Subject: Your code" in message
    shop.engine.dispose()


def test_another_language_sends_by_sql_and_reads_what_became_of_it(ready):
    Path("templates").mkdir()
    Path("templates/code.txt").write_text("{{ code }}")
    Path("templates/code.subject.txt").write_text("Your code")
    ready.run("export OUTBOX_TEMPLATES=templates")
    before = execute("guides/sql.md", Path("shop.db"), stop="Stopping one")
    assert not any(before)
    execute("guides/sql.md", Path("shop.db"), start="Stopping one", stop="What became of it")
    ready.run("outbox run --drain")
    tagged, _, counted = execute("guides/sql.md", Path("shop.db"), start="What became of it")
    assert [row[1] for row in tagged] == [Status.SENT]
    assert set(counted) == {("cancelled", 1), ("sent", 2)}
    assert len(caught()) == 2


def test_several_providers_share_the_mail(shell):
    follow("guides/providers.md", shell)
    assert len(caught()) == 2


def test_mail_goes_from_sqlite_to_several_pollers_on_postgresql(ready, empty_postgres_database):
    ready.run("outbox send --to ada@example.org --subject Hi --text Hello")
    for kind, _, block in blocks("guides/postgresql.md"):
        for command, shown in commands(block) if kind == "console" else ():
            mine = command.replace("postgresql+asyncpg://app@localhost/app", f"'{empty_postgres_database}'")
            assert_printed(command, shown, ready.run(mine))
    assert len(caught()) == 1
    ready.run("outbox send --to bob@example.org --subject Hi --text Hello")
    ready.run("outbox run --drain --processes 2")
    assert len(caught()) == 2


def test_upgrading_is_migrating(ready):
    follow("guides/upgrading.md", ready)


def test_what_to_look_at_when_mail_is_not_moving(ready):
    ready.run("outbox send --to ada@example.org --subject Hi --text Hello")
    follow("guides/not_moving.md", ready, fails=("outbox status --check --max-wait 5m",))


def ask(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, body) as answer:
        return json.load(answer)


def write_files(page: str, shell: Shell) -> None:
    for _, name, block in blocks(page):
        if name:
            shell.write(name, block)
