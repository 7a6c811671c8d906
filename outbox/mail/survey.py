"""What can be said of templates without rendering them: whether they can be read, and what they ask of their context.

To read one may take as long as to render it: what is constant in it is computed then. So a child does it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jinja2 import meta, nodes
from jinja2.exceptions import TemplateError

from outbox.mail.folder import ENCODING, ENDINGS
from outbox.mail.frames import Question
from outbox.mail.language import language_of
from outbox.mail.templates import Templates

ALWAYS_THERE = frozenset({"locale"})


@dataclass(slots=True)
class Uses:
    """The names that a template uses."""

    names: set[str] = field(default_factory=set)
    complete: bool = True
    """False where a file is included whose name is made while rendering: it may use anything."""


def answer(templates: Templates, question: Question) -> Any:
    """The answer to a question, as JSON has it. Raises ContentError.

    - `file`, its name: nothing, where it can be compiled;
    - `language`, its folder's name: its catalogues that are outdated, where all can be read;
    - `uses`, the name of a template, a language: the names that it uses, and whether these are all.
    """
    match question:
        case "file", str(file):
            templates.compile(file)
            return None
        case "language", str(language):
            templates.catalogues.of([language])
            return templates.catalogues.outdated(language)
        case "uses", str(name), locale:
            uses = uses_of(templates, name, locale)
            return sorted(uses.names), uses.complete
    raise ValueError(f"no such question: {question}")


def languages_of(templates: Templates, name: str) -> list[str | None]:
    """In which a template can differ: None for an email without a locale, those of its files and the catalogues."""
    own, translated = templates.folder.variants(name), templates.catalogues.languages()
    return [None, *sorted({language.replace("_", "-") for language in (*own, *translated)})]


def uses_of(templates: Templates, name: str, locale: str | None) -> Uses:
    """What the subject, text and HTML of `name` use in a language, together. Files that are broken are left out."""
    reading = _Reading(templates, language_of(locale).variants)
    for ending in ENDINGS:
        reading.read(f"{name}.{ending}", frozenset())
    reading.uses.names -= ALWAYS_THERE
    return reading.uses


class _Reading:
    """Reads files, each in the language, and what they refer to."""

    def __init__(self, templates: Templates, variants: Iterable[str]) -> None:
        self._folder = templates.folder
        self._environment = templates.environment
        self._variants = tuple(variants)
        self._seen: set[tuple[str, frozenset[str]]] = set()
        self.uses = Uses()

    def read(self, file: str, known: frozenset[str]) -> None:
        """`known` are the names that those who include the file have set."""
        file = self._folder.nearest(file, self._variants)
        if (file, known) in self._seen or not self._folder.exists(file):
            return
        self._seen.add((file, known))
        try:
            source = (self._folder.path / file).read_text(encoding=ENCODING)
            parsed = self._environment.parse(source, file)
            undeclared = meta.find_undeclared_variables(parsed)
        except (TemplateError, OSError, ValueError):
            return  # told where the file is compiled
        known = known.union(_imported(parsed))
        # Blocks find there what the file sets at its top, and so do those that it extends or includes.
        known = known.union(name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load")
        self.uses.names |= undeclared - known
        for referred in _references(parsed):
            if referred is None:
                self.uses.complete = False
            else:
                self.read(referred, known)


def _imported(parsed: nodes.Template) -> Iterator[str]:
    """The names of macros, and what is imported."""
    for macro in parsed.find_all(nodes.Macro):
        yield macro.name
    for module in parsed.find_all(nodes.Import):
        yield module.target
    for some in parsed.find_all(nodes.FromImport):
        yield from (name if isinstance(name, str) else name[1] for name in some.names)


def _references(parsed: nodes.Template) -> Iterator[str | None]:
    """The files that see the names of this one; None for one whose name is not known yet."""
    for kind in (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport):
        for node in parsed.find_all(kind):
            if getattr(node, "with_context", True):
                yield from meta.find_referenced_templates(nodes.Template([node]))
