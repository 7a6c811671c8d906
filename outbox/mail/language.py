"""The language of an email: from the tag of its row to the variants that are looked for, and to what Babel knows."""

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from gettext import NullTranslations
from typing import Any

from babel import Locale, UnknownLocaleError

from outbox.core.errors import ContentError
from outbox.core.names import locale_fault

DEFAULT = "en"
"""How dates and numbers are written for a row without a locale, or with one that Babel does not know."""


@dataclass(frozen=True, slots=True)
class Language:
    """What is rendered in it, and where its words and forms come from."""

    tag: str
    """For `<html lang="…">`: `de-AT`; `DEFAULT` where the row names none."""
    variants: tuple[str, ...]
    """What to look for, the most special first, in both spellings: de-AT, de_AT, de; as the row has it, and in the
    letters that are usual, for `DE-at`. Empty where the row names none."""
    locale: Locale
    """The nearest that Babel knows."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What the template that is being rendered speaks with."""

    language: Language
    catalogue: NullTranslations
    modules: dict[Any, Any] = field(default_factory=dict)
    """What was imported for this email."""


VOICE: ContextVar[Voice] = ContextVar("voice")
"""That of the template that is being rendered: filters and translations are the same functions for every language."""


@lru_cache(maxsize=256)
def language_of(locale: str | None) -> Language:
    """The language of a row. Raises ContentError where its locale is no language tag."""
    if not locale:
        return Language(DEFAULT, (), Locale(DEFAULT))
    if fault := locale_fault(locale):
        raise ContentError(fault)
    parts = re.split("[-_]", locale)
    forms = [parts, [parts[0].lower(), *map(_in_usual_letters, parts[1:])]]
    shorter = [form[:length] for length in range(len(parts), 0, -1) for form in forms]
    variants = tuple(dict.fromkeys(separator.join(some) for some in shorter for separator in "-_"))
    return Language("-".join(parts), variants, _known(shorter))


def _in_usual_letters(part: str) -> str:
    """A region `AT`, a script `Latn`, anything else `1996` (RFC 5646 §2.1.1)."""
    return {2: part.upper(), 4: part.title()}.get(len(part), part.lower())


def _known(shorter: list[list[str]]) -> Locale:
    for parts in shorter:
        try:
            return Locale.parse("_".join(parts))
        except (UnknownLocaleError, ValueError):
            continue
    return Locale(DEFAULT)
