"""docs/guides/not_moving.md, trouble by trouble: each is made, and what the page says is what the commands say."""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.guide import Shell, follow, on_sqlite, parts, wait_until

pytestmark = pytest.mark.timeout(180)

PAGE = "guides/not_moving.md"
SQLITE = "sqlite+aiosqlite:///outbox.db"
SETTINGS = """
sender = "Shop <shop@example.org>"
poll_interval = "100ms"
[transports.default]
url = "URL"
[domain_rates]
"slow.example" = "1/hour"
[flood_guard]
limit = "1/hour"
"""
CHECK = "outbox status --check --max-wait 0s"


class Trouble:
    """An outbox on SQLite, and the lines of the page that its commands have said."""

    def __init__(self, shell: Shell, smtpd) -> None:
        self.shell, self.run, self.smtpd = shell, shell.run, smtpd
        self.left = {section: set(_lines(section)) for section in list(parts(PAGE))[1:3]}
        Path("outbox.toml").write_text(SETTINGS.replace("URL", smtpd.url))

    def sql(self, statement: str) -> list[Any]:
        """The rows."""
        return on_sqlite(SQLITE, [(statement, ())])[0]

    def send(self, to: str, more: str = "") -> int:
        """Its id."""
        return int(self.run(f"outbox send --to {to} --subject Hi --text Hello {more}"))

    def start(self) -> None:
        """A daemon, as soon as it polls."""
        self.sql("DELETE FROM email_poller")
        self.run("outbox run > log 2>&1 &")
        wait_until(lambda: self.sql("SELECT 1 FROM email_poller"))

    def signal(self, number: signal.Signals) -> None:
        """To the daemon."""
        os.kill(self.sql("SELECT pid FROM email_poller")[0][0], number)

    def status_says(self, line: str) -> None:
        """That line of the page, sooner or later: a daemon has its pace."""
        self._says(line, "Is anybody sending, and can it?", CHECK)

    def show_says(self, line: str, id: int) -> None:
        """The same."""
        self._says(line, "Why is this email not sent?", f"outbox show {id}")

    def _says(self, line: str, section: str, command: str) -> None:
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")), re.DOTALL)
        printed = [""]
        try:
            wait_until(lambda: pattern.search(self._look(printed, command)))
        except TimeoutError:
            pytest.fail(f"{command} does not say {line!r}, but: {printed[-1]}")
        self.left[section].remove(line)

    def _look(self, printed: list[str], command: str) -> str:
        printed.append(self.run(f"{command} || true"))
        return printed[-1]


def _lines(section: str) -> Iterator[str]:
    """The first column of the table; what stands between two lines in it may be anything."""
    for row in re.findall(r"^\| (.*?) \|", parts(PAGE)[section], re.MULTILINE):
        if found := re.findall(r"`(.+?)`", row.removeprefix("`show` says")):
            yield "…".join(found)


@pytest.mark.smtpd(auth=("shop", "secret"))
async def test_the_commands_say_what_the_page_says_in_each_trouble(shell, smtpd, sqlite_template):
    shutil.copy(sqlite_template, "outbox.db")
    trouble = Trouble(shell, smtpd)
    for make in (nobody_sends, emails_have_troubles, the_poller_has_gone, the_transport_has_troubles, revisions_differ):
        await asyncio.to_thread(make, trouble)
    assert not any(trouble.left.values()), "these lines of the page were not seen"


def nobody_sends(trouble: Trouble) -> None:
    first = trouble.send("ada@example.org")
    follow(PAGE, trouble.shell, fails={"outbox status --check --max-wait 5m": 1})
    trouble.status_says("no poller is alive")
    trouble.show_says("no poller is alive", first)
    trouble.show_says("scheduled for …", trouble.send("ada@example.org", "--in 1h"))
    cancelled = trouble.send("ada@example.org", "--in 1h")
    trouble.run(f"outbox cancel {cancelled}")
    trouble.show_says("it is cancelled", cancelled)
    late = trouble.send("late@example.org")
    trouble.sql(f"UPDATE email_outbox SET expires_at = '2020-01-01 00:00:00' WHERE id = {late}")
    trouble.show_says("expired at …; a poller will finish it", late)


