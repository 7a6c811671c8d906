"""Header fields on the wire, byte for byte where readers are picky."""

import json

import pytest

from outbox.core.address import parse_mailbox
from outbox.core.errors import ContentError
from outbox.core.message import Message
from outbox.db.models import Email
from tests.mail.rows import MESSAGE_ID, composed, raw_lines, read

URL = "https://example.org/unsubscribe/"


def header_lines(name: str, message: Message) -> list[bytes]:
    """The lines of one field as they are sent."""
    lines = raw_lines(message)
    start = next(n for n, line in enumerate(lines) if line.startswith(f"{name}:".encode()))
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(b" ")), len(lines))
    return lines[start:end]


def test_the_fields_come_in_their_order():
    message = composed(
        reply_to="r@example.org", cc_addrs="c@example.org", bcc_addrs="b@example.org", headers='{"X-Note": "n"}'
    )
    assert raw_lines(message) == [
        b"Date: Fri, 02 Jan 2026 03:04:05 +0000",
        f"Message-ID: {MESSAGE_ID}".encode(),
        b"From: Shop <shop@example.org>",
        b"Reply-To: r@example.org",
        b"To: ada@example.org",
        b"Cc: c@example.org",
        b"Subject: Hi",
        b"Auto-Submitted: auto-generated",
        b"X-Note: n",
        b"MIME-Version: 1.0",
        b'Content-Type: text/plain; charset="utf-8"',
        b"Content-Transfer-Encoding: 7bit",
    ]


@pytest.mark.parametrize("columns", [{}, {"headers": "{}"}, {"headers": '{"X-Note": "n"}'}, {"cc_addrs": "c@d.cc"}])
def test_every_email_says_that_a_program_wrote_it(columns):
    assert read(composed(**columns).content).get_all("Auto-Submitted") == ["auto-generated"]


@pytest.mark.parametrize("name", ["Auto-Submitted", "AUTO-submitted"])
@pytest.mark.parametrize("value", ["no", "auto-replied"])
def test_what_a_row_says_about_who_wrote_it_is_sent_as_it_is(name, value):
    message = read(composed(headers=json.dumps({name: value})).content)
    assert message.get_all("Auto-Submitted") == [value]


def test_bcc_is_in_the_envelope_and_nowhere_in_the_message():
    message = composed(cc_addrs="c@example.org", bcc_addrs="Secret <hidden@example.org>")
    assert message.recipients == ("ada@example.org", "c@example.org", "hidden@example.org")
    assert b"hidden" not in message.content
    assert b"Secret" not in message.content


def test_only_hidden_recipients_leave_an_empty_group():
    message = composed(to_addrs="", bcc_addrs="hidden@example.org")
    assert header_lines("To", message) == [b"To: undisclosed-recipients:;"]


def test_settled_recipients_are_shown_and_not_sent_to():
    message = composed(to_addrs="a@example.org, b@example.org", skip=["a@example.org"])
    assert message.recipients == ("b@example.org",)
    assert header_lines("To", message) == [b"To: a@example.org, b@example.org"]


def test_the_same_row_makes_the_same_bytes():
    columns = {"body_html": "<b>é</b>", "to_addrs": "José <josé@example.org>"}
    assert composed(**columns) == composed(**columns)


def test_a_message_id_that_is_not_ours_is_kept_and_dated_by_the_row():
    message = read(composed(message_id="<theirs@example.org>").content)
    assert message["Message-ID"] == "<theirs@example.org>"
    assert message["Date"] == "Thu, 01 Jan 2026 00:00:00 +0000"


