"""The body of a message: which parts there are and how they nest (RFC 2046 §5.1, RFC 2387).

mixed
├── alternative          where there are text and HTML
│   ├── text/plain
│   └── related          where files have a `cid`
│       ├── text/html
│       └── inline files
└── attachments
"""

from collections.abc import Sequence

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.attachments import content_id, file_part
from outbox.mail.part import Part, multipart, text_part
from outbox.mail.plain_text import text_of_html


def body_of(text: str | None, html: str | None, files: Sequence[AttachedFile], message_id: str) -> Part:
    """The body as one part; HTML alone gets a text derived from it. Raises ContentError for a file that cannot go."""
    _check_content_ids(files)
    html = None if _blank(html) else html
    inline = [file for file in files if html and file.cid]
    attached = [file for file in files if not (html and file.cid)]
    if html is None:
        part = text_part("plain", text or "")
    else:
        part = text_part("html", html)
        if inline:
            parts = [part, *map(file_part, inline)]
            part = multipart("related", message_id, parts, 'type="text/html"')
        readable = text_of_html(html) if _blank(text) else text
        if readable:
            part = multipart("alternative", message_id, [text_part("plain", readable), part])
    if attached:
        part = multipart("mixed", message_id, [part, *map(file_part, attached)])
    return part


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
