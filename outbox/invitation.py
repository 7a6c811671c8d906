"""Calendar invitations: the attachment that makes an email one, and the one that takes it back."""

from collections.abc import Iterable
from datetime import UTC, date, datetime

from outbox.core.address import Mailbox, parse_list, parse_mailbox
from outbox.core.calendar import Event, calendar_text
from outbox.core.errors import AddressError
from outbox.db.models import Attachment

FILENAME = "invite.ics"


def invitation(  # noqa: PLR0913  # the keywords are what an event has
    *,
    uid: str,
    start: date,
    end: date,
    summary: str,
    organizer: str,
    attendees: str | Iterable[str],
    location: str | None = None,
    description: str | None = None,
    url: str | None = None,
    sequence: int = 0,
    cancel: bool = False,
    stamp: datetime | None = None,
) -> Attachment:
    """`Email(…, attachments=[invitation(…)])`: readers of email offer to accept it, and put it into the calendar.

    `uid` is the event's for ever: a change is sent with the same one and a higher `sequence`, and so is `cancel=True`.
    `start` and `end` are aware datetimes, or both dates: whole days, `end` being the first one after. `organizer` is
    best the sender, to whom answers go; `attendees` are the recipients; `stamp` is when it was said: now. For whatever
    else an event can have (repetition, time zones, alarms) write the text with the library `icalendar`, and attach it
    with the content_type `text/calendar; method=REQUEST`. Raises ValueError, naming the argument.
    """
    _check_times(start, end)
    if type(sequence) is not int or sequence < 0:
        raise ValueError(f"sequence must be a whole number from 0, not {sequence!r}")
    for name, text in (("uid", uid), ("summary", summary)):
        if not text.strip():
            raise ValueError(f"{name} is empty")
    if url is not None and not (url.isascii() and url.isprintable() and " " not in url):
        raise ValueError("url must be printable ASCII without spaces; percent-encode the rest")
    event = Event(
        method="CANCEL" if cancel else "REQUEST",
        uid=uid,
        sequence=sequence,
        stamp=stamp or datetime.now(UTC),
        start=start,
        end=end,
        summary=summary,
        organizer=_organizer(organizer),
        attendees=_attendees(attendees),
        location=location,
        description=description,
        url=url,
    )
    return Attachment(FILENAME, calendar_text(event).encode(), f"text/calendar; method={event.method}")


def _check_times(start: date, end: date) -> None:
    for name, value in (("start", start), ("end", end)):
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise ValueError(f"{name} must be an aware datetime, e.g. datetime(…, tzinfo=ZoneInfo('Europe/Vienna'))")
        if not isinstance(value, date):
            raise ValueError(f"{name} must be a datetime or a date, not {type(value).__name__}")  # noqa: TRY004  # documented as ValueError
    if isinstance(start, datetime) != isinstance(end, datetime):
        raise ValueError("end must be a datetime where start is one, and a date where start is one")
    if end <= start:
        raise ValueError("end must be after start")


def _organizer(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise ValueError(f"organizer: {error}") from None


def _attendees(value: str | Iterable[str]) -> tuple[Mailbox, ...]:
    try:
        found = parse_list(value if isinstance(value, str) else ", ".join(value))
    except AddressError as error:
        raise ValueError(f"attendees: {error}") from None
    if found.bad:
        raise ValueError(f"attendees: {found.bad[0][1]}")
    if not found.mailboxes:
        raise ValueError("attendees: nobody is invited")
    return found.mailboxes
