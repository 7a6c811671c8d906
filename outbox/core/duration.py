"""Durations as people write them: `500ms`, `60s`, `5m`, `2h`, `30d`, `1y` (365 days)."""

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 31_536_000.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|y)")


def parse_duration(text: str | float) -> float:
    """Seconds in `text`; a bare number is seconds. Raises ValueError, which says what would be right."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    elif isinstance(text, str) and (match := _DURATION.fullmatch(text.strip())):
        seconds = float(match[1]) * _UNITS[match[2]]
    else:
        raise ValueError(f"{text!r} is not a duration; write it like 500ms, 60s, 5m, 2h, 30d or 1y")
    if not 0 <= seconds <= 3650 * 86400:
        raise ValueError(f"{text!r} is not a sensible duration; it must lie between 0 and ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest readable form, e.g. `1h 5m`; never more than two units."""
    whole = round(seconds)
    if whole < 1:
        return f"{round(seconds * 1000)}ms" if seconds > 0 else "0s"
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts)
