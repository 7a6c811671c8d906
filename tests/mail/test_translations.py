"""Catalogues: which one speaks, in which order, and how a broken one is told."""

import io
import os

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from outbox.core.errors import ContentError
from outbox.mail.survey import answer
from outbox.mail.templates import Templates

HEAD = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"\n\n'


def entries(**texts: str) -> str:
    return HEAD + "".join(f'msgid "{text}"\nmsgstr "{said}"\n\n' for text, said in texts.items())


@pytest.fixture
def folder(tmp_path):
    """A folder with templates and catalogues."""

    class Folder:
        path = tmp_path / "templates"

        def template(self, **files: str) -> Templates:
            self.path.mkdir(exist_ok=True)
            for name, text in files.items():
                (self.path / name.replace("__", ".")).write_text(text, encoding="utf-8")
            return Templates(self.path)

        def po(self, language: str, text: str, name: str = "messages.po") -> None:
            file = self.path / "locale" / language / "LC_MESSAGES" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

        def mo(self, language: str, text: str, name: str = "messages.mo") -> None:
            self.po(language, "", name)
            compiled = io.BytesIO()
            write_mo(compiled, read_po(io.BytesIO(text.encode())))
            (self.path / "locale" / language / "LC_MESSAGES" / name).write_bytes(compiled.getvalue())

    return Folder()


@pytest.mark.parametrize("source", ["{{ _('Hello') }}", "{{ gettext('Hello') }}", "{% trans %}Hello{% endtrans %}"])
@pytest.mark.parametrize(
    ("locale", "said"),
    [
        *[
            (None, "Hello"),
            ("fr", "Hello"),
            ("de", "Hallo"),
            ("de-AT", "Servus"),
            ("de_AT", "Servus"),
            ("de-CH", "Hallo"),
        ],
        *[("DE", "Hallo"), ("de-at", "Servus"), ("DE_at", "Servus")],
    ],
)
def test_a_text_is_said_in_the_nearest_language_that_has_it(folder, source, locale, said):
    templates = folder.template(hi__txt=source)
    folder.po("de", entries(Hello="Hallo"))
    folder.po("de_AT", entries(Hello="Servus"))
    assert templates.render("hi", {}, locale).text == said


def test_a_file_in_the_usual_letters_is_found_for_a_locale_in_others(folder):
    templates = folder.template(hi__txt="Hello", hi__de_AT__txt="Servus", hi__zh_Hant_TW__txt="x", hi__fr_ca__txt="y")
    said = [templates.render("hi", {}, locale).text for locale in ("DE-at", "zh-hant-tw", "fr-ca", "fr-CA")]
    assert said == ["Servus", "x", "y", "Hello"]


def test_a_mark_in_front_of_a_catalogue_is_no_part_of_it(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }}")
    folder.po("de", "\ufeff" + entries(Hello="Hallo"))
    assert templates.render("hi", {}, "de").text == "Hallo"


def test_what_one_language_does_not_say_the_next_one_does(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }} {{ _('Bye') }} {{ _('Ahoy') }}")
    folder.po("de", entries(Hello="Hallo", Bye="Tschüss"))
    folder.po("de_AT", entries(Hello="Servus", Bye=""))
    assert templates.render("hi", {}, "de-AT").text == "Servus Tschüss Ahoy"


def test_one_rendering_after_the_other_each_has_its_language(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }} {{ '2026-12-03'|date }} {{ 0.5|percent }} {{ locale }}")
    folder.po("de", entries(Hello="Hallo"))
    said = [templates.render("hi", {}, locale).text for locale in ("de", None, "en-GB", "de")]
    assert said == [
        "Hallo 03.12.2026 50\N{NO-BREAK SPACE}% de",
        "Hello Dec 3, 2026 50% en",
        "Hello 3 Dec 2026 50% en-GB",
        "Hallo 03.12.2026 50\N{NO-BREAK SPACE}% de",
    ]


def test_plurals_and_contexts_are_translated(folder):
    templates = folder.template(
        hi__txt="{% trans count=n %}One item{% pluralize %}{{ count }} items{% endtrans %}, {{ pgettext('m', 'May') }}"
    )
    plural = 'msgid "One item"\nmsgid_plural "%(count)s items"\nmsgstr[0] "Ein Stück"\nmsgstr[1] "%(count)s Stück"\n\n'
    folder.po("de", HEAD + plural + 'msgctxt "m"\nmsgid "May"\nmsgstr "Mai"\n')
    assert templates.render("hi", {"n": 1}, "de").text == "Ein Stück, Mai"
    assert templates.render("hi", {"n": 3}, "de").text == "3 Stück, Mai"
    assert templates.render("hi", {"n": 3}, None).text == "3 items, May"


