"""Column types and time expressions that mean the same on every database. The database's clock decides everything."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Computed,
    DateTime,
    Dialect,
    Double,
    Integer,
    SmallInteger,
    Text,
    and_,
    false,
    func,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in a column declared INTEGER
Small = SmallInteger().with_variant(Integer, "sqlite")


class UtcTimestamp(TypeDecorator[datetime]):
    """A moment in time: an aware datetime in UTC in Python, `timestamptz` on PostgreSQL, text on SQLite.

    The text is `YYYY-MM-DD HH:MM:SS.ffffff`, which sorts as the moments do.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, which has no type for time."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Raises ValueError for a naive datetime: nobody could tell which moment it means."""
        if value is None:
            return None
        value = utc(value)
        return value.replace(tzinfo=None).isoformat(" ", "microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """An aware datetime in UTC."""
        if value is None:
            return None
        return parse_utc(value) if dialect.name == "sqlite" else value.astimezone(UTC)


class JsonDocument(TypeDecorator[Any]):
    """JSON; text on SQLite. Text that is not JSON is handed out as it is, so that the row can still be looked at."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """SQLAlchemy's own JSON on SQLite has numeric affinity, which would turn the text `1e5` into a number."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """None is NULL, not JSON's null."""
        return json.dumps(value) if dialect.name == "sqlite" and value is not None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """The document, or the undecodable text."""
        if dialect.name != "sqlite" or value is None:
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value


class UtcNow(FunctionElement[datetime]):
    """The database's clock; with an argument, so many seconds later."""

    type = UtcTimestamp()
    inherit_cache = True
    name = "utc_now"


class ClockTime(FunctionElement[datetime]):
    """The database's clock at this very moment, not when the transaction began: for after a lock was waited for."""

    type = UtcTimestamp()
    inherit_cache = True
    name = "clock_time"


class SecondsUntil(FunctionElement[float]):
    """Seconds from now to a timestamp, by the database's clock; negative when it has passed."""

    type = Double()
    inherit_cache = True
    name = "seconds_until"


class JsonEach(FunctionElement[str]):
    """The texts of a JSON list as a table with one column, `value`."""

    inherit_cache = True
    name = "json_each"


class Generated(Computed):
    """A column computed by the database, which can be indexed: PostgreSQL stores it for that, SQLite need not."""

    inherit_cache = True


def utc(value: datetime) -> datetime:
    """`value` in UTC. Raises ValueError where it has no time zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; use datetime.now(UTC) or the like")
    return value.astimezone(UTC)


def parse_utc(text: str) -> datetime:
    """The moment that SQLite holds as text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def as_text(value: Any) -> str | None:
    """What a text column holds. On SQLite that can be a blob or, in a column of another type, a number."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if value is None else str(value)


def later(seconds: ColumnElement[float] | float) -> UtcNow:
    """So many seconds from now."""
    return UtcNow(seconds)


def checked(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """All of them, for rows that are found by their ids: no index is looked through for these. SQLite, which knows
    nothing of how many there are, would read all that have ended, to find a few of them."""
    return func.coalesce(and_(*conditions), false())


@compiles(Generated)
def _generated(element: Generated, compiler: DDLCompiler, **options: Any) -> str:
    stored = "VIRTUAL" if compiler.dialect.name == "sqlite" else "STORED"
    return f"GENERATED ALWAYS AS ({compiler.sql_compiler.process(element.sqltext, **options)}) {stored}"


@compiles(UtcNow)
def _now(element: UtcNow, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(now() + make_interval(secs => {seconds}))" if seconds else "now()"


@compiles(UtcNow, "sqlite")
def _now_sqlite(element: UtcNow, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    shift = f", printf('%+.3f seconds', {seconds})" if seconds else ""
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now'{shift})"


@compiles(ClockTime)
def _clock(element: ClockTime, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001  # the library's signature
    return "clock_timestamp()"


@compiles(ClockTime, "sqlite")
def _clock_sqlite(element: ClockTime, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001  # as above
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(SecondsUntil)
def _until(element: SecondsUntil, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST(extract(epoch FROM {compiler.process(element.clauses, **options)} - now()) AS double precision)"


@compiles(SecondsUntil, "sqlite")
def _until_sqlite(element: SecondsUntil, compiler: SQLCompiler, **options: Any) -> str:
    # Of a fraction with hundreds of digits SQLite makes no number at all.
    return f"((julianday(substr({compiler.process(element.clauses, **options)}, 1, 26)) - julianday('now')) * 86400.0)"


@compiles(JsonEach)
def _each(element: JsonEach, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


@compiles(JsonEach, "sqlite")
def _each_sqlite(element: JsonEach, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"
