"""Layouts, includes and macros: what they see, in which language they come, and that their changes are seen."""

import os

import pytest

from outbox.core.errors import ContentError
from outbox.mail.templates import Templates


@pytest.fixture
def write(tmp_path):
    def write(files: dict[str, str]) -> Templates:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return Templates(tmp_path)

    return write


LAYOUT = '<html lang="{{ locale }}">{% block body %}{% endblock %}{% include "_footer.html" %}</html>'
PAGE = (
    '{% extends "_layout.html" %}{% from "_parts.html" import button %}{% block body %}{{ button(name) }}{% endblock %}'
)
FILES = {
    "_layout.html": LAYOUT,
    "_footer.html": "<i>{{ shop }}</i>",
    "_footer.de.html": "<i>{{ shop }} aus Wien</i>",
    "_parts.html": "{% macro button(text) %}<b>{{ text }}</b>{% endmacro %}",
    "hi.html": PAGE,
}
CONTEXT = {"name": "<Ada>", "shop": "Shop & Co"}


@pytest.mark.parametrize(
    ("locale", "html"),
    [
        (None, '<html lang="en"><b>&lt;Ada&gt;</b><i>Shop &amp; Co</i></html>'),
        ("fr", '<html lang="fr"><b>&lt;Ada&gt;</b><i>Shop &amp; Co</i></html>'),
        ("de_AT", '<html lang="de-AT"><b>&lt;Ada&gt;</b><i>Shop &amp; Co aus Wien</i></html>'),
    ],
)
def test_a_page_has_its_layout_macros_and_the_footer_of_its_language(write, locale, html):
    assert write(FILES).render("hi", CONTEXT, locale).html == html


def test_a_layout_may_have_a_variant_for_a_page_without_one(write):
    templates = write(FILES | {"_layout.de.html": "<body>{% block body %}{% endblock %}</body>"})
    assert templates.render("hi", CONTEXT, "de").html == "<body><b>&lt;Ada&gt;</b></body>"


def test_the_language_that_the_context_names_wins(write):
    assert write({"hi.txt": "{{ locale }}"}).render("hi", {"locale": "mine"}, "de").text == "mine"


def test_texts_have_layouts_as_well(write):
    templates = write(
        {
            "_t.txt": "Hello\n{% block body %}{% endblock %}\n\nBye",
            "hi.txt": "{% extends '_t.txt' %}\n{% block body %}{{ name }}{% endblock %}",
        }
    )
    assert templates.render("hi", CONTEXT).text == "Hello\n<Ada>\nBye"


@pytest.mark.parametrize("changed", ["_layout.html", "_footer.html", "_parts.html"])
def test_a_change_of_what_a_page_is_made_of_is_seen(write, tmp_path, changed):
    templates = write(FILES)
    templates.render("hi", CONTEXT)
    text = FILES[changed].replace("</", "!</", 1)
    (tmp_path / changed).write_text(text, encoding="utf-8")
    os.utime(tmp_path / changed, (1, 1))
    html = templates.render("hi", CONTEXT).html
    assert html is not None
    assert html.count("!") == 1


def test_a_variant_that_comes_later_or_goes_is_seen(write, tmp_path):
    templates = write(FILES)
    write({"hi.de.html": "neu"})
    assert templates.render("hi", CONTEXT, "de").html == "neu"
    (tmp_path / "hi.de.html").unlink()
    assert "aus Wien" in str(templates.render("hi", CONTEXT, "de").html)


def test_each_file_is_compiled_once(write, monkeypatch):
    templates = write(FILES)
    before = templates.render("hi", CONTEXT, "de")
    monkeypatch.setattr(type(templates.environment), "compile", None)
    assert templates.render("hi", CONTEXT, "de") == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_layout.html": "one\n{{ nothing }}"}, "_layout.html line 2: 'nothing' is undefined"),
        (
            {"_footer.de.html": "one\n\n{% if %}"},
            "_footer.de.html line 3: Expected an expression, got 'end of statement block'",
        ),
        ({"_footer.de.html": "\n{{ nothing }}"}, "_footer.de.html line 2: 'nothing' is undefined"),
        (
            {"_parts.html": "{% macro button(x) %}\n{{ 1 / 0 }}{% endmacro %}"},
            "_parts.html line 2: ZeroDivisionError: division by zero",
        ),
        ({"hi.html": "\n{% extends 'gone.html' %}"}, "hi.html line 2: 'gone.html' not found"),
        ({"hi.html": "\n{% extends '../x.html' %}"}, "hi.html line 2: '../x.html' not found"),
        ({"hi.html": "{{ x|date }}"}, "hi.html line 1: 'x' is undefined"),
    ],
)
def test_an_error_is_told_where_it_is(write, changes, said):
    with pytest.raises(ContentError) as error:
        write(FILES | changes).render("hi", CONTEXT, "de")
    assert str(error.value) == said


def test_what_an_imported_file_has_at_its_top_is_that_of_each_email(write):
    templates = write(
        {
            "_parts.txt": '{% set day = "2026-12-03"|date %}{% set foot %}{% include "_foot.txt" %}{% endset %}'
            "{% set seen = namespace(names=[]) %}"
            "{% macro meet(name) %}{% set seen.names = seen.names + [name] %}{{ seen.names }}{% endmacro %}",
            "_inner.txt": '{% from "_parts.txt" import day %}{% macro when() %}{{ day }}{% endmacro %}',
            "_foot.txt": "Bye",
            "_foot.de.txt": "Servus",
            "hi.txt": '{% from "_parts.txt" import day, foot, meet %}{% from "_inner.txt" import when %}'
            "{{ day }} {{ when() }} {{ foot }} {{ meet(name) }}",
        }
    )
    emails = (("a", None), ("b", "de"), ("c", "en"))
    said = [templates.render("hi", {"name": name}, locale).text for name, locale in emails]
    assert said == [
        "Dec 3, 2026 Dec 3, 2026 Bye ['a']",
        "03.12.2026 03.12.2026 Servus ['b']",
        "Dec 3, 2026 Dec 3, 2026 Bye ['c']",
    ]


def test_a_file_that_an_imported_one_includes_is_read_again_when_it_changes(write):
    files = {"_parts.txt": '{% set foot %}{% include "_foot.txt" %}{% endset %}', "_foot.txt": "old"}
    templates = write(files | {"hi.txt": '{% from "_parts.txt" import foot %}{{ foot }}'})
    assert templates.render("hi", {}, None).text == "old"
    write({"_foot.txt": "newer"})
    assert templates.render("hi", {}, None).text == "newer"


def test_within_one_email_an_imported_file_is_computed_once(write):
    count = "{% macro n() %}{% set seen.n = seen.n + 1 %}{{ seen.n }}{% endmacro %}"
    files = {"_parts.txt": "{% set seen = namespace(n=0) %}" + count}
    files |= {"hi.txt": '{% for _ in range(3) %}{% from "_parts.txt" import n %}{{ n() }}{% endfor %}'}
    assert write(files).render("hi", {}, None).text == "123"
