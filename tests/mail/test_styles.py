"""CSS of templates: where it goes, what stays, and that nothing else is read."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.core.errors import ContentError
from outbox.mail.plain_text import text_of_html
from outbox.mail.styles import MOST_TAGS, with_inline_styles
from outbox.mail.templates import Templates

PAGE = "<!DOCTYPE html><html><head><style>{}</style></head><body><p class='x' style='margin: 0'>Hi</p></body></html>"
RULES = "p { color: red } .x { color: blue } p:hover { color: pink } @media (max-width: 9em) { p { color: green } }"


def test_rules_are_written_on_the_elements_they_are_for(tmp_path):
    (tmp_path / "_layout.html").write_text(PAGE.format(RULES).replace("Hi", "{% block body %}{% endblock %}"))
    (tmp_path / "hi.html").write_text("{% extends '_layout.html' %}{% block body %}{{ name }}{% endblock %}")
    html = Templates(tmp_path).render("hi", {"name": "<Ada> & é"}).html
    assert html is not None
    assert '<p class="x" style="color: blue;margin: 0">&lt;Ada&gt; &amp; é</p>' in html


def test_media_queries_and_what_cannot_be_inlined_stay():
    html = with_inline_styles("hi.html", PAGE.format(RULES))
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "@media (max-width: 9em) { p { color: green } }" in style
    assert "p:hover" in style
    assert "red" not in style
    assert html.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("html", ["<p>Hi &nbsp; <br/>", "<p style='color:red'>x", "", "styled <stylesheet>"])
def test_html_without_a_style_element_is_left_as_it_is(html):
    assert with_inline_styles("hi.html", html) == html


def test_conditional_comments_for_outlook_stay():
    html = with_inline_styles("hi.html", PAGE.format(RULES).replace("Hi", "<!--[if mso]><b>x</b><![endif]-->"))
    assert "<!--[if mso]><b>x</b><![endif]-->" in html


def test_html_that_would_take_all_memory_is_refused():
    html = "<style>p { color: red }</style>" + "<br>" * MOST_TAGS
    with pytest.raises(
        ContentError, match=r"^hi\.html: it has 250002 tags; CSS can be inlined in HTML of up to 250000$"
    ):
        with_inline_styles("hi.html", html)


@pytest.fixture
def server():
    """A port of this machine that nobody answers at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.mark.parametrize("where", ["{file}", "file://{file}", "http://127.0.0.1:{port}/x.css"])
def test_nothing_is_read_from_files_or_the_network(tmp_path, server, where):
    file = tmp_path / "secret.css"
    file.write_text("p { color: secret }")
    url = where.format(file=file, port=server.getsockname()[1])
    html = with_inline_styles(
        "hi.html",
        PAGE.format(f"@import url({url}); p {{ color: red }}").replace(
            "<style>", f'<link rel="stylesheet" href="{url}"><style>'
        ),
    )
    assert "secret }" not in html
    assert "color: secret" not in html
    assert f'<link rel="stylesheet" href="{url}">' in html
    with pytest.raises(BlockingIOError):
        server.accept()


@given(
    st.lists(
        st.sampled_from([*"<>{}@;:()\"'&", "style", "<style>", "</style>", "p", "é", "\0", "@media", "<p class=x>"])
    )
)
def test_any_html_and_css_comes_back_as_html(pieces):
    html = with_inline_styles("hi.html", f"<style>p {{ color: red }} {''.join(pieces)}</style><p>{''.join(pieces)}")
    html.encode()
    text_of_html(html)