def emails_have_troubles(trouble: Trouble) -> None:
    trouble.smtpd.faults |= {
        "rcpt": {"later@example.org": "450 4.7.1 greylisted", "never@example.org": "550 5.1.1 no such user"},
        "dot": {"doubt@example.org": "drop"},
    }
    trouble.start()
    trouble.show_says("will be tried again at … after: …", trouble.send("later@example.org"))
    trouble.show_says("email … failed…not sent: …", trouble.send("never@example.org"))
    in_doubt = trouble.send("bob@example.org", "--from doubt@example.org --on-doubt hold")
    trouble.show_says("nobody knows whether it went out", in_doubt)
    [(late,)] = trouble.sql("SELECT id FROM email_outbox WHERE to_addrs = 'late@example.org'")
    trouble.show_says("expired before it was sent", late)
    trouble.send("a@slow.example")
    trouble.show_says("it waits for the limit of …", trouble.send("b@slow.example"))
    trouble.status_says("mail has been due for …; … is at its limit until …")
    trouble.send("eve@example.org")
    trouble.show_says("held: …", trouble.send("eve@example.org"))


def the_poller_has_gone(trouble: Trouble) -> None:
    trouble.smtpd.faults["data"] = {"slow@example.org": lambda _: asyncio.Event().wait()}
    waits = trouble.send("carl@example.org", "--from slow@example.org")
    trouble.show_says("being sent by …", waits)
    trouble.signal(signal.SIGSTOP)
    second = trouble.send("dora@example.org")
    trouble.show_says("a poller will take it next", second)
    trouble.sql("UPDATE email_poller SET seen_at = datetime('now', '-25 seconds')")
    trouble.show_says("was last seen … ago; if it hangs, restart it", second)
    trouble.signal(signal.SIGKILL)
    trouble.sql("UPDATE email_poller SET seen_at = datetime('now', '-31 seconds')")
    trouble.show_says("claimed by …, which is not alive any more", waits)
    trouble.sql(
        f"UPDATE email_outbox SET status = 'cancelled', due_at = NULL, finished_at = created_at WHERE id = {waits}"
    )


def the_transport_has_troubles(trouble: Trouble) -> None:
    nowhere = trouble.send("gina@example.org")
    trouble.sql(f"UPDATE email_outbox SET transport = 'gone' WHERE id = {nowhere}")
    trouble.run("outbox pause")
    trouble.status_says("paused by hand since …")
    trouble.start()
    trouble.show_says("transport … is not configured here", nowhere)
    trouble.sql(f"DELETE FROM email_outbox WHERE id = {nowhere}")
    trouble.smtpd.faults["greeting"] = "421 4.3.2 shutting down"
    trouble.run("outbox resume")
    waits = trouble.send("fred@example.org")
    trouble.status_says("transport … is paused until …")
    trouble.show_says("transport … is paused …", waits)
    trouble.signal(signal.SIGSTOP)
    trouble.sql("UPDATE email_transport SET paused_until = '2020-01-01 00:00:00'")
    trouble.show_says("transport … is on probation", waits)
    trouble.smtpd.faults |= {"greeting": None, "auth": "535 5.7.8 no"}
    trouble.signal(signal.SIGCONT)
    trouble.status_says("transport … is paused until …: configuration: …")
    trouble.signal(signal.SIGKILL)


def revisions_differ(trouble: Trouble) -> None:
    for revision, line in (("0003", "not …"), ("9999", "newer than this version")):
        trouble.sql(f"UPDATE outbox_alembic_version SET version_num = '{revision}'")
        trouble.status_says(f"the outbox tables are at revision …, {line}")
