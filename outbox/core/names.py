"""What templates and languages can be called. Pure."""

import re

from outbox.core.text import clean_text

_TEMPLATE = re.compile(r"\w[\w.+-]*(?:/\w[\w.+-]*)*")  # nothing hidden, absolute or upwards
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:[-_][A-Za-z0-9]{1,8})*")


def is_name(name: str) -> bool:
    """Whether `name` could be that of a template or a file of its folder."""
    return bool(_TEMPLATE.fullmatch(name))


def template_fault(name: str) -> str | None:
    """What is wrong with the name of a template, in one line, or None."""
    return (
        None if is_name(name) else f"template {clean_text(name, 80)!r}: not a template name (letters, digits, _ . - /)"
    )


def locale_fault(tag: str) -> str | None:
    """What is wrong with a locale, in one line, or None."""
    if _LANGUAGE.fullmatch(tag):
        return None
    return f"locale {clean_text(tag, 40)!r} is not a language tag like de or de-AT"
