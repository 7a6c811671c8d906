"""Translations: the gettext catalogues `LANG/LC_MESSAGES/*.mo` of a folder, or `*.po` where no `.mo` stands beside it.

They are read when an email needs them, and again when one has changed.
"""

import io
import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import NamedTuple

from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import PoFileError, read_po

from outbox.core.errors import ContentError
from outbox.core.text import clean_text

NOTHING = NullTranslations()
"""Leaves every text as it is."""


class _File(NamedTuple):
    """A catalogue as it stood when it was looked at."""

    path: str
    changed: int
    size: int


class Catalogues:
    """The catalogues below `folder`, which need not exist. Errors name files as seen from the folder around it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, ...], tuple[list[_File], NullTranslations]] = {}

    def of(self, variants: Sequence[str]) -> NullTranslations:
        """What is said in the first of these languages that says it. Raises ContentError for a broken file."""
        if not variants or not self._folder.is_dir():
            return NOTHING
        files = [file for variant in variants for file in self._files(variant)]
        if not files:
            return NOTHING
        paths = tuple(file.path for file in files)
        known = self._known.get(paths)
        if known is None or known[0] != files:
            self._known[paths] = known = files, self._read(files)
        return known[1]

    def languages(self) -> list[str]:
        """Those that have a catalogue, as their folders are called."""
        if not self._folder.is_dir():
            return []
        return sorted(folder.name for folder in self._folder.iterdir() if self._files(folder.name))

    def outdated(self, language: str) -> list[str]:
        """The compiled files that do not say what the sources beside them say: these are not read."""
        compiled = [path for path in (Path(file.path) for file in self._files(language)) if path.suffix == ".mo"]
        told = [path for path in compiled if path.with_suffix(".po").is_file() and not _up_to_date(path)]
        return [path.relative_to(self._folder.parent).as_posix() for path in told]

    def _files(self, variant: str) -> list[_File]:
        """The catalogues of one language, in the order of their names."""
        try:
            with os.scandir(self._folder / variant / "LC_MESSAGES") as entries:
                found = {e.name: e for e in entries if e.name.endswith((".mo", ".po")) and e.is_file()}
                kept = (
                    entry
                    for name, entry in sorted(found.items())
                    if name.endswith(".mo") or f"{name.removesuffix('.po')}.mo" not in found
                )
                stats = ((entry.path, entry.stat()) for entry in kept)
                return [_File(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]
        except OSError:
            return []

    def _read(self, files: Iterable[_File]) -> NullTranslations:
        first, *others = (self._translations(Path(file.path)) for file in files)
        for other in others:
            first.add_fallback(other)
        return first

    def _translations(self, path: Path) -> NullTranslations:
        name = path.relative_to(self._folder.parent).as_posix()
        try:
            content = path.read_bytes()
            return GNUTranslations(io.BytesIO(content if path.suffix == ".mo" else _compiled(content)))
        except _PoError as error:
            raise ContentError(f"{name} line {error.line}: {error}") from error
        except MemoryError:  # told by whoever has set the bound
            raise
        except Exception as error:  # whatever gettext does not expect of a file
            said = clean_text(f"{type(error).__name__}: {error}", 160)
            raise ContentError(f"{name}: it cannot be read as a gettext catalogue ({said})") from error


class _PoError(Exception):
    """What is wrong with a .po file, and where."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def _up_to_date(compiled: Path) -> bool:
    try:
        return _said(compiled.read_bytes()) == _said(_compiled(compiled.with_suffix(".po").read_bytes()))
    except MemoryError:  # as above
        raise
    except Exception:  # noqa: BLE001  # whatever is wrong with the source, it does not say the same
        return False


def _said(compiled: bytes) -> dict[object, object]:
    """Each text and its translation."""
    return {(text.context, text.id): text.string for text in read_mo(io.BytesIO(compiled)) if text.id}


def _compiled(source: bytes) -> bytes:
    """What msgfmt makes of a .po file. Entries that are fuzzy are left out, as there."""
    compiled = io.BytesIO()
    try:
        write_mo(compiled, read_po(io.BytesIO(source.removeprefix(BOM_UTF8)), abort_invalid=True))
    except PoFileError as error:
        raise _PoError(clean_text(str(error).partition(" on ")[0], 160), error.lineno + 1) from error
    return compiled.getvalue()
