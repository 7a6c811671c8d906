"""Templates: Jinja2 files of one folder, rendered in a sandbox; what is wrong in one is told by file, line and name.

`NAME.subject.txt`, `NAME.txt`, `NAME.html`; each may have variants by language (`NAME.de.html`). The lines of blocks
(`{% … %}`) leave no blank lines behind. Values are escaped in `.html` files only.
"""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.exceptions import TemplateNotFound, TemplatesNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from outbox.core.errors import ContentError
from outbox.core.text import clean_text

_NAME = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*")  # nothing hidden, absolute or upwards
_LOCALE = re.compile(r"[A-Za-z]{1,8}(?:[-_][A-Za-z0-9]{1,8})*")
_VARIANT = re.compile(r"\.[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*$")


@dataclass(frozen=True, slots=True)
class Content:
    """What a row says, as a person would read it."""

    subject: str | None
    text: str | None
    html: str | None


class Templates:
    """The templates of one folder. Compiled once each; a file that changes is compiled again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._environment = ImmutableSandboxedEnvironment(
            loader=_Folder(self._folder),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, name: str, context: Mapping[str, Any], locale: str | None = None) -> Content:
        """The content of template `name`. Raises ContentError, in one line, for whatever goes wrong."""
        if not _NAME.fullmatch(name):
            raise ContentError(f"template {clean_text(name, 80)!r}: not a template name (letters, digits, _ . - /)")
        tags = list(_tags(locale))
        subject, text, html = (self._render(name, tags, ending, context) for ending in ("subject.txt", "txt", "html"))
        if text is None and html is None:
            raise ContentError(f"template {name!r} not found: there is no {name}.txt or {name}.html in {self._folder}")
        if subject is not None:
            subject = subject.strip()
            if len(subject.splitlines()) > 1:
                raise ContentError(f"{name}.subject.txt: the subject has a line break")
        return Content(subject, text, html)

    def names(self) -> list[str]:
        """The names `render` takes. Files that begin with `_` are parts of others."""
        stems = {file.rpartition(".")[0] for file in self._files() if not file.endswith(".subject.txt")}
        plain = {stem for stem in stems if _VARIANT.sub("", stem) not in stems - {stem}}
        return sorted(stem for stem in plain if not stem.rpartition("/")[2].startswith("_"))

    def compile_all(self) -> list[str]:
        """What is wrong with the syntax of any file, a line each; empty where all is well."""
        if not self._folder.is_dir():
            return [f"template folder {str(self._folder)!r} does not exist; set OUTBOX_TEMPLATES"]
        faults = []
        for file in self._files():
            try:
                self._environment.get_template(file)
            except Exception as error:  # noqa: BLE001  # a template is a program and can raise anything
                faults.append(str(self._told(file, error)))
        return faults

    def _files(self) -> list[str]:
        files = (file.relative_to(self._folder).as_posix() for file in self._folder.rglob("*") if file.is_file())
        return sorted(file for file in files if _NAME.fullmatch(file) and file.endswith((".txt", ".html")))

    def _render(self, name: str, tags: list[str], ending: str, context: Mapping[str, Any]) -> str | None:
        """The rendered file for the first of `tags` that has one, or the one without; None where there is none."""
        file = f"{name}.{ending}"
        try:
            template = self._find([*(f"{name}.{tag}.{ending}" for tag in tags), file])
            if template is None:
                return None
            file = template.name or file
            return template.render(context)
        except MemoryError:  # told by whoever has set the bound
            raise
        except Exception as error:
            raise self._told(file, error) from error

    def _find(self, files: list[str]) -> Template | None:
        try:
            template = self._environment.select_template(files)
        except TemplatesNotFound:
            return None
        if not isinstance(template.globals, dict):
            template.globals = dict(template.globals)  # it is copied for each rendering, and is ten times as fast so
        return template

    def _told(self, file: str, error: Exception) -> ContentError:
        """`FILE line N: what`."""
        line = None
        if isinstance(error, TemplateSyntaxError):
            file, line = error.name or file, error.lineno
        else:
            for frame, number in traceback.walk_tb(error.__traceback__):
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(self._folder):
                    file, line = path.relative_to(self._folder).as_posix(), number
        place = f"{file} line {line}" if line else file
        return ContentError(f"{place}: {_what(error)}")


class _Folder(FileSystemLoader):
    """The loader; names are checked here, so that `include` and `extends` cannot leave the folder either."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        if not _NAME.fullmatch(template):
            raise TemplateNotFound(template)
        return super().get_source(environment, template)


def _tags(locale: str | None) -> Iterator[str]:
    """The endings to look for, the most special first, in both spellings: de-AT, de_AT, de. Raises ContentError."""
    if not locale:
        return
    if not _LOCALE.fullmatch(locale):
        raise ContentError(f"locale {clean_text(locale, 40)!r} is not a language tag like de or de-AT")
    parts = re.split("[-_]", locale)
    for length in range(len(parts), 0, -1):
        yield from dict.fromkeys(("-".join(parts[:length]), "_".join(parts[:length])))


def _what(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return f"{error.name!r} not found"
    said = clean_text(str(error), 300)
    known = type(error).__module__.startswith("jinja2")
    return said if said and known else f"{type(error).__name__}: {said}".removesuffix(": ")
