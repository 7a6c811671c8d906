"""How the log looks: a line of text for people, or a JSON object on a line for programs (docs/logging.md)."""

import json
import logging
import math
import sys
from datetime import UTC, datetime
from typing import Any

from outbox.core.logs import LogFormat

FIELDS = (
    "event", "email", "attempt", "counted", "status", "reason", "next_attempt_in", "recipients", "transport", "poller",
    "priority", "tag", "message_id", "seconds", "smtp_seconds", "since_due", "pause_seconds",
)  # fmt: skip
"""Every field that an event can have besides those of each line; nothing else that a record carries is told."""


class JsonFormatter(logging.Formatter):
    """One line for each record, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        carried = record.__dict__
        told.update((name, _finite(carried[name])) for name in FIELDS if name in carried)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        line = json.dumps(told, ensure_ascii=True, default=str)  # whatever the encoding of stderr
        return json.dumps(_whole(told), default=str) if "\\ud" in line else line


def _whole(value: Any) -> Any:
    """Without half surrogate pairs (undecodable bytes in a SQLite column): many readers refuse the line for one."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list | tuple) else value


def _finite(value: Any) -> Any:
    """JSON has no infinity; what has no end is null."""
    return None if value == math.inf else value


class _ToStderr(logging.Handler):
    """Writes to what stderr is at the moment: a progress bar takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001  # as every handler of the library does
            self.handleError(record)


def logs_json() -> bool:
    """Whether stderr is such that every line on it is a JSON object."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def set_up_logging(level: int, log_format: LogFormat) -> None:
    """Log lines on stderr, as every poller process writes them."""
    handler = _ToStderr()
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
        logging.captureWarnings(True)  # Python's own would be text
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it tells every call, and parameters with it
