"""The guides, followed to the letter: every file, command and statement in them."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import make_url

from outbox.core.status import Status
from tests.fixtures.guide import (
    BLOCK,
    DOCS,
    Shell,
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

APPLICATIONS = {"FastAPI": "Subject: Welcome", "Flask": "Subject: Your code", "A script": 'filename="report.csv"'}
"""The sections about an application, and what the email has in it that each sends."""

WALKED = {
    "guides/sending.md": {"", *APPLICATIONS},
    "guides/upgrading.md": {"A backup on SQLite", "A backup on PostgreSQL", "The new version", "Back again"},
}
"""Which sections have blocks, in pages that are followed section by section."""

MORE = {
    "guides/sending.md": {"http"},
    "guides/sql.md": {"sql", "php"},
    "guides/postgresql.md": {"sql"},
    "guides/upgrading.md": {"sql"},
}
"""What the test of a page runs beside files and commands."""

SQLITE = "sqlite+aiosqlite:///shop.db"


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


@pytest.mark.parametrize("page", [*PAGES, "templates.md"])
def test_the_name_of_each_file_stands_before_it(page):
    """What is behind the dashes that begin a block is not shown where the page is read."""
    text, seen = (DOCS / page).read_text(encoding="utf-8"), 0
    for block in BLOCK.finditer(text):
        assert not block[2] or f"`{block[2]}`" in text[seen : block.start()]
        seen = block.end()


@pytest.mark.parametrize("page", PAGES)
def test_every_section_is_followed_and_every_kind_of_block_is_run(page):
    found = {section: blocks(page, section) for section in parts(page)}
    walked = {section for section, some in found.items() if some}
    assert walked == WALKED.get(page, walked)
    kinds = {kind for some in found.values() for kind, name, _ in some if not name}
    assert kinds <= {"console"} | MORE.get(page, set())


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


@pytest.mark.parametrize(("section", "said"), APPLICATIONS.items(), ids=APPLICATIONS)
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


def test_mail_goes_from_sqlite_to_several_pollers_on_postgresql(ready, database_of_app):
    Path("note.txt").write_text("Hello")
    ready.run("outbox send --to ada@example.org --subject Now --text Hello")
    ready.run("outbox send --to ada@example.org --subject Later --text Hello --in 1h --attach note.txt")
    ready.run("outbox send --to bob@example.org --subject Tried --text Hello --in 1h")
    on_sqlite(SQLITE, [("UPDATE email_outbox SET attempts = 1 WHERE subject = 'Tried'", ())])
    page, mine = "guides/postgresql.md", {"postgresql+asyncpg://app@localhost/app": f"'{database_of_app}'"}
    follow(page, ready, there=mine)
    [message] = caught()
    assert "Subject: Now" in message
    execute(page, database_of_app.replace("app@", "postgres@"))
    look = "SELECT subject, due_at > now() + interval '50 minutes' FROM email_outbox"
    files = "SELECT filename, content, current_setting('outbox.notify') FROM email_attachment"
    found = on_postgresql(database_of_app, [(look, ()), (files, ())])
    assert [list(map(tuple, rows)) for rows in found] == [[("Later", True)], [("note.txt", b"Hello", "off")]]
    assert on_sqlite(SQLITE, [("SELECT subject FROM email_outbox ORDER BY id", ())]) == [[("Now",), ("Tried",)]]
    on_postgresql(database_of_app, [("UPDATE email_outbox SET due_at = now()", ())])
    ready.run("outbox run --drain")
    assert len(caught()) == 2


@pytest.fixture
def role_app(postgres_server):
    """A role as an application has one."""
    asyncio.run(postgres_server.run("CREATE ROLE app LOGIN"))
    yield
    asyncio.run(postgres_server.run("DROP ROLE app"))


@pytest.fixture
def database_of_app(role_app, empty_postgres_database, postgres_server):
    """URL of an empty database that belongs to the role `app`."""
    asyncio.run(postgres_server.run(f"ALTER DATABASE {make_url(empty_postgres_database).database} OWNER TO app"))
    return empty_postgres_database.replace("postgres@", "app@")
