"""The parts of a message: which there are, how they nest, what is in them."""

import base64
from typing import Any

import pytest

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from outbox.mail.part import _BLOCK, base64_lines
from tests.mail.rows import composed, read, text_of

PDF = AttachedFile("order.pdf", b"%PDF-1.7\0\xff" * 50)
LOGO = AttachedFile("logo.png", b"\x89PNG", None, "logo")


def tree(part: Any) -> Any:
    """The content types, nested as the parts are."""
    name = part.get_content_type()
    return {name: [tree(child) for child in part.iter_parts()]} if part.is_multipart() else name


def structure(*files: AttachedFile, **columns: Any) -> Any:
    return tree(read(composed(files, **columns).content))


def a_file(**columns: Any) -> AttachedFile:
    return AttachedFile(**{"filename": "a.bin", "content": b"x"} | columns)


def only_file(**columns: Any) -> Any:
    """The one attachment, read back."""
    (part,) = read(composed([a_file(**columns)]).content).iter_attachments()
    return part


def test_text_alone_is_one_part():
    assert structure() == "text/plain"


def test_text_comes_before_html():
    assert structure(body_html="<p>Hello") == {"multipart/alternative": ["text/plain", "text/html"]}


def test_html_alone_gets_a_text():
    message = read(composed(body_text=None, body_html='<p>Hello <a href="https://x.org/">you</a></p>').content)
    text, _ = message.iter_parts()
    assert text_of(text) == "Hello you <https://x.org/>\n"


def test_html_without_any_words_stands_alone():
    assert structure(body_text=None, body_html="<img src='https://example.org/x.png'>") == "text/html"


def test_blank_html_is_no_html():
    assert structure(body_html=" \n") == "text/plain"


def test_inline_images_are_related_to_the_html_within_the_alternative():
    assert structure(PDF, LOGO, body_html="<img src='cid:logo'>") == {
        "multipart/mixed": [
            {"multipart/alternative": ["text/plain", {"multipart/related": ["text/html", "image/png"]}]},
            "application/pdf",
        ]
    }


def test_an_inline_image_bears_the_id_the_html_refers_to():
    message = read(composed([LOGO], body_html="<img src='cid:logo'>").content)
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert image["Content-ID"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    assert image.get_content() == b"\x89PNG"


def test_an_inline_image_without_html_is_attached():
    assert structure(LOGO) == {"multipart/mixed": ["text/plain", "image/png"]}


def test_a_text_may_have_attachments():
    message = read(composed([PDF]).content)
    assert tree(message) == {"multipart/mixed": ["text/plain", "application/pdf"]}
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("order.pdf", PDF.content)


def test_a_file_alone_is_a_message():
    assert structure(PDF, body_text=None, subject=None) == {"multipart/mixed": ["text/plain", "application/pdf"]}


def test_a_row_without_any_content_is_refused():
    with pytest.raises(ContentError, match="no content"):
        composed(subject=None, body_text=None)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello\n" * 10, "7bit"),
        ("x" * 998, "7bit"),
        ("x" * 999, "quoted-printable"),
        ("Grüße aus Köln am Rhein", "quoted-printable"),
        ("Привет, как дела", "base64"),
        ("\x1b[1m", "quoted-printable"),
        ("--=_d23b3caa7bd58c1df6b6134ea304de21--", "quoted-printable"),
    ],
)
def test_a_text_takes_the_most_readable_encoding_that_carries_it(text, encoding):
    message = read(composed(body_text=text).content)
    assert message["Content-Transfer-Encoding"] == encoding
    assert text_of(message).rstrip("\n") == text.rstrip("\n")


def test_all_line_ends_become_crlf_and_nothing_else_does():
    content = composed(body_text="a\nb\rc\r\nd\x0be\u2028f\n\n").content
    assert read(content).get_payload(decode=True) == "a\r\nb\r\nc\r\nd\x0be\u2028f\r\n\r\n".encode()


def test_dots_are_left_to_the_transport():
    assert composed(body_text=".\n..a").content.endswith(b"\r\n\r\n.\r\n..a\r\n")


def test_base64_is_written_in_lines_of_76():
    body = composed([PDF]).content.partition(b"application/pdf")[2].partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[0]
    *lines, last = body.split(b"\r\n")
    assert {len(line) for line in lines} == {76}
    assert len(last) <= 76
    assert base64.b64decode(body) == PDF.content


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("a.pdf", "application/pdf"),
        ("a.PNG", "image/png"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.ics", "text/calendar"),
        ("a.tar.gz", "application/gzip"),
        ("a.nonsense", "application/octet-stream"),
        ("noname", "application/octet-stream"),
    ],
)
def test_a_type_that_is_not_given_follows_from_the_name(filename, content_type):
    assert only_file(filename=filename).get_content_type() == content_type


