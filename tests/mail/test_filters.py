"""Dates, numbers and money in the language of the reader."""

import pytest

from outbox.core.errors import ContentError
from outbox.mail.templates import Templates


@pytest.fixture
def rendered(tmp_path):
    """`{{ expression }}` in a language."""

    def rendered(expression: str, locale: str | None = None, **context: object) -> str:
        (tmp_path / "hi.txt").write_text("{{ " + expression + " }}", encoding="utf-8")
        text = Templates(tmp_path).render("hi", context, locale).text
        assert text is not None
        return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")

    return rendered


@pytest.mark.parametrize(
    ("expression", "locale", "said"),
    [
        ("x|date", None, "Dec 3, 2026"),
        ("x|date", "de", "03.12.2026"),
        ("x|date('long')", "de-AT", "3. Dezember 2026"),
        ("x|date('full')", "fr", "jeudi 3 décembre 2026"),
        ("x|date('EEEE, d MMMM')", "en-GB", "Thursday, 3 December"),
        ("x|date", "xx", "Dec 3, 2026"),
        ("x|date('short')", "zh-Hant-TW", "2026/12/3"),
        ("x|date('long')", "de-AT-1996", "3. Dezember 2026"),
        ("x|datetime", "de", "03.12.2026, 23:30:00"),
        ("x|datetime('short')", "en", "12/3/26, 11:30 PM"),
        ("x|datetime('full')", "de", "Donnerstag, 3. Dezember 2026, 23:30:00 GMT+01:00"),
        ("x|time", "de", "23:30"),
        ("x|time", "en", "11:30 PM"),
        ("x|time(tz='Asia/Tokyo')", "de", "07:30"),
        ("x|date(tz='Asia/Tokyo')", "de", "04.12.2026"),
        ("x|datetime('short', tz='UTC')", "de", "03.12.26, 22:30"),
        ("'2026-12-03'|date", "de", "03.12.2026"),
        ("'2026-12-03T22:30:00Z'|time(tz='Europe/Vienna')", "de", "23:30"),
        ("'2026-12-03 22:30'|time(tz='Europe/Vienna')", "de", "23:30"),
        ("'2026-12-03 22:30'|datetime('short')", "de", "03.12.26, 22:30"),
        ("'14:05'|time", "en", "2:05 PM"),
    ],
)
def test_dates_are_written_as_the_reader_does(rendered, expression, locale, said):
    assert rendered(expression, locale, x="2026-12-03T23:30:00+01:00") == said


@pytest.mark.parametrize(
    ("expression", "locale", "said"),
    [
        ("1234567.891|number", None, "1,234,567.891"),
        ("1234567.891|number", "de", "1.234.567,891"),
        ("'1234.50'|number('#,##0.00')", "fr", "1 234,50"),
        ("0|number", "de", "0"),
        ("-5|number", "en", "-5"),
        ("1400|currency('EUR')", "de", "1.400,00 €"),
        ("1400|currency('EUR')", "de-AT", "€ 1.400,00"),
        ("'1400.5'|currency('GBP')", None, "£1,400.50"),
        ("1400|currency('JPY')", "en", "¥1,400"),
        ("0.1|currency('USD')", "en", "$0.10"),
        ("0.25|percent", "de", "25 %"),
        ("0.255|percent('#,##0.0%')", "en", "25.5%"),
        ("(price * 3)|currency('EUR')", "de", "3,60 €"),
    ],
)
def test_numbers_are_written_as_the_reader_does(rendered, expression, locale, said):
    assert rendered(expression, locale, price=1.2) == said


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("'tomorrow'|date", "date: 'tomorrow' is not in the form of ISO 8601, like 2026-12-03"),
        ("'2026-13-01'|date", "date: '2026-13-01' is not in the form of ISO 8601, like 2026-12-03"),
        ("3|date", "date: text in the form of ISO 8601 is expected, not 3"),
        ("none|date", "date: text in the form of ISO 8601 is expected, not None"),
        ("'2026-12-03'|time", "time: '2026-12-03' has no time; give one like 2026-12-03T14:30:00+01:00"),
        ("'2026-12-03'|datetime", "datetime: '2026-12-03' has no time; give one like 2026-12-03T14:30:00+01:00"),
        ("'2026-12-03'|date(tz='Mars/Base')", "date: 'Mars/Base' is not a time zone like Europe/Vienna"),
        ("'2026-12-03'|date(tz='../../etc/passwd')", "date: '../../etc/passwd' is not a time zone like Europe/Vienna"),
        ("nothing|date", "'nothing' is undefined"),
        ("nothing|number", "'nothing' is undefined"),
        ("'1.400,00'|number", "number: '1.400,00' is not a number; as text it is written like 1400.50"),
        ("true|number", "number: True is not a number; as text it is written like 1400.50"),
        ("none|currency('EUR')", "currency: None is not a number; as text it is written like 1400.50"),
        ("'nan'|percent", "percent: 'nan' is not a number; as text it is written like 1400.50"),
        ("'1e999999'|number", "number: '1e999999' has more than 40 digits"),
        ("1|currency('euro')", "currency: 'euro' is not the code of a currency, like EUR"),
        ("1|currency(3)", "currency: 3 is not the code of a currency, like EUR"),
    ],
)
def test_what_a_filter_cannot_write_is_told_by_file_line_and_value(rendered, expression, said):
    with pytest.raises(ContentError) as error:
        rendered(expression)
    assert str(error.value) == f"hi.txt line 1: {said}"
