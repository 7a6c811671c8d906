"""`check` renders every template with its sample, in every language, and names what does not fit."""

import io
import os

import pytest
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'


@pytest.fixture
def lines(outbox, outbox_db, monkeypatch, tmp_path):
    """Write a folder, and give what `check` says of it."""

    def lines(files: dict[str, str]) -> list[str]:
        for name, text in files.items():
            path = tmp_path / "templates" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("OUTBOX_TEMPLATES", "templates")
        answer = outbox("check")
        assert answer.code == 1  # there is no transport
        return [line for line in answer.out.splitlines() if "template" in line.partition(":")[0]]

    return lines


def test_a_template_that_fits_its_sample_is_only_counted(lines):
    assert lines({"hi.txt": "{{ name }}", "hi.sample.json": '{"name": "Ada"}'}) == ["✓ templates: 1 in templates"]


def test_a_template_without_a_sample_is_a_warning(lines):
    warning, _ = lines({"hi.txt": "{{ name }}"})
    assert warning == (
        "! template hi: it has no sample; with hi.sample.json beside it, it is rendered here and by `outbox preview`"
    )


def test_missing_and_unused_names_are_told(lines):
    files = {
        "hi.txt": "{{ name }}{% if promo is defined %}{{ promo }}{% endif %}",
        "hi.sample.json": '{"name": "Ada", "nmae": "Ada"}',
    }
    assert lines(files) == [
        "! template hi: used, but not in hi.sample.json: promo",
        "! template hi: in hi.sample.json, but never used: nmae",
        "✓ templates: 1 in templates",
    ]


def test_a_rendering_that_fails_is_a_fault_with_everything_that_is_missing(lines):
    files = {"hi.txt": "\n{{ name }}{{ order.number }}", "hi.sample.json": "{}"}
    assert lines(files) == [
        "✗ template hi: hi.txt line 2: 'name' is undefined",
        "! template hi: used, but not in hi.sample.json: name, order",
        "✓ templates: 1 in templates",
    ]


def test_layouts_includes_and_macros_count_as_used(lines):
    files = {
        "_layout.html": "{{ shop }}{% block body %}{% endblock %}{% include ['_no.html', '_foot.html'] %}{{ title }}",
        "_foot.html": "{{ footer }}",
        "_parts.html": "{% macro button(text) %}{{ text }}{% endmacro %}{% macro other() %}{{ no }}{% endmacro %}",
        "_row.html": "{{ item }}{{ currency }}",
        "hi.html": "{% extends '_layout.html' %}{% from '_parts.html' import button %}{% set title = 'x' %}"
        "{% block body %}{% for item in items %}{% include '_row.html' %}{% endfor %}{{ button(name) }}"
        "{{ _('x') }}{{ locale }}{{ range(3)|list }}{% endblock %}",
        "hi.sample.json": '{"shop": 1, "footer": 2, "items": [1], "name": "Ada", "currency": "EUR", "no": 0}',
    }
    assert lines(files) == [
        "! template hi: in hi.sample.json, but never used: no",
        "✓ templates: 1 in templates",
    ]


def test_nothing_is_called_unused_where_a_name_of_a_file_is_made_while_rendering(lines):
    files = {"hi.txt": "{% include kind ~ '.txt' %}", "_a.txt": "{{ x }}", "hi.sample.json": '{"kind": "_a", "x": 1}'}
    assert lines(files) == ["✓ templates: 1 in templates"]


def test_each_language_is_rendered_with_its_own_files(lines):
    files = {
        "hi.txt": "{{ name }}",
        "hi.de.txt": "{{ name }} {{ anrede }}",
        "hi.sample.json": '{"name": "Ada"}',
        "fr.txt": "x",
        "fr.sample.json": "{}",
        "fr.fr.sample.json": '{"x": 1}',
        "locale/es/LC_MESSAGES/messages.po": PO,
    }
    assert lines(files) == [
        "! template fr (fr): in fr.fr.sample.json, but never used: x",
        "✗ template hi (de): hi.de.txt line 1: 'anrede' is undefined",
        "! template hi (de): used, but not in hi.sample.json: anrede",
        "✓ templates: 2 in templates",
    ]


def test_a_translation_that_cannot_be_filled_in_is_found(lines):
    files = {
        "hi.txt": "{% trans %}Hello {{ name }}{% endtrans %}",
        "hi.sample.json": '{"name": "Ada"}',
        "locale/de_AT/LC_MESSAGES/messages.po": f'{PO}msgid "Hello %(name)s"\nmsgstr "Hallo %(nmae)s"\n',
    }
    assert lines(files) == [
        "✗ template hi (de-AT): hi.txt line 1: KeyError: 'nmae'",
        "✓ templates: 1 in templates",
    ]


