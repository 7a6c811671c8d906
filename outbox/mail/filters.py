"""The filters that write dates and numbers as the reader's language does, from what JSON can carry.

`{{ "2026-12-03"|date }}`, `{{ total|currency("EUR") }}`. A format is `short`, `medium`, `long` or `full`, or a
pattern of Unicode (UTS #35): `{{ day|date("EEEE, d MMMM") }}`.
"""

import datetime as dt
import re
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import dates, numbers
from jinja2 import pass_context
from jinja2.exceptions import FilterArgumentError
from jinja2.runtime import Context, Undefined

from outbox.core.text import clean_text
from outbox.mail.language import VOICE

MOST_DIGITS = 40
"""Before or after the point: `1e999999` would be a number of a million characters."""

_CURRENCY = re.compile("[A-Z]{3}")

Number = str | int | float


# Each takes the context, or Jinja would write what it says of constants into the compiled template: in one language.
@pass_context
def date_filter(_context: Context, value: str, format: str = "medium", tz: str | None = None) -> str:  # noqa: A002  # Babel's name
    """A date; of a date with a time, its day in `tz`, or where it stands."""
    moment = _moment("date", value)
    return dates.format_date(_in_zone("date", moment, tz), format, VOICE.get().language.locale)


@pass_context
def time_filter(_context: Context, value: str, format: str = "short", tz: str | None = None) -> str:  # noqa: A002  # Babel's name
    """The time of day."""
    text = _text("time", value)
    try:
        return dates.format_time(dt.time.fromisoformat(text), format, locale=VOICE.get().language.locale)
    except ValueError:
        moment = _in_zone("time", _moment("time", text, with_time=True), tz)
        return dates.format_time(moment, format, moment.tzinfo, VOICE.get().language.locale)


@pass_context
def datetime_filter(_context: Context, value: str, format: str = "medium", tz: str | None = None) -> str:  # noqa: A002  # Babel's name
    """Date and time."""
    moment = _in_zone("datetime", _moment("datetime", value, with_time=True), tz)
    return dates.format_datetime(moment, format, moment.tzinfo, VOICE.get().language.locale)


@pass_context
def number_filter(_context: Context, value: Number, format: str | None = None) -> str:  # noqa: A002  # Babel's name
    """A number with the separators of the language."""
    return numbers.format_decimal(_number("number", value), format, VOICE.get().language.locale)


@pass_context
def currency_filter(_context: Context, value: Number, currency: str, format: str | None = None) -> str:  # noqa: A002  # Babel's name
    """An amount of money, in units (not cents); `currency` by its code of ISO 4217."""
    locale = VOICE.get().language.locale
    if not _CURRENCY.fullmatch(str(currency)):
        raise FilterArgumentError(f"currency: {_shown(currency)} is not the code of a currency, like EUR")
    return numbers.format_currency(_number("currency", value), currency, format, locale)


@pass_context
def percent_filter(_context: Context, value: Number, format: str | None = None) -> str:  # noqa: A002  # Babel's name
    """A part of one: 0.25 is 25 %."""
    return numbers.format_percent(_number("percent", value), format, VOICE.get().language.locale)


FILTERS = {
    "date": date_filter,
    "time": time_filter,
    "datetime": datetime_filter,
    "number": number_filter,
    "currency": currency_filter,
    "percent": percent_filter,
}


def _moment(name: str, value: Any, *, with_time: bool = False) -> dt.datetime:
    text = _text(name, value)
    like = "2026-12-03T14:30:00+01:00" if with_time else "2026-12-03"
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise FilterArgumentError(f"{name}: {_shown(value)} is not in the form of ISO 8601, like {like}") from None
    if with_time and ":" not in text and "T" not in text:
        raise FilterArgumentError(f"{name}: {_shown(value)} has no time; give one like {like}")
    return moment


def _in_zone(name: str, moment: dt.datetime, zone: str | None) -> dt.datetime:
    """`moment` as the clocks of `zone` show it; one without an offset is in UTC then."""
    if zone is None:
        return moment
    try:
        there = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise FilterArgumentError(f"{name}: {_shown(zone)} is not a time zone like Europe/Vienna") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(there)


def _number(name: str, value: Any) -> Decimal:
    _fail_where_undefined(value)
    try:
        number = None if isinstance(value, bool) or value is None else Decimal(str(value).strip())
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise FilterArgumentError(f"{name}: {_shown(value)} is not a number; as text it is written like 1400.50")
    if number and not -MOST_DIGITS <= number.adjusted() <= MOST_DIGITS:
        raise FilterArgumentError(f"{name}: {_shown(value)} has more than {MOST_DIGITS} digits")
    return number


def _text(name: str, value: Any) -> str:
    _fail_where_undefined(value)
    if not isinstance(value, str):
        raise FilterArgumentError(f"{name}: text in the form of ISO 8601 is expected, not {_shown(value)}")
    return value.strip()


def _fail_where_undefined(value: Any) -> None:
    if isinstance(value, Undefined):
        str(value)  # raises, and says which name


def _shown(value: Any) -> str:
    return clean_text(repr(value), 60)
