"""An invitation among the attachments, in the form in which readers of email take it for one.

A file with the content type `text/calendar; method=…` becomes the last alternative of the body, for Gmail, Outlook and
Apple, which ask "will you come?"; and it stays a file, without the method, for whoever opens it by hand.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.attachments import content_type_of, file_name
from outbox.mail.part import Part, text_part

_FILE_TYPE = "application/ics"
"""Of the attached copy: a second `text/calendar` would be a second invitation to some."""

_METHOD = re.compile(r"^METHOD:([A-Z-]{1,40})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_LONGEST_HEAD = 4096
"""Characters within which a calendar says its method."""


def with_invitation(files: Sequence[AttachedFile]) -> tuple[Sequence[AttachedFile], Part | None]:
    """The files to attach, and the invitation as a part, where one of them is one. Raises ContentError."""
    found: list[tuple[int, str, Part]] = []
    for position, file in enumerate(files):
        if file.content_type and "calendar" in file.content_type.lower() and (part := _invitation(file)):
            found.append((position, file_name(file), part))
    if not found:
        return files, None
    if len(found) > 1:
        names = " and ".join(clean_text(repr(name), 80) for _, name, _ in found[:2])
        raise ContentError(f"attachments: {names} are both invitations; an email can be one")
    [(position, _, part)] = found
    attached = [*files]
    attached[position] = replace(files[position], content_type=_FILE_TYPE, cid=None)
    return attached, part


def _invitation(file: AttachedFile) -> Part | None:
    name = file_name(file)
    where = f"attachment {clean_text(name, 80)!r}"
    main, parameters = content_type_of(where, name, file.content_type)
    methods = [
        value for key, _, value in (parameter.partition("=") for parameter in parameters) if key.lower() == "method"
    ]
    if main != "text/calendar" or not methods:
        return None
    method = methods[0].strip('"').upper()
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ContentError(f"{where}: an invitation has to be UTF-8") from None
    said = _METHOD.search(text, 0, _LONGEST_HEAD)
    if not said or said[1].upper() != method:
        raise ContentError(f"{where}: its content_type says method={method}, so it needs the line METHOD:{method}")
    return text_part("calendar", text, f"method={method}")
