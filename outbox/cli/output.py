"""How commands speak: tables and lines for people, JSON for programs, one line on stderr for what is wrong."""

import errno
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import typer

from outbox.core.text import clean_text

PIPE_WIDTH = 200
"""Columns of a table that is not written to a terminal: wide enough for grep to find whole lines."""

STYLES = {
    "sent": "green",
    "accepted": "green",
    "partial": "yellow",
    "in_doubt": "yellow",
    "deferred": "yellow",
    "failed": "red",
    "refused": "red",
    "expired": "red",
}
"""Colours of statuses and outcomes."""

LONG = frozenset({"to", "recipient", "subject", "reply", "reason", "last error"})
"""Columns that take several lines where the terminal is narrow."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What writing fails with where there is no room, or nothing to write to."""


def open_closed_streams() -> None:
    """A stream that the caller has closed (`outbox send … >&-`) is like /dev/null: nothing is said there, nothing fails
    for it, and none of our files gets its number. A closed stdin stays None: an empty one would be an empty email.
    """
    for stream in ("stdin", "stdout", "stderr"):
        if getattr(sys, stream) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            if stream != "stdin":
                setattr(sys, stream, os.fdopen(number, "w", encoding="utf-8"))


def give_up_stdout() -> None:
    """What is still buffered and all that is said later goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def complain(text: str) -> None:
    """One line on stderr, whatever is in `text`."""
    with suppress(OSError):  # the exit code still tells
        typer.echo(f"outbox: {one_line(text)}", err=True)


def one_line(value: object, limit: int = 2000) -> str:
    """`value` without line breaks and without anything that a terminal would obey. None is empty."""
    return " ".join(clean_text(_as_text(value), limit).split())


def _as_text(value: object) -> str:
    """SQLite may hold bytes in any column; that must not hide the row."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)


def print_json(value: object) -> None:
    """`value` as JSON. Timestamps are ISO 8601 with Z."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=_jsonable)
    # Half a surrogate pair (undecodable bytes in a SQLite column) is written as the escape that JSON has for it.
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, bytes):
        return _as_text(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond, with Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment_text(moment: datetime | None) -> str:
    """A timestamp as a person reads it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


def print_table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """A table on stdout. The columns `status` and `outcome` are coloured."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column not in LONG, overflow="fold")
    for line in lines:
        shown = [one_line(value) for value in line]
        table.add_row(
            *(
                # Text, not str: rich would take "[bold]" in a subject for its markup.
                Text(value, style=STYLES.get(value, "") if column in {"status", "outcome"} else "")
                for column, value in zip(columns, shown, strict=True)
            )
        )
    console().print(table)


def console() -> Any:
    """A rich console on stdout."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, highlight=False)
