"""The demo's templates and files: what newcomers copy must be right."""

import json
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import outbox.demo
from outbox.core.claim import AttachedFile
from outbox.mail.survey import uses_of
from outbox.mail.templates import Templates
from tests.mail.rows import composed, read

DEMO = Path(outbox.demo.__file__).parent
CONTEXTS: dict[str, dict[str, Any]] = {
    "welcome": {"name": "Ada <3", "product": "Example Shop"},
    "password_reset": {"name": "Ada <3", "token": "k3v", "link": "https://example.org/k3v?a=1&b=2", "minutes": 30},
    "order_confirmation": {
        "name": "Ada <3",
        "order_number": "A-1001",
        "items": [
            {"name": "Engine", "quantity": 1, "price": "1"},
            {"name": "Card", "quantity": 9000, "price": 2.5},
        ],
        "total": 22501,
        "delivery_date": "2026-12-03",
    },
}
VOID = {"meta", "img", "br", "hr", "link"}


class Nesting(HTMLParser):
    """Fails where a tag is closed that is not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, _attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_there_are_the_three_notifications_every_product_has():
    templates = Templates(DEMO / "templates")
    assert templates.folder.names() == sorted(CONTEXTS)
    for file in templates.folder.files():
        templates.compile(file)


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_has_a_subject_a_text_and_well_nested_escaped_html(name):
    content = Templates(DEMO / "templates").render(name, CONTEXTS[name])
    assert content.subject
    assert content.text
    assert content.html
    parser = Nesting()
    parser.feed(content.html)
    assert parser.open == []
    assert "Ada <3" in content.text
    assert "<3" not in content.html
    assert "&amp;lt;" not in content.html


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_has_a_sample_of_its_values_and_the_layout_with_its_css_inlined(name):
    templates = Templates(DEMO / "templates")
    sample = templates.folder.sample(name)
    assert sample
    assert sample[1].keys() == CONTEXTS[name].keys() == uses_of(templates, name, None).names
    html = templates.render(name, sample[1]).html
    assert html
    assert '<td class="inside" style="padding: 36px 40px;' in html
    assert "@media (max-width: 480px)" in html


def test_the_order_confirmation_writes_dates_and_money_as_the_reader_does():
    name = "order_confirmation"
    content = Templates(DEMO / "templates").render(name, CONTEXTS[name], "de")
    assert content.text
    assert " Card, 2,50\N{NO-BREAK SPACE}£\n" in content.text
    assert "  9.000 " in content.text
    assert "3. Dezember 2026" in content.text


def test_the_order_confirmation_shows_the_logo_and_attaches_the_receipt():
    files = [
        AttachedFile("logo.png", (DEMO / "assets" / "logo.png").read_bytes(), None, "logo"),
        AttachedFile("order.pdf", (DEMO / "assets" / "order.pdf").read_bytes()),
    ]
    name = "order_confirmation"
    message = composed(
        files, template=name, context=json.dumps(CONTEXTS[name]), templates=DEMO / "templates", subject=None
    )
    parsed = read(message.content)
    assert parsed["Subject"] == "Your order A-1001"
    (html,) = [part for part in parsed.walk() if part.get_content_type() == "text/html"]
    assert "cid:logo" in html.get_content()
    assert [part.get_content_type() for part in parsed.iter_attachments()] == ["application/pdf"]


def test_the_logo_is_a_sound_png():
    content = (DEMO / "assets" / "logo.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    position, kinds = 8, []
    while position < len(content):
        length = int.from_bytes(content[position : position + 4])
        chunk = content[position + 4 : position + 8 + length]
        assert zlib.crc32(chunk) == int.from_bytes(content[position + 8 + length : position + 12 + length])
        kinds.append(chunk[:4])
        position += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_the_receipt_is_a_pdf_whose_index_finds_every_object():
    content = (DEMO / "assets" / "order.pdf").read_bytes()
    start = int(content.rpartition(b"startxref\n")[2].split()[0])
    assert content[start:].startswith(b"xref\n0 8\n")
    entries = content[start:].split(b"\n")[3:10]
    for number, entry in enumerate(entries, 1):
        assert content[int(entry[:10]) :].startswith(b"%d 0 obj" % number)
