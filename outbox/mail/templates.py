"""Templates: Jinja2 files of one folder, rendered in a sandbox; what is wrong in one is told by file, line and name.

`NAME.subject.txt`, `NAME.txt`, `NAME.html`, and whatever they extend and include; each may have variants by language
(`NAME.de.html`). The lines of blocks (`{% … %}`) leave no blank lines behind. Values are escaped in `.html` files only,
whose `<style>` is inlined.
"""

import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.environment import TemplateModule
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from outbox.core.errors import ContentError
from outbox.core.names import is_name, template_fault
from outbox.core.text import clean_text
from outbox.mail.catalogues import Catalogues
from outbox.mail.content import Content
from outbox.mail.filters import FILTERS
from outbox.mail.folder import CATALOGUES, ENCODING, ENDINGS, Folder
from outbox.mail.language import VOICE, Voice, language_of
from outbox.mail.styles import with_inline_styles


class Templates:
    """The templates of one folder. Compiled once each; a file that changes is compiled again."""

    def __init__(self, path: Path) -> None:
        self.folder = Folder(path)
        self.catalogues = Catalogues(self.folder.path / CATALOGUES)
        self.environment = _Environment(
            folder=self.folder,
            loader=_Loader(self.folder.path, encoding=ENCODING),
            undefined=StrictUndefined,
            autoescape=lambda name: name is not None and name.endswith(".html"),
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
            cache_size=-1,
        )
        self.environment.filters.update(FILTERS)
        _install_translations(self.environment)

    def render(self, name: str, context: Mapping[str, Any], locale: str | None = None) -> Content:
        """The content of template `name`. Raises ContentError, in one line, for whatever goes wrong."""
        if fault := template_fault(name):
            raise ContentError(fault)
        language = language_of(locale)
        token = VOICE.set(Voice(language, self.catalogues.of(language.variants)))
        try:
            values = {"locale": language.tag, **context}
            subject, text, html = (self._render(name, language.variants, ending, values) for ending in ENDINGS)
        finally:
            VOICE.reset(token)
        if text is None and html is None:
            raise self.folder.missing(name)
        if subject is not None:
            subject = subject.strip()
            if len(subject.splitlines()) > 1:
                file = self.folder.nearest(f"{name}.subject.txt", language.variants)
                raise ContentError(f"{file}: the subject has a line break")
        return Content(subject, text, html)

    def compile(self, file: str) -> None:
        """Raises ContentError for what is wrong with the syntax of `file`."""
        try:
            self.environment.get_template(file)
        except MemoryError:  # as below
            raise
        except Exception as error:  # a template is a program and can raise anything
            raise self._told(file, error) from error

    def _render(self, name: str, variants: tuple[str, ...], ending: str, values: Mapping[str, Any]) -> str | None:
        """The rendered file for the first of `variants` that has one, or the one without; None where there is none."""
        file = self.folder.nearest(f"{name}.{ending}", variants)
        try:
            template = self._find(file)
            if template is None:
                return None
            rendered = template.render(values)
        except MemoryError:  # told by whoever has set the bound
            raise
        except Exception as error:
            raise self._told(file, error) from error
        return with_inline_styles(file, rendered) if ending == "html" else rendered

    def _find(self, file: str) -> Template | None:
        try:
            template = self.environment.get_template(file)
        except TemplateNotFound:
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
                if path.is_relative_to(self.folder.path):
                    file, line = path.relative_to(self.folder.path).as_posix(), number
        place = f"{file} line {line}" if line else file
        return ContentError(f"{place}: {_what(error)}")


class _Template(Template):
    """A file. Jinja would compute what an imported one has at its top once and for all: in the language of whoever came
    first, with what it remembers of other emails. Here it is computed for each email."""

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        """See Jinja2: what `import` gives."""
        modules = VOICE.get().modules
        self._module = modules.get(self)
        found = super()._get_default_module(ctx)
        modules[self] = self._module
        return found


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox. What a template extends, includes and imports is looked for in its language as well."""

    template_class = _Template

    def __init__(self, folder: Folder, **options: Any) -> None:
        super().__init__(**options)
        self._folder = folder

    def join_path(self, template: str, parent: str) -> str:  # noqa: ARG002  # names are relative to the folder only
        """See Jinja2. Without a rendering under way (while a file is looked at), it is the plain file."""
        voice = VOICE.get(None)
        return self._folder.nearest(template, voice.language.variants) if voice else template


class _Loader(FileSystemLoader):
    """The loader; names are checked here, so that `include` and `extends` cannot leave the folder either."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        if not is_name(template):
            raise TemplateNotFound(template)
        before = self._stamp(template)  # before it is read: who changes it meanwhile is heard for the next email
        source, path, _ = super().get_source(environment, template)
        return source, path, lambda: self._stamp(template) == before

    def _stamp(self, template: str) -> tuple[int, int, int] | None:
        """Another one where the file is another one."""
        try:
            found = os.stat(f"{self.searchpath[0]}/{template}")  # noqa: PTH116  # it is asked for every email
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _install_translations(environment: Environment) -> None:
    """`_("…")`, `{% trans %}` and their kin: each asks for the catalogue of the email that is being rendered."""
    gettext, ngettext, pgettext, npgettext = map(_spoken, ("gettext", "ngettext", "pgettext", "npgettext"))
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # added by the extension
        gettext, ngettext, newstyle=True, pgettext=pgettext, npgettext=npgettext
    )


def _spoken(form: str) -> Callable[..., str]:
    def spoken(*texts: Any) -> str:
        return str(getattr(VOICE.get().catalogue, form)(*texts))

    return spoken


def _what(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return f"{error.name!r} not found"
    said = clean_text(str(error), 300)
    known = type(error).__module__.startswith("jinja2")
    return said if said and known else f"{type(error).__name__}: {said}".removesuffix(": ")
