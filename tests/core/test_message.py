"""The identity of a message, fixed once."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.message import MessageIds, date_of

CREATED = datetime(2020, 1, 1, tzinfo=UTC)
FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (1970, 9999))


@settings(deadline=None)
@given(st.datetimes(FIRST, LAST, timezones=st.just(UTC)), st.integers(1))
def test_the_date_is_in_the_message_id(now, row):
    message_id = MessageIds.new(now, "example.org").of(row)
    assert date_of(message_id, CREATED) == now.replace(microsecond=0)


def test_the_time_is_utc_wherever_the_poller_is():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=9)))
    assert date_of(MessageIds.new(now, "example.org").of(1), CREATED) == now


def test_ids_differ_by_row_and_by_claim():
    first, second = MessageIds.new(CREATED, "example.org"), MessageIds.new(CREATED, "example.org")
    assert len({first.of(1), first.of(2), second.of(1), second.of(2)}) == 4


@pytest.mark.parametrize(
    "message_id", ["", "<theirs@example.org>", "<20269999T999999.0a.1@example.org>", "20260102T030405"]
)
def test_an_id_that_is_not_ours_is_dated_by_the_row(message_id):
    assert date_of(message_id, CREATED) == CREATED