@pytest.mark.parametrize("message_id", ["theirs@example.org", "<a b@example.org>", "<é@example.org>", ""])
def test_a_message_id_that_is_none_is_refused(message_id):
    with pytest.raises(ContentError, match="message_id"):
        composed(message_id=message_id)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Ada Lovelace", b"To: Ada Lovelace <ada@example.org>"),
        ('"Lovelace, Ada"', b'To: "Lovelace, Ada" <ada@example.org>'),
        ('"Ada \\"A\\" L."', b'To: "Ada \\"A\\" L." <ada@example.org>'),
        ("Zoë", b"To: =?utf-8?q?Zo=C3=AB?= <ada@example.org>"),
        ('"boss@example.org, Zoë"', b"To: =?utf-8?q?boss=40example=2Eorg=2C_Zo=C3=AB?= <ada@example.org>"),
        ("日本語", b"To: =?utf-8?b?5pel5pys6Kqe?= <ada@example.org>"),
        ("=?utf-8?q?x?=", b"To: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <ada@example.org>"),
    ],
)
def test_a_display_name_takes_the_plainest_safe_form(name, line):
    assert header_lines("To", composed(to_addrs=f"{name} <ada@example.org>")) == [line]


def test_a_long_address_list_is_folded_between_words_and_addresses():
    to = ", ".join(f"Number {n} <recipient-{n}@example.org>" for n in range(50))
    message = composed(to_addrs=to)
    lines = header_lines("To", message)
    assert max(map(len, lines)) <= 76
    assert [str(address) for address in read(message.content)["To"].addresses] == to.split(", ")


def test_an_international_domain_is_sent_as_a_labels():
    message = composed(to_addrs="Ada <ada@bücher.example>")
    assert message.recipients == ("ada@xn--bcher-kva.example",)
    assert header_lines("To", message) == [b"To: Ada <ada@xn--bcher-kva.example>"]
    assert message.utf8_content is None


def test_a_non_ascii_local_part_has_an_ascii_form_and_a_utf8_form():
    message = composed(to_addrs="José <josé@example.org>, ada@example.org")
    assert message.recipients == ("josé@example.org", "ada@example.org")
    # RFC 6857 §3.1.8: the name and address as the name of an empty group
    assert header_lines("To", message) == [b"To: =?utf-8?b?Sm9zw6kgam9zw6lAZXhhbXBsZS5vcmc=?= :;, ada@example.org"]
    assert "José josé@example.org" in str(read(message.content)["To"])
    assert [address.addr_spec for address in read(message.content)["To"].addresses] == ["ada@example.org"]
    assert message.utf8_content is not None
    assert "To: =?utf-8?b?Sm9zw6k=?= <josé@example.org>, ada@example.org\r\n".encode() in message.utf8_content
    assert message.utf8_content.partition(b"\r\n\r\n")[2] == message.content.partition(b"\r\n\r\n")[2]


def test_a_hidden_non_ascii_recipient_changes_nothing_in_the_message():
    assert composed(bcc_addrs="josé@example.org").utf8_content is None


def test_the_sender_of_the_row_wins_over_the_configured_one():
    assert composed().sender == "shop@example.org"
    message = composed(sender="Billing <billing@example.org>")
    assert message.sender == "billing@example.org"
    assert header_lines("From", message) == [b"From: Billing <billing@example.org>"]
    assert header_lines("From", composed(shop=parse_mailbox("x@example.org"))) == [b"From: x@example.org"]


@pytest.mark.parametrize("text", ["nonsense", "a@example.org, b@example.org"])
def test_a_sender_that_is_not_one_address_is_refused(text):
    with pytest.raises(ContentError, match=r"^sender: .*address"):
        composed(sender=text)


def test_answers_may_go_to_several_addresses():
    email = Email(to="ada@example.org", subject="Hi", reply_to=["a@b.org", "C D <c@d.org>"])
    for text in (email.reply_to, "a@b.org, C D <c@d.org>"):
        message = composed(reply_to=text)
        assert header_lines("Reply-To", message) == [b"Reply-To: a@b.org, C D <c@d.org>"]
        assert [address.addr_spec for address in read(message.content)["Reply-To"].addresses] == ["a@b.org", "c@d.org"]


@pytest.mark.parametrize("text", ["nonsense", "a@example.org, nonsense"])
def test_a_reply_to_with_an_entry_that_is_no_address_is_refused(text):
    with pytest.raises(ContentError, match=r"^reply_to: 'nonsense' is not an address"):
        composed(reply_to=text)


def test_a_long_subject_is_folded_at_spaces():
    lines = header_lines("Subject", composed(subject="word " * 40))
    assert max(map(len, lines)) <= 76
    assert b"".join(lines) == b"Subject: " + b" ".join([b"word"] * 40)


