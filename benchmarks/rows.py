"""Rows, made inside the database: as fast as it can, and the same on both kinds."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.databases import Database
from benchmarks.messages import CONTEXT, HTML, NUMBER, TEMPLATE, TEXT

_SERIES = {
    "SQLite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :count)",
    "PostgreSQL": "WITH series(n) AS (SELECT generate_series(1, CAST(:count AS integer)))",
}
_LATER = {
    "SQLite": "strftime('%Y-%m-%d %H:%M:%f', 'now', (1 + n % 30) || ' days')",
    "PostgreSQL": "now() + make_interval(days => 1 + n % 30)",
}
_BEFORE = {
    "SQLite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-{} days')",
    "PostgreSQL": "now() - make_interval(days => {})",
}
_NUMBERED = "replace(CAST(:{} AS text), '" + NUMBER + "', CAST(n AS text))"


@dataclass(frozen=True, slots=True)
class Content:
    """Columns of an email, as SQL over `n`, and the parameters it uses."""

    columns: dict[str, str]
    parameters: dict[str, Any] = field(default_factory=dict)


LITERAL = Content(
    {"subject": "'Your order ' || n", "body_text": _NUMBERED.format("text"), "body_html": _NUMBERED.format("html")},
    {"text": TEXT, "html": HTML},
)
TEMPLATES = Content(
    {"template": f"'{TEMPLATE}'", "context": _NUMBERED.format("context")},
    {"context": CONTEXT},
)
SHORT = Content({"subject": "'Your order ' || n", "body_text": "'Order ' || n || ' has left our house.'"})


def insert(database: Database, number: int, content: Content = LITERAL, **columns: str) -> None:
    """So many emails that are due now; `columns` are more SQL."""
    if not number:
        return
    values = {"to_addrs": "'r' || n || '@example.org'", **content.columns, **columns}
    if database.kind == "PostgreSQL" and "context" in values:
        values["context"] = f"CAST({values['context']} AS json)"
    statement = (
        f"{_SERIES[database.kind]} INSERT INTO email_outbox ({', '.join(values)})"
        f" SELECT {', '.join(values.values())} FROM series"
    )
    database.run(statement, count=number, **content.parameters)


def insert_finished(database: Database, number: int, days_ago: int = 0, **columns: str) -> None:
    """So many that were sent, each with its attempt on record; `columns` are more SQL."""
    end = _BEFORE[database.kind].format(days_ago)
    insert(database, number, SHORT, status="'sent'", due_at="NULL", attempts="1", finished_at=end, **columns)
    database.run(
        "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code)"
        " SELECT id, 1, to_addrs, 'accepted', 250 FROM email_outbox WHERE status = 'sent'"
        " AND id > (SELECT coalesce(max(outbox_id), 0) FROM email_attempt)"
    )


def insert_future(database: Database, number: int, **columns: str) -> None:
    """So many that are due on one of the next thirty days; `columns` are more SQL."""
    insert(database, number, SHORT, due_at=_LATER[database.kind], **columns)


def assert_sent(database: Database, number: int) -> None:
    """Raises RuntimeError where a run did not do its work: its figures would mean nothing."""
    [(sent,)] = database.run("SELECT count(*) FROM email_outbox WHERE status = 'sent'")
    if sent != number:
        raise RuntimeError(f"{sent} of {number} emails were sent on {database.kind}")


def seconds_on_record(database: Database) -> float:
    """From the first email that was finished to the last, by the database's clock."""
    seconds = {
        "SQLite": "(julianday(max(finished_at)) - julianday(min(finished_at))) * 86400.0",
        "PostgreSQL": "CAST(extract(epoch FROM max(finished_at) - min(finished_at)) AS double precision)",
    }
    [(found,)] = database.run(f"SELECT {seconds[database.kind]} FROM email_outbox")
    return max(float(found), 0.001)
