"""The guides, followed to the letter: every file, command and statement in them."""

import re
import shutil
from pathlib import Path

import pytest

from outbox.core.status import Status
from tests.fixtures.guide import (
    DOCS,
    Shell,
    assert_printed,
    blocks,
    commands,
    execute,
    follow,
    on_postgresql,
    on_sqlite,
    parts,
)
from tests.fixtures.wheel import lend_dependencies, only_from

pytestmark = pytest.mark.timeout(180)

GUIDES = sorted((DOCS / "guides").iterdir())
PAGES = [f"guides/{guide.name}" for guide in GUIDES]

SQLITE = "sqlite+aiosqlite:///shop.db"


@pytest.fixture
def shell(forked_outbox):
    with Shell(forked_outbox) as shell:
        yield shell


def start(shell: Shell, database: str) -> None:
    """A catcher, and the settings for it."""
    shell.run(f"export OUTBOX_DATABASE_URL='{database}' OUTBOX_SENDER=shop@example.org")
    shell.run("export OUTBOX_SMTP_URL=smtp://127.0.0.1:1025")
    shell.run("outbox catch > catch.log &")


@pytest.fixture
def ready(shell, sqlite_template):
    """A shell with a migrated SQLite file and a running catcher."""
    shutil.copy(sqlite_template, "shop.db")
    start(shell, SQLITE)
    return shell


def caught() -> list[str]:
    return [path.read_text() for path in sorted(Path("caught").iterdir())]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_is_named_in_the_readme_and_its_links_lead_somewhere(guide):
    assert f"docs/guides/{guide.name}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", guide.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (guide.parent / target).exists(), target


def test_the_first_email_is_sent_from_a_fresh_environment(wheel):
    page = "guides/first_email.md"
    beginning, install, *rest = parts(page)
    with Shell(environment=only_from(wheel)) as shell:
        follow(page, shell, beginning, install)
        lend_dependencies(Path(".venv"))
        follow(page, shell, *rest)
        assert shell.run("command -v outbox").strip() == str(Path(".venv/bin/outbox").absolute())
        for line in sorted(installations() - installations(page)):
            assert "WARNING" not in shell.run(line)
    [message] = caught()
    assert "Subject: Your order A-1001" in message


def installations(*pages: str) -> set[str]:
    """The lines that install something; without an argument, those of all guides."""
    found = [block for page in pages or PAGES for kind, _, block in blocks(page) if kind == "console"]
    return {command for block in found for command, _ in commands(block) if command.startswith("pip ")}


@pytest.mark.parametrize(
    ("section", "said"),
    [("FastAPI", "Subject: Welcome"), ("Flask", "Subject: Your code"), ("A script", 'filename="report.csv"')],
)
def test_an_application_in_python_sends_what_it_has_committed(shell, section, said):
    follow("guides/sending.md", shell, "", section)
    [message] = caught()
    assert said in message


def test_another_language_sends_by_sql_and_reads_what_became_of_it(shell, database):
    page = "guides/sql.md"
    start(shell, database)
    for name, body in {"code": "{{ code }}", "order": "{{ number }}"}.items():
        shell.write(f"templates/{name}.txt", body)
        shell.write(f"templates/{name}.subject.txt", f"Your {name}")
    shell.run("export OUTBOX_TEMPLATES=templates")
    *inserts, reads = [section for section in parts(page) if section]
    assert not any(execute(page, database, *inserts))
    in_php(page, database)
    shell.run("outbox run --drain")
    tagged, [attempt], counted = execute(page, database, reads)
    assert [row[1] for row in tagged] == [Status.SENT]
    assert tuple(attempt)[:3] == ("ada@example.org", "accepted", 250)
    assert {tuple(row) for row in counted} == {("cancelled", 1), ("sent", 3)}
    assert len(caught()) == 3


def in_php(page: str, database: str) -> None:
    """The statements of its sample, as PHP would have them executed."""
    run = on_sqlite if database.startswith("sqlite") else on_postgresql
    [sample] = [block for kind, _, block in blocks(page) if kind == "php"]
    order, email = re.findall(r"prepare\('(.+)'\)", sample)
    values = ("ada@example.org", "order", '{"number": "A-1"}', "order-A-1")
    run(database, [("CREATE TABLE orders (number TEXT)", ()), (order, ("A-1",)), (email, values)])


def test_several_providers_share_the_mail_and_one_stands_in_for_another(shell):
    follow("guides/providers.md", shell)
    assert [len(list(Path(folder).iterdir())) for folder in ("caught", "caught-by-the-other")] == [2, 2]


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
