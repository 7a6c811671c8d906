"""What goes wrong is told in one line and an exit code, never in a traceback."""

import os
import subprocess
import sys
from typing import Any

import pytest

NOWHERE = "postgresql://somebody:hush@127.0.0.1:1/nowhere"


def assert_one_line(answer: Any, code: int, *words: str) -> None:
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("outbox: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    for word in words:
        assert word in answer.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["frobnicate"], ["frobnicate", "outbox --help"]),
        (["statsu"], ["Did you mean", "status"]),
        (["list", "--frobnicate"], ["--frobnicate", "outbox list --help"]),
        (["--frobnicate", "list"], ["--frobnicate"]),
        (["show"], ["ID"]),
        (["show", "abc"], ["ID", "integer"]),
        (["show", str(2**70)], ["ID"]),
        (["cancel"], ["ID"]),
        (["list", "--limit", "none"], ["--limit", "integer"]),
        (["list", "--status", "lost"], ["lost"]),
        (["retry"], ["--status"]),
        (["retry", "1", "--status", "failed"], ["either"]),
        (["retry", "--status", "sent"], ["sent"]),
        (["run", "--processes", "0"], ["--processes"]),
        (["run", "--log-level", "chatty"], ["chatty"]),
        (["status", "--max-wait", "long"], ["long"]),
        (["status", "--check", "--max-failed", str(2**63)], ["--max-failed", "1000000000"]),
        (["status", "--check", "--max-in-doubt", str(2**63)], ["--max-in-doubt", "1000000000"]),
        (["status", "--check", "--max-held", str(2**63)], ["--max-held", "1000000000"]),
        ([], ["command"]),
    ],
    ids=" ".join,
)
def test_wrong_use_is_told_in_one_line(outbox, args, words):
    answer = outbox(*args)
    assert_one_line(answer, 2)
    for word in words:
        assert word.lower() in answer.err.lower()


def test_wrong_use_is_told_in_one_line_by_the_process_too(shell):
    assert_one_line(shell("frobnicate"), 2, "frobnicate")


def test_an_unreachable_database_is_told_without_its_password(shell):
    for url in (NOWHERE, NOWHERE.replace("somebody:hush@", "") + "?user=somebody&password=hush"):
        answer = shell("status", OUTBOX_DATABASE_URL=url)
        assert_one_line(answer, 2, "the database postgresql://somebody:***@127.0.0.1:1/nowhere cannot be used")
        assert "hush" not in answer.err


def test_a_database_file_that_cannot_be_used_is_named(outbox, tmp_path):
    (tmp_path / "notes.txt").write_text("no database" * 1000)
    assert_one_line(
        outbox("--database-url", "sqlite:///notes.txt", "status"), 2, "the database notes.txt cannot be used"
    )
    assert_one_line(outbox("--database-url", "sqlite:///no/a.db", "migrate"), 2, "the database no/a.db cannot be used")


@pytest.mark.parametrize(
    "url", ["sqlite:///a.db?sslmode=require", "postgresql://db/x?channel_binding=require", "sqlite:///a.db?timeout=5"]
)
def test_an_unknown_argument_of_the_database_url_is_named(shell, url):
    name = url.partition("?")[2].partition("=")[0]
    assert_one_line(shell("status", OUTBOX_DATABASE_URL=url), 2, f"database_url has the unknown argument '{name}'")


@pytest.mark.parametrize(
    "command", [["status"], ["list"], ["show", "1"], ["send", "--to", "a@example.org", "--text", "t"]]
)
def test_a_database_without_tables_asks_for_migrate(outbox, command):
    assert_one_line(outbox(*command), 2, "outbox migrate")


