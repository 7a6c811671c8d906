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
        # Half a surrogate pair is no UTF-8; ASCII has an escape for it.
        return json.dumps(told, ensure_ascii=True, default=str)


def _finite(value: Any) -> Any:
    """JSON has no infinity; what has no end is null."""
    return None if value == math.inf else value


def set_up_logging(level: int, log_format: LogFormat) -> None:
    """Log lines on stderr, as every poller process writes them."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it tells every call, and parameters with it
