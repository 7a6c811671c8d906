"""An invitation as iCalendar text (RFC 5545) with its method (RFC 5546): one event, its times in UTC or whole days."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from outbox.core.address import Mailbox
from outbox.core.text import CONTROL
from outbox.core.unsubscribe import mailto_url

_FOLD = 75
"""Octets of a line (RFC 5545 §3.1)."""

_ESCAPES = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What an invitation says. A text that is None or empty is left out."""

    method: str
    uid: str
    sequence: int
    stamp: datetime
    start: date
    end: date
    summary: str
    organizer: Mailbox
    attendees: tuple[Mailbox, ...]
    location: str | None = None
    description: str | None = None
    url: str | None = None


def calendar_text(event: Event) -> str:
    """`event` as a calendar of its own, in lines that end with CRLF."""
    return "".join(f"{line}\r\n" for whole in _lines(event) for line in _folded(whole))


def _lines(event: Event) -> Iterator[str]:
    yield from ("BEGIN:VCALENDAR", "PRODID:-//email-outbox//outbox//EN", "VERSION:2.0", f"METHOD:{event.method}")
    yield from ("BEGIN:VEVENT", f"UID:{_text(event.uid)}", f"SEQUENCE:{event.sequence}")
    yield f"DTSTAMP{_moment(event.stamp)}"
    yield f"DTSTART{_moment(event.start)}"
    yield f"DTEND{_moment(event.end)}"
    yield f"SUMMARY:{_text(event.summary)}"
    for name, text in (("LOCATION", event.location), ("DESCRIPTION", event.description)):
        if text:
            yield f"{name}:{_text(text)}"
    if event.url:
        yield f"URL:{event.url}"
    yield f"ORGANIZER{_name(event.organizer)}:{mailto_url(event.organizer.address)}"
    for mailbox in event.attendees:
        asked = "ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE"
        yield f"ATTENDEE{_name(mailbox)};{asked}:{mailto_url(mailbox.address)}"
    yield "STATUS:CANCELLED" if event.method == "CANCEL" else "STATUS:CONFIRMED"
    yield from ("END:VEVENT", "END:VCALENDAR")


def _moment(value: date) -> str:
    if isinstance(value, datetime):
        return f":{value.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f";VALUE=DATE:{value:%Y%m%d}"


def _text(value: str) -> str:
    lines = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(CONTROL.sub(" ", line) for line in lines).translate(_ESCAPES)


def _name(mailbox: Mailbox) -> str:
    """A parameter holds no double quote, however written (RFC 5545 §3.2)."""
    name = CONTROL.sub(" ", mailbox.name).replace('"', "'")
    return f';CN="{name}"' if name else ""


def _folded(line: str) -> Iterator[str]:
    """Cut between characters; what continues begins with a space."""
    start = size = 0
    for position, character in enumerate(line):
        octets = len(character.encode())
        if size + octets > _FOLD:
            yield line[start:position] if not start else f" {line[start:position]}"
            start, size = position, 1
        size += octets
    yield f" {line[start:]}" if start else line
