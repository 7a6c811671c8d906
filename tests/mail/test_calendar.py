"""Invitations: the text as another library reads it, and the place in the message where it is looked for."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from outbox import Email, invitation
from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from tests.mail.rows import composed, read
from tests.mail.test_body import LOGO, PDF, structure

VIENNA = ZoneInfo("Europe/Vienna")
EVENT: dict[str, Any] = {
    "uid": "visit-7@example.org",
    "start": datetime(2026, 12, 3, 14, 30, tzinfo=VIENNA),
    "end": datetime(2026, 12, 3, 15, 0, tzinfo=VIENNA),
    "summary": "Visit; a, b \\ c",
    "organizer": "Shop, Inc <shop@example.org>".replace("Shop, Inc", '"Shop, \\"the\\" Inc"'),
    "attendees": ["Ada Lovelace <ada@example.org>", "bob+x@example.org"],
    "location": "Hauptstraße 1",
    "description": "Bring:\n- a pen\n- é" + "long " * 60,
    "url": "https://example.org/visit/7",
    "stamp": datetime(2026, 11, 1, tzinfo=UTC),
}


def event_of(content: bytes):
    calendar = Calendar.from_ical(content)
    [event] = calendar.walk("VEVENT")
    return calendar, event


def content_of(changes: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    return file_of(invitation(**EVENT | dict(changes))).content


def file_of(attachment) -> AttachedFile:
    return AttachedFile(attachment.filename, attachment.content, attachment.content_type, attachment.cid)


def test_another_library_reads_what_was_said():
    calendar, event = event_of(content_of())
    assert (calendar["METHOD"], calendar["VERSION"]) == ("REQUEST", "2.0")
    assert [event[name] for name in ("UID", "SUMMARY", "LOCATION", "DESCRIPTION", "URL", "SEQUENCE", "STATUS")] == [
        *(EVENT[name] for name in ("uid", "summary", "location", "description", "url")), 0, "CONFIRMED",
    ]  # fmt: skip
    assert [event[name].dt for name in ("DTSTART", "DTEND", "DTSTAMP")] == [
        EVENT[name] for name in ("start", "end", "stamp")
    ]
    assert (event["ORGANIZER"], event["ORGANIZER"].params["CN"]) == ("mailto:shop@example.org", "Shop, 'the' Inc")
    ada, bob = event["ATTENDEE"]
    assert (ada, ada.params["CN"], ada.params["RSVP"]) == ("mailto:ada@example.org", "Ada Lovelace", "TRUE")
    assert bob == "mailto:bob+x@example.org"


def test_lines_end_with_crlf_and_are_never_too_long():
    content = content_of()
    assert content.endswith(b"END:VCALENDAR\r\n")
    assert content.count(b"\n") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 75


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=300))
def test_any_text_is_read_back_as_it_was(text):
    content = content_of({"description": "x" + text})
    content.decode()
    assert max(map(len, content.split(b"\r\n"))) <= 75
    assert event_of(content)[1]["DESCRIPTION"].replace(" ", "") == "x" + text.replace("\u2028", "").replace(
        "\u2029", ""
    ).replace(" ", "")


def test_whole_days_are_dates_and_a_cancellation_says_so():
    attachment = invitation(
        **EVENT | {"start": date(2026, 12, 3), "end": date(2026, 12, 5), "cancel": True, "sequence": 2}
    )
    calendar, event = event_of(attachment.content or b"")
    assert attachment.content_type == "text/calendar; method=CANCEL"
    assert (calendar["METHOD"], event["STATUS"], event["SEQUENCE"]) == ("CANCEL", "CANCELLED", 2)
    assert (event["DTSTART"].dt, event["DTEND"].dt) == (date(2026, 12, 3), date(2026, 12, 5))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": datetime(2026, 1, 1)}, "start must be an aware datetime"),  # noqa: DTZ001  # the point
        ({"end": date(2027, 1, 1)}, "end must be a datetime where start is one"),
        ({"end": EVENT["start"]}, "end must be after start"),
        ({"start": "2026-12-03"}, "start must be a datetime or a date, not str"),
        ({"organizer": "nobody"}, "organizer: "),
        ({"attendees": []}, "attendees: nobody is invited"),
        ({"attendees": "a@b.example, nobody"}, "attendees: "),
        ({"uid": " "}, "uid is empty"),
        ({"summary": ""}, "summary is empty"),
        ({"sequence": -1}, "sequence must be a whole number from 0, not -1"),
        ({"url": "https://example.org/\r\nX:y"}, "url must be printable ASCII"),
    ],
)
def test_a_mistake_is_named_at_once(changes, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        invitation(**EVENT | changes)


def test_a_line_break_never_begins_a_property_of_its_own():
    content = content_of({"summary": "a\r\nMETHOD:CANCEL", "location": "b\x0bX:y", "uid": "u\nX:y"})
    _, event = event_of(content)
    assert b"\r\nX:y" not in content
    assert b"\r\nMETHOD:CANCEL" not in content
    assert event["SUMMARY"] == "a\nMETHOD:CANCEL"


INVITATION = file_of(invitation(**EVENT))


@pytest.mark.parametrize(
    ("files", "columns", "alternatives"),
    [
        ([INVITATION], {}, ["text/plain", "text/calendar"]),
        ([INVITATION], {"body_html": "<p>Hi"}, ["text/plain", "text/html", "text/calendar"]),
        (
            [LOGO, INVITATION],
            {"body_html": "<img src='cid:logo'>"},
            ["text/plain", {"multipart/related": ["text/html", "image/png"]}, "text/calendar"],
        ),
        ([INVITATION], {"body_text": None, "body_html": "<img src=x>"}, ["text/html", "text/calendar"]),
    ],
)
def test_an_invitation_is_the_last_alternative_and_a_file(files, columns, alternatives):
    assert structure(*files, **columns) == {
        "multipart/mixed": [{"multipart/alternative": alternatives}, "application/ics"]
    }


def test_the_alternative_bears_method_and_charset_and_the_very_text():
    message = read(composed([PDF, INVITATION]).content)
    [part] = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    assert dict(part["Content-Type"].params) == {"charset": "utf-8", "method": "REQUEST"}
    assert part.get_content_disposition() is None
    assert part.get_payload(decode=True) == INVITATION.content
    pdf, copy = message.iter_attachments()
    assert (pdf.get_filename(), copy.get_filename()) == ("order.pdf", "invite.ics")
    assert copy.get_payload(decode=True) == INVITATION.content


def test_an_invitation_from_any_language_becomes_one():
    file = AttachedFile(
        "termin.ics", b"BEGIN:VCALENDAR\nMETHOD:request\n", 'TEXT/Calendar; charset=utf-8; Method="REQUEST"'
    )
    message = read(composed([file]).content)
    [part] = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    assert part["Content-Type"].params["method"] == "REQUEST"
    assert part.get_payload(decode=True) == b"BEGIN:VCALENDAR\r\nMETHOD:request\r\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            [AttachedFile("a.ics", b"BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\n", "text/calendar; method=REQUEST")],
            "attachment 'a.ics': its content_type says method=REQUEST, so it needs the line METHOD:REQUEST",
        ),
        (
            [AttachedFile("a.ics", b"METHOD:X Y\r\n", 'text/calendar; method="X Y"')],
            "attachment 'a.ics': its content_type says method=X Y, so it needs the line METHOD:X Y",
        ),
        (
            [AttachedFile("a.ics", b"METHOD:REQUEST\r\n\xff", "text/calendar; method=REQUEST")],
            "attachment 'a.ics': an invitation has to be UTF-8",
        ),
        (
            [INVITATION, INVITATION],
            "attachments: 'invite.ics' and 'invite.ics' are both invitations; an email can be one",
        ),
    ],
)
def test_what_nobody_would_take_for_an_invitation_is_refused(files, said):
    with pytest.raises(ContentError) as error:
        composed(files)
    assert str(error.value) == said


def test_an_invitation_can_be_attached_to_an_email():
    email = Email(to="ada@example.org", subject="Visit", text="Come", attachments=[invitation(**EVENT)])
    assert email.attachments[0].content_type == "text/calendar; method=REQUEST"
