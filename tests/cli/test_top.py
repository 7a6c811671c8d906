"""`top` on a real terminal, and as one frame elsewhere."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
"""What a terminal is told to show another screen, and the one from before."""

ATTEMPT = "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code, reply, transport) VALUES"


class Terminal:
    """`outbox top` on a terminal of its own."""

    def __init__(self, *arguments, **environment):
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        termios.tcsetwinsize(self.theirs, (40, 160))
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "outbox", "top", *arguments],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=inherited | {"TERM": "xterm"} | environment,
        )  # fmt: skip
        self.said = b""

    def until(self, text):
        """What it has said, as soon as `text` is in it."""
        while text not in self.said:
            self.said += os.read(self.ours, 65536)
        return self.said

    def again(self, text):
        """The same, of what it says from now on."""
        self.said = b""
        return self.until(text)

    def press(self, keys):
        os.write(self.ours, keys)

    def ended(self):
        """Its exit code; the terminal must be as it was."""
        code = self.process.wait(20)
        assert termios.tcgetattr(self.theirs)[:4] == self.before[:4]
        return code

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    started = []

    def start(*arguments, **environment):
        started.append(Terminal(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_the_screen_is_drawn_anew_until_q_and_the_terminal_is_left_as_it_was(terminal, engine_sql):
    top = terminal("--interval", "100ms")
    for word in (ENTER, b"urgent", b"not paused", b"none", b"q quits"):
        top.until(word)
    engine_sql("INSERT INTO email_poller (name, host, pid, version) VALUES ('poller-7', 'here', 1, '1.0')")
    top.again(b"poller-7")
    top.press(b"xQ")
    assert top.until(LEAVE)
    assert top.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_well_as_q(terminal, number):
    top = terminal()
    top.until(b"q quits")
    top.process.send_signal(number)
    assert top.until(LEAVE)
    assert top.ended() == 0


def test_a_database_that_fails_meanwhile_is_told_and_looked_at_again(terminal, engine_sql):
    top = terminal("--interval", "100ms")
    top.until(b"q quits")
    engine_sql("ALTER TABLE email_poller RENAME TO away")
    top.again(b"cannot be used")
    engine_sql("ALTER TABLE away RENAME TO email_poller")
    engine_sql("INSERT INTO email_poller (name, host, pid, version) VALUES ('poller-8', 'here', 1, '1.0')")
    top.again(b"poller-8")
    top.press(b"q")
    assert top.ended() == 0


def test_a_dumb_terminal_is_shown_one_look(terminal):
    top = terminal(TERM="dumb")
    assert ENTER not in top.until(b"latest failures")
    assert top.ended() == 0


def test_a_terminal_whose_size_nobody_knows_is_shown_something(terminal):
    top = terminal(COLUMNS="0", LINES="0")
    top.until(b"q quits")
    top.press(b"q")
    assert top.ended() == 0


@pytest.fixture
def filled(database, monkeypatch, engine_sql):
    """A database with something of everything."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    for statement in (
        "INSERT INTO email_outbox (to_addrs, body_text, priority) VALUES ('a@x.org', 's3cret', 0)",
        "INSERT INTO email_outbox (to_addrs, body_text, due_at) VALUES ('a@x.org', 's3cret', '2999-01-01 00:00:00')",
        "INSERT INTO email_poller (name, host, pid, version) VALUES ('poller-1', 'here', 1, '1.0')",
        "INSERT INTO email_transport (name, paused_until, reason) VALUES ('bulk', '2999-01-01 00:00:00', '[red]down')",
        f"{ATTEMPT} (1, 1, 'eve@x.org', 'refused', 550, '5.1.1 no such user', 'bulk')",
        f"{ATTEMPT} (1, 1, 'ada@x.org', 'accepted', 250, 'ok', 'other')",
    ):
        engine_sql(statement)


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_one_frame_has_lanes_rates_transports_pollers_and_failures(outbox, filled, arguments):
    answer = outbox("top", *arguments)
    assert (answer.code, answer.err) == (0, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["normal", "0", "1", "0"] in lines
    [urgent] = [line for line in lines if line[:1] == ["urgent"]]
    assert (urgent[1], urgent[-2:]) == ("1", ["0", "0"])
    [bulk] = [line for line in lines if line[:2] == ["bulk", "paused"]]
    assert bulk[2:] == ["2999-01-01", "00:00:00", "UTC", "0.0", "0.0", "0.1", "0.0", "[red]down"]
    assert ["other", "0.1", "0.0", "0.0", "0.0"] in lines
    [poller] = [line for line in lines if line[:1] == ["poller-1"]]
    assert poller[-1] == "yes"
    [failure] = [line for line in lines if "eve@x.org" in line]
    assert failure[2:] == ["1", "eve@x.org", "refused", "550", "5.1.1", "no", "such", "user"]
    assert "ada@x.org" not in answer.out
    assert "s3cret" not in answer.out


def test_too_short_an_interval_is_wrong_use(outbox, outbox_db):
    answer = outbox("top", "--interval", "10ms")
    assert answer.code == 2
    assert "--interval must be 100ms or more" in answer.err


def test_a_database_without_tables_is_told_in_one_line(outbox, empty_database, monkeypatch):
    monkeypatch.setenv("OUTBOX_DATABASE_URL", empty_database)
    answer = outbox("top")
    assert (answer.code, answer.out) == (2, "")
    assert "run `outbox migrate`" in answer.err