def test_run_asks_for_migrate_too(outbox, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    assert_one_line(outbox("run", "--drain"), 2, "outbox migrate")
    assert_one_line(outbox("run", "--drain", "--processes", "2"), 2, "outbox migrate")


def test_run_without_a_transport_names_the_variable(outbox, outbox_db):
    assert_one_line(outbox("run"), 2, "OUTBOX_SMTP_URL")


def test_run_without_a_sender_names_the_variable(outbox, outbox_db, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://mail.example.org")
    assert_one_line(outbox("run"), 2, "OUTBOX_SENDER")


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(("folder", "why"), [("gone", "No such file or directory"), ("file", "Not a directory")])
def test_run_with_a_template_folder_that_cannot_be_read_fails_no_email(
    outbox, outbox_db, sql, monkeypatch, tmp_path, folder, why, processes
):
    (tmp_path / "file").touch()
    sql("INSERT INTO email_outbox (to_addrs, template) VALUES ('ada@example.org', 'hello')")
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("OUTBOX_TEMPLATES", folder)
    answer = outbox("run", "--drain", "--processes", processes)
    assert_one_line(answer, 2, f"templates: the folder '{folder}' cannot be read: {why}")
    assert sql("SELECT status FROM email_outbox") == [("pending",)]


@pytest.mark.parametrize("url", ["oracle://x", "not a url", "sqlite://", "postgresql://h:notaport/x"])
def test_a_bad_database_url_is_told(outbox, url):
    assert_one_line(outbox("--database-url", url, "status"), 2, "database_url")


@pytest.mark.parametrize("url", ["postgresql://me:hush@db/x", "postgresql://db/x?user=me&password=hush"])
def test_a_password_among_the_arguments_is_refused(outbox, url):
    answer = outbox("--database-url", url, "status")
    assert_one_line(answer, 2, "OUTBOX_DATABASE_URL")
    assert "hush" not in answer.err


def test_an_unknown_setting_in_the_file_is_named(outbox, tmp_path):
    (tmp_path / "outbox.toml").write_text("retry_shedule = ['1s']\n")
    assert_one_line(outbox("status"), 2, "retry_shedule", "outbox.toml")


@pytest.mark.parametrize("option", ["--to", "--tag"])
def test_text_that_no_database_holds_is_refused(outbox, outbox_db, option):
    assert_one_line(outbox("list", option, "\udcff"), 2, option, r"b'\xff' is not text")


@pytest.mark.parametrize(
    ("args", "option"),
    [(["status", "--max-wait", "long"], "--max-wait"), (["send", "--in", "long"], "--in")],
)
def test_the_words_of_our_libraries_do_not_leak(outbox, args, option):
    assert_one_line(outbox(*args), 2, f"Invalid value for '{option}': 'long' is not a duration")


def test_a_config_file_that_does_not_exist_is_named(outbox):
    assert_one_line(outbox("--config", "elsewhere.toml", "status"), 2, "elsewhere.toml")


def test_a_bad_variable_is_named(outbox, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "http://example.org")
    assert_one_line(outbox("status"), 2, "OUTBOX_SMTP_URL")


def test_an_unknown_id_is_an_answer_not_an_error_of_use(outbox, outbox_db):
    assert_one_line(outbox("show", "4711"), 1, "4711")


def test_a_broken_pipe_is_quiet(shell, outbox_db, sql):
    for _ in range(3):
        sql("INSERT INTO email_outbox (to_addrs, body_text) VALUES ('a@example.org', ?)", "x")
    reader, writer = os.pipe()
    os.close(reader)  # as `head` does when it has seen enough
    ran = subprocess.run([sys.executable, "-m", "outbox", "list"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_an_error_of_ours_is_one_line_and_the_way_to_see_more(outbox, monkeypatch):
    from outbox.cli import status

    def broken(context):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(status, "settings_of", broken)
    assert_one_line(outbox("status"), 1, "ZeroDivisionError", "OUTBOX_DEBUG")
    monkeypatch.setenv("OUTBOX_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        outbox("status")


def test_ctrl_c_is_quiet(outbox, monkeypatch):
    from outbox.cli import status

    def interrupted(context):
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "settings_of", interrupted)
    answer = outbox("status")
    assert (answer.code, answer.out, answer.err) == (130, "", "")
