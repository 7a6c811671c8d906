"""What the demo shows: progress while it runs, the table at the end. Also where there is no terminal."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from outbox.core.address import parse_list
from outbox.core.text import clean_text
from outbox.db.models import Email
from outbox.demo.catcher import Caught
from outbox.demo.shop import EXPECTED

NARROW = 72
"""Columns of a terminal that has no room for errors beside addresses."""

_STYLES = {"sent": "green", "failed": "red", "sending": "cyan"}


Update = Callable[[Sequence[Email], Sequence[Caught]], None]
"""Shows the rows and the caught emails as they are now."""


class Screen:
    """Writes to stdout."""

    def __init__(self) -> None:
        wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140
        self._console = Console(highlight=False, width=wide)

    def say(self, text: str) -> None:
        """One line, however long: what it names can be copied."""
        self._console.print(Text(text), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[Update]:
        """A function to call whenever rows or caught emails may have changed."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield self._line_by_line()
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            yield lambda emails, caught: live.update(_progress(emails, caught), refresh=True)

    def _line_by_line(self) -> Update:
        """Progress where nothing can be drawn over: a line for each change."""
        shown: dict[int, tuple[str, str | None]] = {}

        def update(emails: Sequence[Email], caught: Sequence[Caught]) -> None:  # noqa: ARG001  # see Update
            for email in emails:
                now = email.status, email.last_error
                if shown.get(email.id) != now:
                    shown[email.id] = now
                    self.say(clean_text(f"{email.tag}: {email.status} {email.last_error or ''}"))

        return update

    def conclude(self, emails: Sequence[Email], faults: Sequence[str], folder: Path, seconds: float) -> None:
        """The status table as the database has it, and where everything lies."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        columns = ["tag", "status", "tries", "to", "last error"]
        if self._console.width < NARROW:
            columns.pop()
        for column in columns:
            table.add_column(column, no_wrap=column != "last error")  # addresses are never folded
        for email in emails:
            to = ", ".join(mailbox.address for mailbox in parse_list(email.to_addrs).mailboxes)
            cells = (email.tag, email.status, str(email.attempts), to, email.last_error)
            shown = [Text(clean_text(cell or ""), _STYLES.get(cell or "", "")) for cell in cells]
            table.add_row(*shown[: len(columns)])
        self._console.print(Text("email_outbox at the end", "bold"))
        self._console.print(table)
        self.say("\nThe order whose payment was declined left no row: its transaction rolled back.")
        self.say(f"received emails  {folder / 'caught'}/*.eml")
        self.say(f"daemon's log     {folder / 'daemon.log'}")
        self.say(f"look around      outbox --database-url sqlite:///{folder / 'outbox.db'} list")
        for fault in faults:
            self._console.print(Text(f"✗ {fault}", "red"))
        if not faults:
            self._console.print(Text(f"✓ all as it should be, in {seconds:.1f} s", "green"))


def _progress(emails: Sequence[Email], caught: Sequence[Caught]) -> Table:
    """One line for each email of the demo."""
    found = {email.tag: email for email in emails}
    table = Table.grid(padding=(0, 2))
    for expected in EXPECTED:
        email = found.get(expected.tag)
        status = email.status if email else "no row"
        error = clean_text(email.last_error or "", 60) if email else ""
        table.add_row(Text(expected.told), Text(status, _STYLES.get(status, "")), Text(error, "dim"))
    table.add_row(Text(f"received by the SMTP server: {len(caught)}", "dim"))
    return table
