"""`check` of the templates: each is rendered with its sample in every language it differs in."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from outbox.cli.finding import Finding
from outbox.cli.rendering import Drafts, drafts
from outbox.core.errors import ContentError, NotNowError, SettingsError

if TYPE_CHECKING:
    from outbox.mail.templates import Templates
    from outbox.settings import Settings


async def check_templates(settings: "Settings") -> AsyncIterator[Finding]:
    """What is wrong with them, a template after the other, and how many there are."""
    if settings.templates is None:
        yield Finding("templates", "no folder set (OUTBOX_TEMPLATES); only literal content can be sent")
        return
    from outbox.mail.folder import require_folder
    from outbox.mail.templates import Templates

    try:
        require_folder(settings.templates)
    except SettingsError as error:
        subject, text = str(error).split(": ", 1)
        yield Finding(subject, text, good=False)
        return
    templates = Templates(settings.templates)
    async with drafts(settings, templates) as made:
        readable = True
        async for finding in _files(templates, made):
            readable = readable and finding.good
            yield finding
        if not readable:
            return
        names = templates.folder.names()
        for name in names:
            for finding in await _template(templates, made, name):
                yield finding
    yield Finding("templates", f"{len(names)} in {settings.templates}")


async def _files(templates: "Templates", made: Drafts) -> AsyncIterator[Finding]:
    """What is wrong with single files."""
    for file in templates.folder.files():
        try:
            await made.ask(file, "file", file)
        except (ContentError, NotNowError) as error:
            yield Finding("templates", str(error), good=False)
    for language in templates.catalogues.languages():
        try:
            outdated = await made.ask(f"locale/{language}", "language", language)
        except (ContentError, NotNowError) as error:
            yield Finding("templates", str(error), good=False)
            continue
        for file in outdated:
            text = (
                f"{file} does not say what the .po beside it says, and is what is read; compile it again, or remove it"
            )
            yield Finding("templates", text, warning=True)


async def _template(templates: "Templates", made: Drafts, name: str) -> list[Finding]:
    """What is said for several languages is told once."""
    from outbox.mail.survey import languages_of

    languages = languages_of(templates, name)
    said: dict[Finding, list[str]] = {}
    for language in languages:
        for finding in await _in_language(templates, made, name, language):
            said.setdefault(finding, []).append(language or "no locale")
    return [finding if len(told) == len(languages) else _only_in(finding, told) for finding, told in said.items()]


def _only_in(finding: Finding, languages: list[str]) -> Finding:
    subject = f"{finding.subject} ({', '.join(languages)})"
    return Finding(subject, finding.text, good=finding.good, warning=finding.warning)


async def _in_language(templates: "Templates", made: Drafts, name: str, language: str | None) -> list[Finding]:
    from outbox.mail.language import language_of

    subject = f"template {name}"
    try:
        sample = templates.folder.sample(name, language_of(language).variants)
    except ContentError as error:
        return [Finding(subject, str(error), good=False)]
    if sample is None:
        text = f"it has no sample; with {name}.sample.json beside it, it is rendered here and by `outbox preview`"
        return [Finding(subject, text, warning=True)]
    file, values = sample
    found: list[Finding] = []
    try:
        missing, unused = await _compared(made, name, language, set(values))
        found += _named(subject, f"used, but not in {file}", missing)
        found += _named(subject, f"in {file}, but never used", unused)
        await made.compose(name, values, language)
    except (ContentError, NotNowError) as error:
        return [Finding(subject, str(error), good=False), *found]
    return found


def _named(subject: str, what: str, names: list[str]) -> Iterator[Finding]:
    if names:
        yield Finding(subject, f"{what}: {', '.join(names)}", warning=True)


async def _compared(made: Drafts, name: str, language: str | None, given: set[str]) -> tuple[list[str], list[str]]:
    """What the sample lacks, and what it has for nothing. Raises ContentError, NotNowError."""
    from outbox.mail.survey import ALWAYS_THERE

    names, complete = await made.ask(f"template {name!r}", "uses", name, language)
    unused = given - set(names) - ALWAYS_THERE if complete else set()
    return sorted(set(names) - given), sorted(unused)
