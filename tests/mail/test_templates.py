"""Templates: what is rendered, which variant, and how errors are told."""

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from outbox.core.errors import ContentError
from outbox.mail.content import Content
from outbox.mail.templates import Templates
from tests.mail.rows import composed, read, text_of


@pytest.fixture
def folder(tmp_path):
    """A folder for templates, with a way to write them."""

    class Folder:
        path = tmp_path / "templates"

        def write(self, **files: str) -> Templates:
            self.path.mkdir(exist_ok=True)
            for name, text in files.items():
                (self.path / name.replace("__", ".")).write_text(text, encoding="utf-8")
            return Templates(self.path)

    return Folder()


def test_a_template_gives_subject_text_and_html(folder):
    templates = folder.write(
        hi__subject__txt="Hi {{ name }}\n", hi__txt="Hello {{ name }}", hi__html="<p>{{ name }}</p>"
    )
    assert templates.render("hi", {"name": "Ada"}, None) == Content("Hi Ada", "Hello Ada", "<p>Ada</p>")


def test_values_are_escaped_in_html_only(folder):
    templates = folder.write(hi__subject__txt="{{ x }}", hi__txt="{{ x }}", hi__html="{{ x }}")
    assert templates.render("hi", {"x": "a < b & c"}, None) == Content("a < b & c", "a < b & c", "a &lt; b &amp; c")


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        (None, "plain"),
        ("", "plain"),
        ("fr", "plain"),
        ("de", "deutsch"),
        ("de-AT", "österreichisch"),
        ("de_AT", "österreichisch"),
        ("de-CH", "deutsch"),
        ("de-AT-1996", "österreichisch"),
    ],
)
def test_the_nearest_language_is_taken(folder, locale, text):
    files = {"hi__txt": "plain", "hi__de__txt": "deutsch", "hi__de-AT__txt": "österreichisch"}
    assert folder.write(**files).render("hi", {}, locale).text == text


def test_each_file_falls_back_for_itself(folder):
    templates = folder.write(hi__subject__txt="Hi", hi__de__subject__txt="Hallo", hi__txt="text", hi__de_AT__html="<b>")
    assert templates.render("hi", {}, "de_AT") == Content("Hallo", "text", "<b>")


@pytest.mark.parametrize("locale", ["../de", "de/..", "d e", "de\0", "de.html", "é"])
def test_a_locale_that_is_no_language_tag_is_refused(folder, locale):
    with pytest.raises(ContentError, match="language tag"):
        folder.write(hi__txt="x").render("hi", {}, locale)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "a\\b", "a\0", ".hidden", "a/.b", "", "a//b"]
)
def test_a_name_never_leaves_the_folder(folder, name):
    templates = folder.write(hi__txt="x")
    (folder.path.parent / "secret.txt").write_text("secret")
    (folder.path / ".hidden.txt").write_text("secret")
    with pytest.raises(ContentError, match="not a template name"):
        templates.render(name, {}, None)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", ".hidden.txt"])
def test_an_include_never_leaves_the_folder(folder, name):
    (folder.path.parent / "secret.txt").write_text("secret")
    templates = folder.write(hi__txt=f"one\n{{% include '{name}' %}}", __hidden__txt="secret")
    with pytest.raises(ContentError, match=r"^hi\.txt line 2: '.*' not found$"):
        templates.render("hi", {}, None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ order.id }}", "'order' is undefined"),
        ("{{ name.nothing }}", "'str object' has no attribute 'nothing'"),
        ("{% if %}", "Expected an expression, got 'end of statement block'"),
        ("{{ 1|unknown }}", "No filter named 'unknown'."),
        ("{{ name.__class__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ items.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{% include 'nothing.txt' %}", "'nothing.txt' not found"),
        ("{{ name + 1 }}", 'TypeError: can only concatenate str (not "int") to str'),
    ],
)
def test_an_error_is_told_by_file_line_and_name(folder, source, said):
    templates = folder.write(hi__html=f"one\ntwo\n{source}")
    with pytest.raises(ContentError) as error:
        templates.render("hi", {"name": "Ada", "items": []}, None)
    assert str(error.value) == f"hi.html line 3: {said}"


def test_an_error_is_told_the_same_for_a_relative_folder(folder, monkeypatch):
    folder.write(hi__txt="\n{{ 1 / 0 }}")
    monkeypatch.chdir(folder.path)
    with pytest.raises(ContentError, match=r"^hi\.txt line 2: ZeroDivisionError"):
        Templates(Path()).render("hi", {})


def test_an_error_in_an_included_file_names_that_file(folder):
    templates = folder.write(hi__txt="{% include '_part.txt' %}", _part__txt="\n{{ order }}")
    with pytest.raises(ContentError, match=r"^_part\.txt line 2: 'order' is undefined$"):
        templates.render("hi", {}, None)


def test_endless_recursion_is_an_error_of_the_template(folder):
    templates = folder.write(hi__txt="{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")
    with pytest.raises(ContentError, match=r"^hi\.txt line 1: RecursionError"):
        templates.render("hi", {}, None)


def test_a_subject_with_a_line_break_is_an_error(folder):
    templates = folder.write(hi__subject__txt="Hi {{ name }}", hi__de__subject__txt="{{ name }}", hi__txt="x")
    for locale, file in ((None, "hi.subject.txt"), ("de-AT", "hi.de.subject.txt")):
        with pytest.raises(ContentError, match=rf"^{re.escape(file)}: the subject has a line break$"):
            templates.render("hi", {"name": "Ada\r\nBcc: eve@example.org"}, locale)


