"""One attached file as a MIME part: its type, its name, its encoding (RFC 2045, 2183, 2231, 2392)."""

import mimetypes
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote

from outbox.core.claim import AttachedFile
from outbox.core.errors import ContentError
from outbox.core.text import clean_text
from outbox.mail.columns import check_line
from outbox.mail.headers import field
from outbox.mail.part import Part, base64_lines, is_seven_bit, with_crlf, with_semicolons

_TYPES = {
    **mimetypes.MimeTypes().types_map[True],  # the built-in table: the same on every machine
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".gz": "application/gzip",
    ".ics": "text/calendar",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".webp": "image/webp",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_PARAMETER = re.compile(rf';\s*({_TOKEN}=(?:[A-Za-z0-9!#$&^_.+/:-]{{1,200}}|"[ !#-\[\]-~]{{0,200}}"))\s*')
_CONTENT_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})\s*((?:{_PARAMETER.pattern})*)")
_CID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")
_PLAIN_NAME = re.compile(r"[ !#$&-\[\]-~]{1,60}")
_MAX_NAME = 255


def file_part(file: AttachedFile) -> Part:
    """`file` as a part: inline where it has a `cid`, else an attachment. Raises ContentError, which names the file."""
    name = file_name(file)
    where = f"attachment {clean_text(name, 80)!r}"
    main, parameters = content_type_of(where, name, file.content_type)
    body: tuple[bytes, ...] | None = None
    if main.startswith("message/"):  # must not be base64 (RFC 2046 §5.2.1)
        lines = with_crlf(file.content)
        if is_seven_bit(lines):
            body = (lines,)
        else:
            main, parameters = "application/octet-stream", []
    elif main.startswith("text/") and not any(p.lower().startswith("charset=") for p in parameters):
        parameters = [*parameters, *_charset(file.content)]
    if not _is_plain(name) and not any(p.lower().startswith("name=") for p in parameters):
        # For clients that do not know RFC 2231. A `filename` beside `filename*` would win over it in some others.
        parameters = [*parameters, f'name="{_ascii_name(name)}"']
    disposition = "inline" if file.cid else "attachment"
    headers = [
        field("Content-Type", with_semicolons([main, *parameters])),
        field("Content-Transfer-Encoding", ["base64" if body is None else "7bit"]),
        field("Content-Disposition", with_semicolons([disposition, *_name_parameters(name)])),
    ]
    if file.cid:
        headers.append(field("Content-ID", [f"<{content_id(where, file.cid)}>"]))
    return Part("".join(headers), base64_lines(file.content) if body is None else body)


def content_id(where: str, cid: str) -> str:
    """The bare Content-ID, as the HTML refers to it by `cid:`. Raises ContentError."""
    bare = check_line(where, cid).removeprefix("<").removesuffix(">")
    if not _CID.fullmatch(bare):
        raise ContentError(f"{where}: cid {clean_text(cid, 80)!r} is not a content id; use letters, digits, . _ - @")
    return bare


def file_name(file: AttachedFile) -> str:
    """The name without its folders. Raises ContentError."""
    name = re.split(r"[/\\]", check_line("attachment filename", file.filename))[-1].strip()
    if name in {"", ".", ".."}:
        raise ContentError(f"attachment filename: {clean_text(file.filename, 80)!r} names no file")
    if len(name) > _MAX_NAME:
        raise ContentError(f"attachment {clean_text(name, 80)!r}: its name is longer than {_MAX_NAME} characters")
    return name


def content_type_of(where: str, name: str, given: str | None) -> tuple[str, list[str]]:
    """`type/subtype` in lower case, and its parameters. Raises ContentError, which begins with `where`."""
    if given is None:
        return _TYPES.get(PurePosixPath(name).suffix.lower(), "application/octet-stream"), []
    match = _CONTENT_TYPE.fullmatch(check_line(where, given))
    if not match:
        raise ContentError(f"{where}: content_type {clean_text(given, 80)!r} is not of the form type/subtype")
    main = match[1].lower()
    if main.startswith("multipart/"):
        raise ContentError(f"{where}: content_type {main} holds other parts and cannot be an attachment")
    return main, _PARAMETER.findall(match[2])


def _charset(content: bytes) -> list[str]:
    """Text says its charset where it is surely known; without it a client may guess wrong."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return []
    return ['charset="utf-8"']


def _is_plain(name: str) -> bool:
    return bool(_PLAIN_NAME.fullmatch(name)) and "  " not in name and "=?" not in name


def _name_parameters(name: str) -> list[str]:
    """`filename`, in the form of RFC 2231 where plain ASCII is not enough."""
    if _is_plain(name):
        return [f'filename="{name}"']
    first, *others = _percent_encoded(name)
    if not others:
        return [f"filename*=utf-8''{first}"]
    return [f"filename*0*=utf-8''{first}", *(f"filename*{n}*={segment}" for n, segment in enumerate(others, 1))]


def _percent_encoded(name: str) -> list[str]:
    """Segments that fit a header line, split between characters: each is decoded for itself by some."""
    segments = [""]
    for character in name:
        piece = quote(character, safe="!#$&+-.^_`|~")
        if len(segments[-1]) + len(piece) > 54:
            segments.append("")
        segments[-1] += piece
    return segments


def _ascii_name(name: str) -> str:
    """The nearest plain name: accents dropped, everything else `_`, shortened before its suffix."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    path = PurePosixPath(re.sub(r"[^A-Za-z0-9.()+ -]+", "_", letters))
    suffix = path.suffix[:20]
    return f"{path.name.removesuffix(path.suffix)[: 60 - len(suffix)]}{suffix}"
