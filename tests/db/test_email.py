"""`Email(…)` and `Attachment(…)`: mistakes that can be known at once are named there."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from outbox.core.headers import header_fault
from outbox.db.models import Attachment, Email

URL = "https://x.org/".ljust(1900, "x")
GOOD: dict[str, Any] = {"to": "ada@example.org", "subject": "Hi", "text": "Hello"}


def test_an_email_bears_the_column_names():
    email = Email(to=["Ada <ada@example.org>", "bob@example.org"], subject="Hi", text="Hello", html="<p>Hello</p>")
    assert email.to_addrs == "Ada <ada@example.org>, bob@example.org"
    assert (email.body_text, email.body_html) == ("Hello", "<p>Hello</p>")


def test_any_kind_of_recipient_is_enough():
    assert Email(bcc="ada@example.org", subject="Hi").bcc_addrs == "ada@example.org"


def test_times_are_kept_in_utc():
    noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
    assert Email(**GOOD, due_at=noon).due_at == datetime(2026, 1, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"to": None}, "to: no recipient"),
        ({"to": []}, "to: no recipient"),
        ({"to": " , "}, "to: no recipient"),
        ({"to": "nonsense"}, "to: 'nonsense' is not an address"),
        ({"to": ["a@x.org", 7]}, "to must be text, not int"),
        ({"to": 5}, "to must be text or a list of texts, not int"),
        ({"reply_to": b"a@x.org"}, "reply_to must be text, not int"),
        ({"attachments": ["x"]}, "attachments must be a list of Attachment, not of str"),
        ({"attachments": "x"}, "attachments must be a list of Attachment, not str"),
        ({"attachments": Attachment("a.txt", b"")}, "attachments must be a list of Attachment, not Attachment"),
        ({"attachments": None}, "attachments must be a list of Attachment, not NoneType"),
        ({"context": {"a": "\udcff"}}, "context contains half a surrogate pair"),
        (
            {"headers": {"List-Unsubscribe": "<https://x.org/ü>"}},
            "headers: header 'List-Unsubscribe' may hold printable",
        ),
        ({"headers": {"List-Help": "<ü>", "X-A": "ü"}}, "headers: header 'List-Help' may hold printable ASCII only"),
        ({"headers": {"List-Unsubscribe": f"<{URL}>"}}, "headers: .* an entry of 1902 characters, .* room for 980"),
        ({"cc": "a@x.org\r\nBcc: b@x.org"}, "cc: .* line break"),
        ({"bcc": "@"}, "bcc: "),
        ({"sender": "a@x.org, b@x.org"}, "sender: .*exactly one address"),
        ({"reply_to": "nobody"}, "reply_to: "),
        ({"subject": "Hi\nBcc: b@x.org"}, "subject contains a control character"),
        ({"subject": 7}, "subject must be text, not int"),
        ({"text": "a\x00"}, "text contains a NUL"),
        ({"html": "\ud800"}, "html contains a NUL or half a surrogate"),
        ({"subject": None, "text": None}, "no content"),
        ({"template": "welcome"}, "template: give either"),
        ({"template": "../welcome", "text": None}, r"template '\.\./welcome': not a template name"),
        ({"template": "", "text": None}, "template '': not a template name"),
        ({"template": b"x", "text": None}, "template must be text, not bytes"),
        ({"locale": "d e"}, "locale 'd e' is not a language tag like de or de-AT"),
        ({"context": {"a": object()}}, "context cannot be written as JSON"),
        ({"context": {"a": float("nan")}}, "context cannot be written as JSON"),
        ({"context": [1]}, "context must be a mapping, not list"),
        ({"headers": {"Bcc": "a@x.org"}}, "headers: header 'Bcc' is set by 'bcc'"),
        ({"headers": {"X-A": "a\r\nBcc: b@x.org"}}, "headers: header 'X-A' contains a control"),
        ({"priority": 3}, "priority must be a whole number from 0 to 2, not 3"),
        ({"priority": True}, "priority must be a whole number"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1 to 1000"),
        ({"due_at": datetime(2026, 1, 2)}, "due_at: .* has no time zone"),  # noqa: DTZ001  # that is the mistake
        ({"expires_at": "tomorrow"}, "expires_at must be a datetime, not str"),
        ({"on_doubt": "never"}, "on_doubt must be 'resend' or 'hold', not 'never'"),
        ({"tag": "a\n"}, "tag contains a control"),
        ({"idempotency_key": "\x00"}, "idempotency_key contains a control"),
    ],
)
def test_a_mistake_is_named_with_its_argument(wrong, message):
    with pytest.raises(ValueError, match=message):
        Email(**{**GOOD, **wrong})


def test_a_template_needs_no_literal_content():
    email = Email(to="a@x.org", template="welcome", context={"name": "Ada"}, locale="de")
    assert (email.template, email.context, email.locale) == ("welcome", {"name": "Ada"}, "de")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"filename": ""}, "filename is empty"),
        ({"filename": "a\r\nX: b"}, "filename contains a control"),
        ({"content": "text"}, "content must be bytes, not str"),
        ({"content_type": "png"}, "content_type must look like"),
        ({"content_type": "image/png\r\nX: b"}, "content_type must look like"),
        ({"cid": "<logo>"}, "cid must be printable ASCII"),
    ],
)
def test_a_mistake_in_an_attachment_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Attachment(**{"filename": "a.png", "content": b"a", **wrong})


def test_an_attachment_is_read_from_a_file_under_its_name(tmp_path):
    (tmp_path / "Rechnung ü.pdf").write_bytes(b"%PDF")
    file = Attachment.from_path(tmp_path / "Rechnung ü.pdf", cid="bill")
    assert (file.filename, file.content, file.cid) == ("Rechnung ü.pdf", b"%PDF", "bill")


@pytest.mark.parametrize("name", ["X-Campaign", "List-Unsubscribe", "Auto-Submitted", "In-Reply-To", "Comments"])
def test_extra_headers_are_fine(name):
    assert header_fault(name, "some value") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Campaign", "some\tvalue ü"),
        ("List-Id", "Bücher <books.x.org>"),
        ("List-Unsubscribe", f"<{URL[:977]}>, <{URL[:900]}>,<mailto:u@x.org?subject=a,b>"),
        ("References", " ".join([f"<{URL[:80]}@x.org>"] * 40)),
    ],
)
def test_only_what_cannot_be_encoded_nor_folded_is_limited(name, value):
    assert header_fault(name, value) is None
    assert Email(**GOOD, headers={name: value}).headers == {name: value}


@pytest.mark.parametrize(
    "name",
    ["From", "to", "CC", "Bcc", "Sender", "Reply-To", "Subject", "DATE", "Message-ID", "MIME-Version", "Content-Type"],
)
def test_structural_headers_are_refused_in_any_case(name):
    assert repr(name) in str(header_fault(name, "x"))


@pytest.mark.parametrize("name", ["", "X A", "X:A", "X\n", "Ünicode", "X" * 77])
def test_a_name_that_is_no_header_name_is_refused(name):
    assert "is not valid" in str(header_fault(name, "x"))


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "\x85", "\u2028", "\udc80", None, 7])
def test_a_value_that_could_end_the_header_or_is_no_text_is_refused(value):
    assert header_fault("X-A", value) is not None


async def test_an_email_that_was_rolled_back_can_be_added_again(engine):
    email = Email(to="ada@example.org", subject="Hi", text="Hello", transport="news")
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(email)
        await session.flush()
        await session.rollback()
        session.add(email)
        await session.commit()
        assert (await session.scalars(select(Email.gate))).all() == ["news"] == [email.gate]
