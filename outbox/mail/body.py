"""The body of a message: which parts there are and how they nest (RFC 2046 §5.1, RFC 2387).

mixed
├── alternative          where there are text and HTML, or an invitation
│   ├── text/plain
│   ├── related          where files have a `cid`
│   │   ├── text/html
│   │   └── inline files
│   └── text/calendar    an invitation, which is attached as well
└── attachments
"""

from collections.abc import Sequence

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.attachments import content_id, file_part
from outbox.mail.calendar import with_invitation
from outbox.mail.part import Part, multipart, text_part
from outbox.mail.plain_text import text_of_html


def body_of(text: str | None, html: str | None, files: Sequence[AttachedFile], message_id: str) -> Part:
    """The body as one part; HTML alone gets a text derived from it. Raises ContentError for a file that cannot go."""
    _check_content_ids(files)
    files, invitation = with_invitation(files)
    html = None if _blank(html) else html
    alternatives: list[Part] = []
    if html is None:
        alternatives.append(text_part("plain", text or ""))
    else:
        readable = text_of_html(html) if _blank(text) else text
        if readable:
            alternatives.append(text_part("plain", readable))
        alternatives.append(_shown(html, files, message_id))
    if invitation:
        alternatives.append(invitation)
    part = multipart("alternative", message_id, alternatives) if len(alternatives) > 1 else alternatives[0]
    attached = [file for file in files if not (html and file.cid)]
    if attached:
        part = multipart("mixed", message_id, [part, *map(file_part, attached)])
    return part


def _shown(html: str, files: Sequence[AttachedFile], message_id: str) -> Part:
    """The HTML with what it shows."""
    part = text_part("html", html)
    inline = [file_part(file) for file in files if file.cid]
    return multipart("related", message_id, [part, *inline], 'type="text/html"') if inline else part


def _blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _check_content_ids(files: Sequence[AttachedFile]) -> None:
    """The HTML refers to files by `cid`, so two may not share one."""
    seen: set[str] = set()
    for file in files:
        if file.cid:
            cid = content_id("attachment", file.cid)
            if cid in seen:
                raise ContentError(f"attachments: two of them have the cid {clean_text(cid, 80)!r}")
            seen.add(cid)
