"""How commands speak: tables and lines for people, JSON for programs, one line on stderr for what is wrong."""

import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from outbox.core.text import clean_text

if TYPE_CHECKING:
    from rich.text import Text

log = logging.getLogger("outbox.command")

PIPE_WIDTH = 200
"""Columns of text that is not written to a terminal."""

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

WIDE, MEDIUM = 110, 70
"""Columns of terminals that have room for everything, or for most."""

WHOLE = ("reply", "reason", "last error")
"""Columns that stand below their rows where the terminal is narrow, because their ends matter."""

LONG = frozenset({"to", "recipient", "subject"})
"""Columns that are cut there. Nothing is folded: halves of addresses cannot be read."""

GAP = "  "
SHORTEST, AMPLE = 16, 40
"""Characters that are left of a cut column, at least; and what is enough for most addresses with a name."""

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
    """One line on stderr, whatever is in `text`; where the log is JSON, it is a line of the log."""
    from outbox.log_format import logs_json

    if logs_json():
        log.error("%s", one_line(text))
        return
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
    """A table on stdout, one line for each of `lines`. The columns `status` and `outcome` are coloured."""
    from rich.padding import Padding
    from rich.text import Text

    # Text, not str: rich would take "[bold]" in a subject for its markup.
    rows = [
        [Text(one_line(cell), _style(name, cell)) for name, cell in zip(columns, line, strict=True)] for line in lines
    ]
    rows.insert(0, [Text(name, "bold") for name in columns])
    room = table_width()
    below = _below(columns, rows, room)
    notes = [row.pop(below) for row in rows] if below is not None else []
    kept = [name for number, name in enumerate(columns) if number != below]
    widths = _widths(kept, rows, room)
    dash = "─" if _can_show("─") else "-"
    rows.insert(1, [Text(dash * width) for width in widths])
    out = console()
    for number, row in enumerate(rows):
        for cell, width in zip(row, widths, strict=True):
            cell.truncate(width, overflow="ellipsis", pad=True)
        line = Text(GAP).join(row)
        line.rstrip()
        out.print(line, soft_wrap=True)
        if number > 1 and notes and notes[number - 1]:
            out.print(Padding(Text(notes[number - 1].plain, "dim"), (0, 0, 0, 2 * len(GAP)), expand=False))


def _can_show(character: str) -> bool:
    """Whether stdout has it; what it does not have is shown as an escape."""
    try:
        character.encode(sys.stdout.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _below(columns: Sequence[str], rows: "Sequence[Sequence[Text]]", room: int | None) -> int | None:
    """Number of the column that has to stand below, because its longest text does not fit."""
    if room is None or sum(_natural(columns, rows)) + len(GAP) * (len(columns) - 1) <= room:
        return None
    return next((number for number, name in enumerate(columns) if name in WHOLE), None)


def _natural(columns: Sequence[str], rows: "Sequence[Sequence[Text]]") -> list[int]:
    return [max(row[number].cell_len for row in rows) for number in range(len(columns))]


def _style(column: str, value: object) -> str:
    return STYLES.get(str(value), "") if column in {"status", "outcome"} else ""


def _widths(columns: Sequence[str], rows: "Sequence[Sequence[Text]]", room: int | None) -> list[int]:
    """As wide as what is in them. The LONG ones give way until all fit: those beyond ample first, then subjects."""
    widths = _natural(columns, rows)
    long = [number for number, name in enumerate(columns) if name in LONG and widths[number] > SHORTEST]
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - (sys.maxsize if room is None else room)
    while excess > 0 and long:
        widest = max(long, key=lambda number: (widths[number] > AMPLE, columns[number] == "subject", widths[number]))
        widths[widest] -= 1
        excess -= 1
        if widths[widest] == SHORTEST:
            long.remove(widest)
    return widths


def table_width() -> int | None:
    """Columns of the terminal; None where stdout is none: there nothing is cut, so that grep finds it."""
    return console().width if sys.stdout.isatty() or "COLUMNS" in os.environ else None


def console() -> Any:
    """A rich console on stdout."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, highlight=False)