def test_a_compiled_catalogue_that_its_source_has_left_behind_is_a_warning(lines, tmp_path):
    folder = tmp_path / "templates" / "locale" / "de" / "LC_MESSAGES"
    old = f'{PO}msgid "Hello"\nmsgstr "Hallo"\n'
    folder.mkdir(parents=True)
    for name in ("messages.mo", "same.mo"):
        with (folder / name).open("wb") as file:
            write_mo(file, read_po(io.BytesIO(old.encode())))
    (folder / "same.po").write_text(f"# Somebody\n{old}")
    for changed in (old.replace("Hallo", "Servus"), f"{PO}hello"):
        warning, _ = lines({"locale/de/LC_MESSAGES/messages.po": changed})
        assert warning.startswith(
            "! templates: locale/de/LC_MESSAGES/messages.mo does not say what the .po beside it says"
        )


def test_a_broken_sample_or_catalogue_is_a_fault(lines):
    assert lines({"hi.txt": "x", "hi.sample.json": "{"}) == [
        "✗ template hi: hi.sample.json line 1: not valid JSON: Expecting property name enclosed in double quotes",
        "✓ templates: 1 in templates",
    ]
    [fault] = lines({"locale/de/LC_MESSAGES/messages.po": f"{PO}hello"})
    assert fault.startswith("✗ templates: locale/de/LC_MESSAGES/messages.po line 4: ")


def test_a_file_that_takes_too_long_to_be_read_is_given_up_and_named(lines, monkeypatch):
    monkeypatch.setenv("OUTBOX_RENDER_TIMEOUT", "500ms")
    assert lines({"a.txt": "{{ 9 ** (9 ** 9) }}", "b.txt": "{{", "hi.txt": "{% include 'a.txt' %}"}) == [
        "✗ templates: a.txt: took longer than 0.5 s",
        "✗ templates: b.txt line 1: unexpected 'end of template'",
    ]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{{ 'x' * 3000000000 }}", "template a: template 'a'"),
        ("{% set a = ['x' * 1000] * 300000 %}{{ a | join }}", "templates: a.txt"),  # when it is read
    ],
)
def test_a_template_that_eats_memory_is_given_up_and_named(lines, source, named):
    said, *_ = lines({"a.txt": source, "a.sample.json": "{}"})
    assert said == f"✗ {named}: needed more than 512 MiB"


def test_a_template_that_takes_too_long_in_each_language_is_given_up_in_each(lines, monkeypatch):
    monkeypatch.setenv("OUTBOX_RENDER_TIMEOUT", "500ms")
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    files = {
        "a.txt": endless,
        "a.sample.json": "{}",
        "b.txt": "x",
        "b.sample.json": "{}",
        "a.de.txt": "x",
        "a.fr.txt": endless,
    }
    assert lines(files) == [
        "✗ template a (no locale): template 'a': took longer than 0.5 s",
        "✗ template a (fr): template 'a': took longer than 0.05 s",
        "✓ templates: 2 in templates",
    ]


@pytest.mark.parametrize("header", ["Content-Type: text/plain; charset=klingon", "Plural-Forms: nplurals=2; plural=("])
def test_whatever_is_wrong_with_a_source_its_catalogue_is_outdated(lines, tmp_path, header):
    folder = tmp_path / "templates" / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "messages.mo").open("wb") as file:
        write_mo(file, read_po(io.BytesIO(f'{PO}msgid "Hello"\nmsgstr "Hallo"\n'.encode())))
    source = f'msgid ""\nmsgstr "{header}\\n"\n\nmsgid "Hi"\nmsgid_plural "His"\nmsgstr[0] "Hallo"\nmsgstr[5] "x"\n'
    warning, _ = lines({"locale/de/LC_MESSAGES/messages.po": source})
    assert warning.startswith("! templates: locale/de/LC_MESSAGES/messages.mo does not say what the .po beside it says")


def test_a_catalogue_that_takes_too_long_to_be_read_is_given_up_and_named(lines, monkeypatch):
    monkeypatch.setenv("OUTBOX_RENDER_TIMEOUT", "500ms")
    source = 'msgid ""\nmsgstr "Plural-Forms: nplurals=99999999999; plural=n\\n"\n\nmsgid "a"\nmsgid_plural "b"\n'
    [fault] = lines({"locale/de/LC_MESSAGES/messages.po": f'{source}msgstr[0] "c"\n', "a.txt": "x"})
    assert fault.startswith("✗ templates: locale/de: ")


def test_what_is_no_file_is_no_catalogue(lines, tmp_path):
    folder = tmp_path / "templates" / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "messages.po")
    assert lines({"a.txt": "x", "a.sample.json": "{}"}) == ["✓ templates: 1 in templates"]


@pytest.mark.parametrize("why", ["No such file or directory", "Not a directory"])
def test_of_a_folder_that_cannot_be_read_check_says_what_run_says(lines, outbox, monkeypatch, tmp_path, why):
    if why == "Not a directory":
        (tmp_path / "templates").touch()
    said = f"templates: the folder 'templates' cannot be read: {why}"
    assert lines({}) == [f"✗ {said}"]
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    assert outbox("run", "--drain").err == f"outbox: {said}\n"
