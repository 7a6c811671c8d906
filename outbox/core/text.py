"""Text from anywhere, made harmless: what no header, reply or error may hold, and one clean bounded line."""

import re

CONTROL_CLASS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Inside a regular expression's brackets: control characters, line breaks of every kind, lone surrogates."""

CONTROL = re.compile(f"[{CONTROL_CLASS}]")

CONTROL_BUT_TAB = re.compile(f"(?!\t)[{CONTROL_CLASS}]")
"""The same for headers, where a tab is white space."""

MAX_TEXT = 1000
"""Characters of a reply or error that are kept: enough for every real one, and a bound on hostile ones."""

_CONTROLS = re.compile(f"[{CONTROL_CLASS}]+")


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` as one bounded line that every database takes: no control characters, NULs or lone surrogates."""
    line = _CONTROLS.sub(" ", text).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"
