"""The local catcher keeps everything it is sent."""

import signal
import smtplib
import socket
import stat
from collections.abc import Sequence
from typing import Any

import pytest


def deliver(catch: Any, content: bytes, to: Sequence[str] = ("b@example.org",)) -> None:
    with smtplib.SMTP("127.0.0.1", catch.port) as client:
        client.sendmail("a@example.org", list(to), content)


def test_an_email_is_saved_and_told_in_one_line(catch):
    deliver(
        catch, b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n..dot\r\n", to=["b@example.org", "c@example.org"]
    )
    line = catch.line()
    [path] = catch.folder.iterdir()
    for word in ("a@example.org", "b@example.org, c@example.org", "Grüße", path.name):
        assert word in line
    assert path.read_bytes() == b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n..dot\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_equal_subjects_never_overwrite_each_other(catch):
    for body in (b"one", b"two", b"three"):
        deliver(catch, b"Subject: same\r\n\r\n" + body + b"\r\n")
        catch.line()
    bodies = {path.read_bytes().partition(b"\r\n\r\n")[2] for path in catch.folder.iterdir()}
    assert bodies == {b"one\r\n", b"two\r\n", b"three\r\n"}


@pytest.mark.parametrize(
    "subject", [b"../../etc/passwd", b"=?utf-8?b?AC8uLi8KGw==?=", b"\xff\xfe", b"=?broken?", b"", b"x" * 900]
)
def test_no_subject_leads_out_of_the_folder_or_into_the_terminal(catch, subject):
    deliver(catch, b"Subject: " + subject + b"\r\n\r\nx\r\n")
    line = catch.line()
    assert line.removesuffix("\n").isprintable()
    [path] = catch.folder.iterdir()
    assert path.suffix == ".eml"
    assert path.name.isascii()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly_even_with_a_client_connected(catch, number):
    with smtplib.SMTP("127.0.0.1", catch.port) as client:
        client.ehlo()
        assert catch.stop(number) == 0
        client.close()
    assert catch.stdout.read() == ""


def test_a_port_in_use_is_told_in_one_line(shell):
    with socket.create_server(("127.0.0.1", 0)) as other:
        answer = shell("catch", "--port", str(other.getsockname()[1]))
    assert answer.code == 2
    assert "in use" in answer.err
    assert answer.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_told_in_one_line(shell, tmp_path):
    (tmp_path / "file").touch()
    answer = shell("catch", "--port", "0", "--dir", "file/below")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
