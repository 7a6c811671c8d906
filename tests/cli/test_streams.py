"""Streams that are closed or full: what has been done is not undone by not being able to say so."""

import os
import subprocess
import sys

import pytest

SEND = ("send", "--to", "ada@example.org", "--text")


@pytest.fixture
def redirected():
    """Run a command with the redirections of a shell; exit code and stderr."""

    def run(redirections: str, *args: str, before: str = "", **environment: str) -> tuple[int, str]:
        line = f'{before}exec "$@" {redirections}'
        command = ["/bin/sh", "-c", line, "sh", sys.executable, "-m", "outbox", *args]
        ran = subprocess.run(command, stderr=subprocess.PIPE, env=os.environ | environment, check=False, timeout=50)
        assert b"Traceback" not in ran.stderr
        assert b"unexpected" not in ran.stderr
        return ran.returncode, ran.stderr.decode()

    return run


@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["status", "--check"], ["migrate"], ["--version"]])
def test_a_closed_stdout_is_like_dev_null(redirected, outbox_db, args):
    assert redirected(">&-", *args) == (0, "")


@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["status"], ["--version"], ["send", "--help"]])
def test_a_full_disk_behind_stdout_is_told_in_one_line(redirected, outbox_db, args):
    assert redirected(">/dev/full", *args) == (1, "outbox: the answer could not be written: No space left on device\n")


@pytest.mark.parametrize("option", ["--html", "--eml"])
def test_a_preview_that_stdout_has_no_room_for_is_no_wrong_use(redirected, tmp_path, option):
    (tmp_path / "hi.txt").write_text("Hello")
    (tmp_path / "hi.html").write_text("<p>Hello</p>")
    said = "outbox: the answer could not be written: No space left on device\n"
    ran = redirected(">/dev/full", "preview", "hi", option, "-", OUTBOX_TEMPLATES=str(tmp_path))
    assert ran == (1, said)


def test_a_terminal_without_a_size_is_no_reason_to_show_nothing(shell, outbox_db):
    assert "pending" in shell("status", COLUMNS="0", LINES="0").out


def test_a_terminal_without_lines_is_shown_dashes(shell, outbox_db):
    assert shell("status", PYTHONIOENCODING="ascii").out.splitlines()[1].startswith("---")


def test_an_email_that_is_enqueued_is_exit_0_although_stdout_is_closed(redirected, outbox_db, sql):
    assert redirected(">&-", *SEND, "x") == (0, "")
    assert sql("SELECT count(*) FROM email_outbox") == [(1,)]


def test_an_email_that_is_enqueued_is_exit_0_although_stdout_is_full_and_its_id_is_told(redirected, outbox_db, sql):
    said = "outbox: email 1 is enqueued, but stdout cannot be written: No space left on device\n"
    assert redirected(">/dev/full", *SEND, "x") == (0, said)
    assert sql("SELECT count(*) FROM email_outbox") == [(1,)]


def test_the_outcome_that_was_waited_for_decides_although_stdout_is_full(redirected, outbox_db, catch):
    sender = subprocess.Popen([sys.executable, "-m", "outbox", "run"], env=os.environ | {"OUTBOX_SMTP_URL": catch.url})
    try:
        code, said = redirected(">/dev/full", *SEND, "x", "--wait")
    finally:
        sender.terminate()
        sender.wait(30)
    assert code == 0
    assert said.splitlines()[0].startswith("outbox: email 1 is enqueued")


def test_a_closed_stdin_is_not_an_empty_text(redirected, outbox_db, sql):
    code, said = redirected("<&-", *SEND, "-")
    assert (code, said) == (2, "outbox: Invalid value: --text -: stdin is closed (see `outbox send --help`)\n")
    assert sql("SELECT count(*) FROM email_outbox") == [(0,)]


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_the_exit_code_tells_where_stderr_cannot(redirected, redirection):
    assert redirected(redirection, "frobnicate") == (2, "")


def test_a_current_folder_that_was_deleted_is_told(redirected):
    code, said = redirected("", "status", before="mkdir gone; cd gone; rmdir ../gone; ")
    assert code == 2
    assert said == "outbox: the current folder cannot be used, change to another: No such file or directory\n"
