"""From a plain INSERT to the inbox, by the commands alone."""

import subprocess
import sys

BARE_INSERT = "INSERT INTO email_outbox (to_addrs, subject, body_text) VALUES ('Ada <ada@example.org>', 'Hi', 'Hello')"


def test_a_bare_insert_is_sent_by_one_drain(shell, catch, outbox_db, sql):
    sql(BARE_INSERT)
    answer = shell("run", "--drain", "--log-level", "warning", OUTBOX_SMTP_URL=catch.url)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert sql("SELECT status, attempts FROM email_outbox") == [("sent", 1)]
    assert sql("SELECT recipient, outcome FROM email_attempt") == [("ada@example.org", "accepted")]
    assert "ada@example.org: Hi [" in catch.line()


def test_several_processes_drain_together(shell, catch, outbox_db, sql):
    for _ in range(20):
        sql(BARE_INSERT)
    answer = shell("run", "--drain", "--processes", "2", "--log-level", "warning", OUTBOX_SMTP_URL=catch.url)
    assert (answer.code, answer.err) == (0, "")
    assert sql("SELECT status, count(*) FROM email_outbox GROUP BY status") == [("sent", 20)]
    assert len(list(catch.folder.iterdir())) == 20


def test_a_drain_that_leaves_mail_behind_exits_1(shell, outbox_db, sql):
    sql(BARE_INSERT)
    answer = shell("run", "--drain", OUTBOX_SMTP_URL="smtp://127.0.0.1:1")
    assert answer.code == 1
    assert sql("SELECT status, attempts FROM email_outbox") == [("pending", 0)]


def test_sending_with_wait_prints_the_outcome(shell, catch, outbox_db, sql, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", catch.url)
    with subprocess.Popen([sys.executable, "-m", "outbox", "run"], stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        try:
            while "polls" not in daemon.stderr.readline():
                assert daemon.poll() is None
            answer = shell("send", "--to", "ada@example.org", "--subject", "Hi", "--text", "Hello", "--wait")
        finally:
            daemon.terminate()
            daemon.communicate()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == ["1", "ada@example.org: accepted 250 2.0.0 caught"]
    assert daemon.returncode == 0
    assert sql("SELECT * FROM email_poller") == []
