"""The CHECK constraints: what could never be sent is refused at INSERT. A name is the message that its user sees."""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import CheckConstraint

from outbox.core.outcome import Kind
from outbox.core.status import Status

_TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]"


def _listed(values: Iterable[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def email_checks() -> tuple[CheckConstraint, ...]:
    """Those of `email_outbox`. Names stay under PostgreSQL's 63 bytes."""
    return (
        CheckConstraint(f"status IN ({_listed(Status)})", name="status must be one of the known ones"),
        CheckConstraint("priority IN (0, 1, 2)", name="priority must be 0 urgent, 1 normal or 2 bulk"),
        CheckConstraint("on_doubt IN ('resend', 'hold')", name="on_doubt must be resend or hold"),
        CheckConstraint(
            "(due_at IS NOT NULL) = (status IN ('pending', 'sending'))",
            name="due_at must be set exactly when status is pending or sending",
        ),
        CheckConstraint(
            "trim(to_addrs) <> '' OR trim(coalesce(cc_addrs, '')) <> '' OR trim(coalesce(bcc_addrs, '')) <> ''",
            name="at least one recipient in to_addrs, cc_addrs or bcc_addrs",
        ),
        CheckConstraint("max_attempts BETWEEN 1 AND 1000", name="max_attempts must be 1 to 1000"),
        CheckConstraint("attempts BETWEEN 0 AND 1000000", name="attempts must be 0 to 1000000"),
        _sqlite(CheckConstraint("sensitive IN (0, 1)", name="sensitive must be 0 or 1")),
        *utc_text_checks("due_at", "expires_at", "created_at", "finished_at"),
        *(_real_year(column) for column in ("due_at", "expires_at", "created_at", "finished_at")),
    )


def attempt_checks() -> tuple[CheckConstraint, ...]:
    """Those of `email_attempt`."""
    known = CheckConstraint(f"outcome IN ({_listed(Kind)})", name="outcome must be one of the known ones")
    return (known, *utc_text_checks("attempted_at"))


def utc_text_checks(*columns: str) -> tuple[CheckConstraint, ...]:
    """SQLite compares timestamps as text: a `T`, `Z` or offset would make an email silently early, late or stuck.

    The modifier makes SQLite compute: without one it repeats February 31 as it was written. It computes without the
    fraction, which it would round up to the next second.
    A NUL ends a text for GLOB and substr, but not for whoever reads it.
    IS, because it computes NULL from what is no time at all, and a CHECK lets NULL pass.
    """
    return tuple(
        _sqlite(
            CheckConstraint(
                f"{column} IS NULL OR (typeof({column}) = 'text'"
                f" AND ({column} GLOB '{_TIME}' OR {column} GLOB '{_TIME}.[0-9]*')"
                f" AND substr({column}, 21) NOT GLOB '*[^0-9]*' AND instr({column}, char(0)) = 0"
                f" AND {column} >= '0001'"
                f" AND datetime(substr({column}, 1, 19), '+0 seconds') IS substr({column}, 1, 19))",
                name=f"{column} must be UTC as YYYY-MM-DD HH:MM:SS",
            )
        )
        for column in columns
    )


def _real_year(column: str) -> CheckConstraint:
    """PostgreSQL knows infinity, which would never be due, and years that no Python datetime holds."""
    return CheckConstraint(
        f"{column} >= '0001-01-02 00:00:00+00' AND {column} < '9999-12-31 00:00:00+00'",
        name=f"{column} must be between the years 1 and 9999",
    ).ddl_if(dialect="postgresql")


def _sqlite(check: CheckConstraint) -> CheckConstraint:
    return check.ddl_if(dialect="sqlite")