def test_a_calendar_without_a_method_is_a_file_with_its_charset():
    part = only_file(filename="a.ics", content="BEGIN:VCALENDAR é".encode(), content_type="text/calendar; x=y")
    assert dict(part["Content-Type"].params) == {"x": "y", "charset": "utf-8"}
    assert part.get_content() == "BEGIN:VCALENDAR é"


@pytest.mark.parametrize("content", [b"a,b\n1,2\r\n\xe9\r", b"\xff\xfe"])
def test_the_bytes_of_a_text_file_are_kept(content):
    part = only_file(filename="a.csv", content=content)
    assert part.get_payload(decode=True) == content
    assert "charset" not in part["Content-Type"].params


def test_the_charset_that_is_given_is_kept():
    part = only_file(content="é".encode("latin-1"), content_type='text/plain; charset="iso-8859-1"')
    assert part.get_content() == "é"


def test_a_message_is_attached_as_one_where_it_is_ascii():
    inner = b"Subject: inner\r\n\r\nHello\r\n"
    part = only_file(filename="a.eml", content=inner, content_type="message/rfc822")
    assert (part.get_content_type(), part["Content-Transfer-Encoding"]) == ("message/rfc822", "7bit")
    assert part.get_content()["Subject"] == "inner"


@pytest.mark.parametrize("content", ["Subject: é\r\n\r\n".encode(), b"x" * 999, b"--=_x"])
def test_a_message_that_needs_an_encoding_is_attached_as_bytes(content):
    part = only_file(filename="a.eml", content=content, content_type="message/rfc822")
    assert (part.get_content_type(), part.get_content()) == ("application/octet-stream", content)


@pytest.mark.parametrize("filename", ["/etc/order.pdf", "..\\..\\order.pdf", "C:\\docs\\order.pdf", "a/b/../order.pdf"])
def test_a_file_name_loses_its_folders(filename):
    assert only_file(filename=filename).get_filename() == "order.pdf"


def test_a_non_ascii_file_name_has_a_plain_one_beside_it():
    part = only_file(filename="Übersicht März.pdf")
    assert part.get_filename() == "Übersicht März.pdf"
    assert part["Content-Type"].params["name"] == "Ubersicht Marz.pdf"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"filename": "a\r\nb.pdf"}, "attachment filename: .* control character"),
        ({"filename": "a\0.pdf"}, "attachment filename: it contains a NUL"),
        ({"filename": "\udcff.pdf"}, "attachment filename: it contains a NUL or half a character"),
        ({"filename": ""}, "attachment filename: '' names no file"),
        ({"filename": "../.."}, r"attachment filename: '../..' names no file"),
        ({"filename": "a" * 256}, "its name is longer than 255 characters"),
        ({"content_type": "pdf"}, "attachment 'a.bin': content_type 'pdf' is not of the form type/subtype"),
        ({"content_type": "a/b\r\nX: y"}, "attachment 'a.bin': .* control character"),
        ({"content_type": "a/b; é=1"}, "is not of the form type/subtype"),
        ({"content_type": ""}, "is not of the form type/subtype"),
        ({"content_type": "Multipart/Mixed"}, "multipart/mixed holds other parts"),
        ({"cid": "a b"}, "cid 'a b' is not a content id"),
        ({"cid": "a\r\nX: y"}, "attachment: .* control character"),
        ({"cid": "<>"}, "cid '<>' is not a content id"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_by_name(file, said):
    with pytest.raises(ContentError, match=said):
        composed([a_file(**file)])


def test_two_files_with_one_cid_are_refused():
    with pytest.raises(ContentError, match="two of them have the cid 'logo'"):
        composed([LOGO, AttachedFile("other.png", b"x", None, "<logo>")], body_html="<p>")


@pytest.mark.parametrize("column", ["subject", "body_text", "body_html"])
@pytest.mark.parametrize("value", [b"bytes", "a\0b", "a\ud800b"])
def test_what_is_no_text_is_refused_by_column(column, value):
    with pytest.raises(ContentError, match=f"^{column}: it "):
        composed(**{column: value})


@pytest.mark.parametrize("size", [0, 1, 57, 58, _BLOCK - 1, _BLOCK, _BLOCK + 1, 2 * _BLOCK, 2 * _BLOCK + 57])
def test_base64_in_pieces_is_base64_in_whole(size):
    content = bytes(range(256)) * (size // 256 + 1)
    lines = b"".join(base64_lines(content[:size])).split(b"\r\n")
    assert base64.b64decode(b"".join(lines)) == content[:size]
    assert lines.pop() == b""
    assert all(len(line) == 76 for line in lines[:-1])
    assert len(lines[-1]) <= 76