def test_a_long_word_stays_readable():
    (line,) = header_lines("Subject", composed(subject="x" * 900))
    assert line == b"Subject: " + b"x" * 900


def test_encoded_words_keep_to_75_octets_and_whole_characters():
    lines = header_lines("Subject", composed(subject="😀é" * 100))
    words = b"".join(lines).removeprefix(b"Subject: ").split(b" ")
    assert max(map(len, lines)) <= 76
    assert max(map(len, words)) <= 75
    assert "".join(str(read(b"Subject: " + word + b"\r\n\r\n")["Subject"]) for word in words) == "😀é" * 100


@pytest.mark.parametrize("length", range(50, 901, 50))
def test_list_unsubscribe_of_any_length_stays_readable(length):
    url = URL + "x" * (length - len(URL))
    lines = header_lines("List-Unsubscribe", composed(headers=json.dumps({"List-Unsubscribe": f"<{url}>"})))
    assert lines == [f"List-Unsubscribe: <{url}>".encode()]


def test_list_unsubscribe_is_folded_between_its_entries_only():
    value = f"<{URL}{'x' * 100}>, <mailto:unsubscribe@example.org?subject=a,b>"
    message = composed(
        headers=json.dumps({"List-Unsubscribe": value, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"})
    )
    assert header_lines("List-Unsubscribe", message) == [
        f"List-Unsubscribe: <{URL}{'x' * 100}>,".encode(),
        b" <mailto:unsubscribe@example.org?subject=a,b>",
    ]
    assert header_lines("List-Unsubscribe-Post", message) == [b"List-Unsubscribe-Post: List-Unsubscribe=One-Click"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"List-Unsubscribe": f"<{URL}{'x' * 990}>"}, "'List-Unsubscribe' has an entry of 1024 characters"),
        ({"List-Unsubscribe": "<https://example.org/ü>"}, "'List-Unsubscribe' may hold printable ASCII only"),
        ({"References": "<ü@example.org>"}, "'References' may hold printable ASCII only"),
    ],
)
def test_a_header_without_a_valid_form_is_refused(headers, said):
    with pytest.raises(ContentError, match=said):
        composed(headers=json.dumps(headers))


def test_references_are_folded_between_ids_and_never_encoded():
    ids = [f"<{'r' * 90}.{n}@example.org>" for n in range(4)]
    lines = header_lines("References", composed(headers=json.dumps({"References": " ".join(ids)})))
    assert lines == [f"References: {ids[0]}".encode(), *(f" {i}".encode() for i in ids[1:])]


def test_a_list_id_may_have_a_non_ascii_description():
    message = composed(headers=json.dumps({"List-Id": "Bücher <books.example.org>"}))
    assert header_lines("List-Id", message) == [b"List-Id: =?utf-8?q?B=C3=BCcher?= <books.example.org>"]


def test_a_list_of_values_makes_several_headers():
    message = composed(headers=json.dumps({"X-Tag": ["one", "two"]}))
    assert read(message.content).get_all("X-Tag") == ["one", "two"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("{", "headers: not valid JSON"),
        ('["X-Note"]', "headers: a JSON object is expected, not list"),
        ('{"X-Note": 1}', "headers: header 'X-Note' must have a text value"),
        ('{"X-Note": ["a", null]}', "headers: header 'X-Note' must have a text value"),
        ('{"X-Note": "a\\r\\nBcc: eve@example.org"}', "headers: header 'X-Note' contains a control character"),
        ('{"X-Note\\r\\nBcc": "eve@example.org"}', "headers: header name"),
        ('{"X Note": "a"}', "headers: header name 'X Note' is not valid"),
        ('{"Bcc": "eve@example.org"}', "headers: header 'Bcc' is set by 'bcc'"),
        ('{"Content-Type": "text/html"}', "headers: header 'Content-Type' is structural"),
        ('{"date": "now"}', "headers: header 'date' is structural"),
    ],
)
def test_extra_headers_that_are_not_allowed_are_refused(headers, said):
    with pytest.raises(ContentError, match=f"^{said}"):
        composed(headers=headers)