def test_values_in_translations_are_escaped_in_html_only(folder):
    source = "{% trans %}Hello {{ name }}{% endtrans %}"
    templates = folder.template(hi__txt=source, hi__html=source)
    folder.po("de", HEAD + 'msgid "Hello %(name)s"\nmsgstr "<b>Hallo</b> %(name)s"\n')
    content = templates.render("hi", {"name": "<Ada>"}, "de")
    assert (content.text, content.html) == ("<b>Hallo</b> <Ada>", "<b>Hallo</b> &lt;Ada&gt;")


def test_a_compiled_catalogue_comes_before_its_source(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }} {{ _('Bye') }}")
    folder.po("de", entries(Hello="source", Bye="source"))
    folder.mo("de", entries(Hello="compiled"))
    folder.po("de", entries(Bye="shop"), "shop.po")
    assert templates.render("hi", {}, "de").text == "compiled shop"


def test_fuzzy_entries_are_left_out(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }}")
    folder.po("de", HEAD + '#, fuzzy\nmsgid "Hello"\nmsgstr "Holla"\n')
    assert templates.render("hi", {}, "de").text == "Hello"


@pytest.mark.parametrize("write", ["po", "mo"])
def test_a_changed_catalogue_is_read_again(folder, write):
    templates = folder.template(hi__txt="{{ _('Hello') }}")
    getattr(folder, write)("de", entries(Hello="Hallo"))
    assert templates.render("hi", {}, "de").text == "Hallo"
    getattr(folder, write)("de", entries(Hello="Servus"))
    file = folder.path / "locale" / "de" / "LC_MESSAGES" / f"messages.{write}"
    os.utime(file, (1, 1))
    assert templates.render("hi", {}, "de").text == "Servus"
    file.unlink()
    assert templates.render("hi", {}, "de").text == "Hello"


def test_a_catalogue_that_comes_later_is_found(folder):
    templates = folder.template(hi__txt="{{ _('Hello') }}")
    assert templates.render("hi", {}, "de").text == "Hello"
    folder.po("de", entries(Hello="Hallo"))
    assert templates.render("hi", {}, "de").text == "Hallo"


def test_an_unchanged_catalogue_is_read_once(folder, monkeypatch):
    templates = folder.template(hi__txt="{{ _('Hello') }}")
    folder.po("de", entries(Hello="Hallo"))
    templates.render("hi", {}, "de")
    monkeypatch.setattr(templates.catalogues, "_read", None)
    assert templates.render("hi", {}, "de").text == "Hallo"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("messages.po", f'{HEAD}msgid "Hello"\nmsgstr "Hallo"\nHallo\n', r"messages\.po line 6: .+"),
        ("messages.mo", "no catalogue", r"messages\.mo: it cannot be read as a gettext catalogue \(OSError: .+\)"),
        ("messages.mo", "", r"messages\.mo: it cannot be read as a gettext catalogue \(error: .+\)"),
    ],
)
def test_a_broken_catalogue_is_told_by_file_and_line(folder, name, content, said):
    templates = folder.template(hi__txt="x")
    folder.po("de", content, name)
    with pytest.raises(ContentError, match=rf"^locale/de/LC_MESSAGES/{said}$"):
        templates.render("hi", {}, "de")
    assert templates.render("hi", {}, "fr").text == "x"
    with pytest.raises(ContentError, match=rf"^locale/de/LC_MESSAGES/{name}"):
        answer(templates, ("language", "de"))


def test_a_translation_with_a_wrong_name_is_told_by_file_and_line_of_the_template(folder):
    templates = folder.template(hi__txt="\n{% trans %}Hello {{ name }}{% endtrans %}")
    folder.po("de", HEAD + 'msgid "Hello %(name)s"\nmsgstr "Hallo %(nmae)s"\n')
    with pytest.raises(ContentError, match=r"^hi\.txt line 2: KeyError: 'nmae'$"):
        templates.render("hi", {"name": "Ada"}, "de")
