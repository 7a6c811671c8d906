"""The text that is derived from HTML."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outbox.core.errors import ContentError
from outbox.mail.plain_text import text_of_html

TAGS = "<table> <tr> <td> </table> <ol> <li> </ol> <a> </a> <p> <pre> </pre> <!-- --> <script> <style> <svg:a> </div>"
ODD = [
    "<td colspan=9>",
    "<table role=presentation>",
    "<td style='display:none'>",
    "<div hidden>",
    "<hr>",
    "<img alt='x y'>",
    "<ol start=x>",
    "<a href='x'>",
    "<div style='margin: x'>",
    "<?xml version='1.0' encoding='latin-1'?>",
]
PIECES = st.sampled_from([*TAGS.split(), *ODD, "&#0;", "&#xd800;", "<![CDATA[x]]>", "text", "é", "\n", "<"])


NESTED = """<table role="presentation"><tr><td align="center"><table role=none><tr><td>Left<td>Right</table>
<tr><td><table><tr><td>a<td>b</table></table>"""


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hello <b>Ada</b></p><p>Bye</p>", "Hello Ada\n\nBye"),
        ('<a href="https://example.org/reset?t=1">Reset</a>', "Reset <https://example.org/reset?t=1>"),
        ('<a href="https://example.org">https://example.org</a>', "https://example.org"),
        ('<a href="mailto:ada@example.org">ada@example.org</a>', "ada@example.org"),
        ('<a href="#top">Up</a> <a name="x">here</a>', "Up here"),
        ("<ul><li>one<li>two</ul>", "  * one\n  * two"),
        ("<title>T</title><style>p { color: red }</style><script>x()</script><p>a", "a"),
        ("<p>a<br><br><br><br><br>b", "a\n\nb"),
        ("<?xml version='1.0' encoding='utf-8'?><p>caf&eacute;", "café"),
        ("<img src='cid:logo' alt=' Our\n logo '> Hi <img alt=''><img src='x.png'>!", "[Our logo] Hi !"),
        ('<a href="https://example.org/t"><img alt="Track it"></a>', "[Track it] <https://example.org/t>"),
        ('<div style="display:none; max-height:0">Look inside</div><p>Hello', "Hello"),
        ('<span style="color:red;VISIBILITY: hidden!important">Look</span> Hello', "Hello"),
        ("<p>Hello<span hidden>Look</span> Ada", "Hello Ada"),
        ('<td style="font-size:0px;opacity:0.5">Seen</td>', "Seen"),
        ("<p>Hello\u200b\u034f\u00ad Ada\ufeff", "Hello Ada"),
        ("<div><div><div>Hello</div>Ada</div></div>", "Hello\nAda"),
        ("<p>above<hr>below", f"above\n\n{'-' * 40}\n\nbelow"),
        ("<ol><li>one<li>two<ul><li>deep</ul></ol>", " 1. one\n 2. two\n      + deep"),
        ("<h1>Order</h1><p>a", "Order\n\na"),
        (
            "<table><tr><th>Item<th align=right>Price<tr><td>Engine<td align=right>1.00</table>",
            "Item    Price\nEngine   1.00",
        ),
        (
            NESTED,
            "Left\nRight\na  b",
        ),
        ("<!-- nothing -->", ""),
        ("", ""),
    ],
)
def test_html_becomes_readable_text(html, text):
    assert text_of_html(html) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_html_gives_text_without_layout_debris(html):
    text = text_of_html(html)
    assert "\n\n\n" not in text
    assert text.strip("\n") == text
    text.encode()


def test_what_the_library_cannot_read_is_an_error_of_the_row(monkeypatch):
    monkeypatch.setattr("inscriptis.html_engine.Inscriptis", lambda *_: [].pop())
    with pytest.raises(ContentError, match=r"no text can be derived from it .*; give a text as well"):
        text_of_html("<p>x</p>")
