"""The command line starts fast, because it loads only what a command needs."""

import subprocess
import sys

import pytest

HEAVY = ("alembic", "aiosqlite", "aiosmtplib", "aiosmtpd", "jinja2", "pydantic", "rich.table")


def loaded_after(code: str) -> set[str]:
    printed = f"{code}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", printed], capture_output=True, check=True).stdout.decode().split())


def test_the_commands_themselves_load_nothing_heavy():
    assert loaded_after("import outbox.cli").isdisjoint(HEAVY)


def test_status_loads_neither_alembic_nor_smtp_nor_templates(outbox_db):
    code = "import sys; sys.argv[1:] = ['status']\nfrom outbox.cli import main\ntry: main()\nexcept SystemExit: pass"
    loaded = loaded_after(code)
    assert "sqlalchemy" in loaded
    assert loaded.isdisjoint({"alembic", "aiosmtplib", "aiosmtpd", "jinja2"})


@pytest.mark.parametrize(
    "command",
    [
        "migrate",
        "run",
        "send",
        "status",
        "top",
        "list",
        "show",
        "retry",
        "cancel",
        "resolve",
        "check",
        "preview",
        "catch",
        "demo",
    ],
)
def test_every_command_explains_itself(outbox, command):
    answer = outbox(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert f"outbox {command}" in answer.out


def test_the_version_is_that_of_the_distribution(shell):
    from importlib.metadata import version

    assert shell("--version").out == f"outbox {version('email-outbox')}\n"