def test_a_template_that_does_not_exist_says_which_files_were_expected(folder):
    with pytest.raises(ContentError, match=r"template 'nope' not found: there is no nope\.txt or nope\.html in "):
        folder.write(hi__txt="x").render("nope", {}, None)


def test_a_changed_file_is_compiled_again(folder):
    templates = folder.write(hi__txt="old")
    assert templates.render("hi", {}, None).text == "old"
    folder.write(hi__txt="new")
    os.utime(folder.path / "hi.txt", (1, 1))
    assert templates.render("hi", {}, None).text == "new"


def test_a_file_that_changes_while_it_is_read_is_read_again(folder, monkeypatch):
    templates = folder.write(hi__txt="old")
    told = os.path.getmtime

    def change(path):
        monkeypatch.undo()
        folder.write(hi__txt="new")
        return told(path)

    monkeypatch.setattr(os.path, "getmtime", change)  # Jinja looks at it behind its reading
    assert templates.render("hi", {}, None).text == "old"
    assert templates.render("hi", {}, None).text == "new"


def test_another_file_in_its_place_is_read_whatever_its_time(folder):
    templates = folder.write(hi__txt="old", other__txt="new")
    for name in ("hi.txt", "other.txt"):
        os.utime(folder.path / name, (1, 1))
    assert templates.render("hi", {}, None).text == "old"
    (folder.path / "other.txt").rename(folder.path / "hi.txt")
    assert templates.render("hi", {}, None).text == "new"


def test_a_mark_in_front_of_a_file_is_no_part_of_it(folder):
    templates = folder.write(hi__txt="\ufeffHello", hi__subject__txt="\ufeffHi", hi__sample__json="\ufeff{}")
    assert templates.render("hi", {}, None) == Content("Hi", "Hello", None)
    assert templates.folder.sample("hi") == ("hi.sample.json", {})


def test_names_lists_what_can_be_rendered(folder):
    templates = folder.write(
        b__txt="", b__de__txt="", b__de_AT__html="", b__subject__txt="", a__html="", only__de__txt="", _layout__html=""
    )
    (folder.path / "orders").mkdir()
    (folder.path / "orders" / "paid.html").write_text("")
    assert templates.folder.names() == ["a", "b", "only.de", "orders/paid"]
    assert templates.render("orders/paid", {}, None).html == ""


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("_d.txt", "_d.txt line 1: unexpected 'end of template'"),
        ("a.html", "a.html line 1: Expected an expression, got 'end of statement block'"),
        ("b.txt", None),
        ("c.de.txt", "c.de.txt line 2: No filter named 'no'."),
    ],
)
def test_compiling_a_file_tells_its_syntax_error(folder, file, said):
    templates = folder.write(a__html="{% if %}", b__txt="fine {{ undefined }}", c__de__txt="\n{{ 1|no }}", _d__txt="{{")
    with nullcontext() if said is None else pytest.raises(ContentError, match=f"^{re.escape(said)}$"):
        templates.compile(file)


def test_a_row_with_a_template_becomes_its_message(folder):
    folder.write(hi__subject__txt="Hi {{ name }}", hi__html="<p>Hello {{ name }}</p>")
    message = read(
        composed(template="hi", context=json.dumps({"name": "Zoë"}), templates=folder.path, subject=None).content
    )
    assert message["Subject"] == "Hi Zoë"
    assert [text_of(part) for part in message.iter_parts()] == ["Hello Zoë\n", "<p>Hello Zoë</p>\n"]


def test_the_subject_of_the_row_wins(folder):
    folder.write(hi__subject__txt="From the file", hi__txt="x")
    assert (
        read(composed(template="hi", templates=folder.path, subject="From the row").content)["Subject"]
        == "From the row"
    )


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800"])
@pytest.mark.parametrize("ending", ["subject.txt", "txt", "html"])
def test_what_json_escapes_bring_into_a_template_is_refused(folder, escape, ending):
    folder.write(**{"hi.txt": "x", "hi.subject.txt": "x", f"hi.{ending}": "{{ x }}"})
    with pytest.raises(ContentError, match="it contains a NUL or half a character"):
        composed(template="hi", context=f'{{"x": "{escape}"}}', templates=folder.path, subject=None)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"context": "{"}, "context: not valid JSON"),
        ({"context": "[1]"}, "context: a JSON object is expected, not list"),
        ({"context": "[" * 100_000}, "context: not valid JSON"),
        ({"subject": None}, r"template 'hi' gives no subject \(hi.subject.txt\), nor does the row"),
        ({"template": "../hi"}, "template '../hi': not a template name"),
        ({"locale": "../x"}, "locale '../x' is not a language tag"),
    ],
)
def test_a_row_that_its_template_cannot_use_is_refused(folder, columns, said):
    folder.write(hi__txt="x")
    with pytest.raises(ContentError, match=f"^{said}"):
        composed(**{"template": "hi", "templates": folder.path} | columns)


def test_a_template_without_a_folder_says_what_to_set():
    with pytest.raises(ContentError, match="no template folder is configured; set OUTBOX_TEMPLATES"):
        composed(template="hi")
