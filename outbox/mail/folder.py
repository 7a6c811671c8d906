"""The folder of the templates: which names there are, which variants, which samples. Nothing outside is looked at."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from outbox.core.errors import ContentError, SettingsError
from outbox.core.names import is_name
from outbox.core.text import clean_text

BODIES = ("txt", "html")
ENDINGS = ("subject.txt", *BODIES)
SAMPLE = "sample.json"
ENCODING = "utf-8-sig"
"""UTF-8; the mark that some editors put in front is no part of the text."""
CATALOGUES = "locale"
"""The folder in it for translations."""

_ENDING = re.compile(rf"\.({'|'.join(map(re.escape, (*ENDINGS, SAMPLE)))})$")
_VARIANT = re.compile(r"\.([a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)$")


def require_folder(path: Path | None) -> None:
    """Raises SettingsError where the folder that is configured cannot be read: every email with a template would fail
    for it."""
    try:
        for _ in path.iterdir() if path else ():
            break
    except OSError as error:
        raise SettingsError(f"templates: the folder {str(path)!r} cannot be read: {error.strerror}") from None


class Folder:
    """Names and files below `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._text = str(self.path)

    def files(self) -> list[str]:
        """Every file that is a template, or a part of one."""
        return [file for file in self._all() if file.endswith((".txt", ".html"))]

    def names(self) -> list[str]:
        """Those that an email can have as its template. Files that begin with `_` are parts of others."""
        stems = {file.rpartition(".")[0] for file in self.files() if not file.endswith(".subject.txt")}
        plain = {stem for stem in stems if _VARIANT.sub("", stem) not in stems - {stem}}
        return sorted(stem for stem in plain if not stem.rpartition("/")[2].startswith("_"))

    def has(self, name: str, variants: Sequence[str]) -> bool:
        """Whether there is a body of the template `name` for an email in a language."""
        return any(self.exists(self.nearest(f"{name}.{ending}", variants)) for ending in BODIES)

    def missing(self, name: str) -> ContentError:
        """What is wrong where there is none."""
        return ContentError(f"template {name!r} not found: there is no {name}.txt or {name}.html in {self.path}")

    def variants(self, name: str) -> list[str]:
        """The languages in which the template `name`, or its sample, has a file of its own."""
        found = set()
        for file in self._all():
            stem = _ENDING.sub("", file)
            match = _VARIANT.search(stem)
            if match and stem[: match.start()] == name:
                found.add(match[1])
        return sorted(found)

    def exists(self, file: str) -> bool:
        """Whether there is such a file in the folder."""
        return is_name(file) and os.path.isfile(f"{self._text}/{file}")  # noqa: PTH113  # it is asked for every email

    def nearest(self, file: str, variants: Sequence[str]) -> str:
        """The file that stands for `file` in a language; `file` itself where there is none."""
        ending = _ENDING.search(file) if variants else None
        if ending is None or not is_name(file):
            return file
        stem = file[: ending.start()]
        named = (f"{stem}.{variant}.{ending[1]}" for variant in variants)
        return next((variant for variant in named if self.exists(variant)), file)

    def sample(self, name: str, variants: Sequence[str] = ()) -> tuple[str, dict[str, Any]] | None:
        """Name and values of the sample of a template; None where there is none. Raises ContentError."""
        file = self.nearest(f"{name}.{SAMPLE}", variants)
        if not self.exists(file):
            return None
        try:
            values = json.loads((self.path / file).read_text(encoding=ENCODING))
        except json.JSONDecodeError as error:
            raise ContentError(f"{file} line {error.lineno}: not valid JSON: {error.msg}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise ContentError(f"{file}: it cannot be read ({clean_text(str(error), 160)})") from None
        if not isinstance(values, dict):
            raise ContentError(f"{file}: a JSON object is expected, not {type(values).__name__}")
        return file, values

    def _all(self) -> list[str]:
        files = (file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())
        return sorted(file for file in files if is_name(file))
