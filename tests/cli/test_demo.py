"""The demo keeps what it says, and leaves nothing running."""

import os
import re
import signal
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import pytest


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The demo as a process; its folder is below this test's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "outbox", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_demo_comes_out_as_told(demo):
    out, err = demo.communicate(timeout=50)
    assert (demo.returncode, err) == (0, ""), out
    assert "all as it should be" in out
    assert "550 5.1.1 no such user" in out
    folder = Path(found(r"folder +(\S+)", out))
    received = [message_from_bytes(path.read_bytes()) for path in (folder / "caught").glob("*.eml")]
    assert len(received) == 4
    [order] = [message for message in received if "A-1001" in message["Subject"]]
    kinds = {part.get_content_type() for part in order.walk()}
    assert {"text/plain", "text/html", "image/png", "application/pdf"} <= kinds
    assert not is_running(int(found(r"pid (\d+)", out)))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_demo_that_is_broken_off_leaves_no_daemon_behind(demo, number, code):
    daemon = int(found(r"pid (\d+)", next(line for line in demo.stdout if "pid" in line)))
    demo.send_signal(number)
    _, err = demo.communicate(timeout=50)
    assert (demo.returncode, err) == (code, "")
    assert not is_running(daemon)
