"""The headers of one-click unsubscribing (RFC 2369, RFC 8058): what Gmail and Yahoo ask of whoever sends to many."""

import re
from urllib.parse import quote, urlsplit

from outbox.core.address import parse_mailbox
from outbox.core.errors import AddressError
from outbox.core.headers import header_fault

_PLAIN = re.compile(r"[!-;=?-~]+")  # printable ASCII without space and angle brackets


def unsubscribe(*, url: str | None = None, mailto: str | None = None) -> dict[str, str]:
    """`Email(…, headers=unsubscribe(url="https://…"))`: a button "unsubscribe" beside the sender's name.

    Readers of email send a POST with the body `List-Unsubscribe=One-Click` to `url`, without cookies and without asking
    anybody, so `url` must say by itself who leaves which list; a GET must change nothing, since scanners follow links.
    `mailto`, an address or a `mailto:` URL, is for those that write an email instead. Receivers heed these headers only
    where DKIM signs them. Raises ValueError, naming the argument.
    """
    entries = []
    if url is not None:
        _check_url(url)
        entries.append(f"<{url}>")
    if mailto is not None:
        entries.append(f"<{_mailto(mailto)}>")
    if not entries:
        raise ValueError("url: give an https URL, or mailto, or both")
    headers = {"List-Unsubscribe": ", ".join(entries)}
    if fault := header_fault("List-Unsubscribe", headers["List-Unsubscribe"]):
        raise ValueError(f"url: {fault}")
    if url is not None:
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def _check_url(url: str) -> None:
    _check_plain("url", url)
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"url must be an https URL, which one-click unsubscribing needs (RFC 8058), not {url[:80]!r}")


def _mailto(text: str) -> str:
    if text.lower().startswith("mailto:"):
        _check_plain("mailto", text)
        if "@" not in text:
            raise ValueError(f"mailto must name an address, not {text[:80]!r}")
        return text
    try:
        mailbox = parse_mailbox(text)
    except AddressError as error:
        raise ValueError(f"mailto: {error}") from None
    return mailto_url(mailbox.address)


def mailto_url(address: str) -> str:
    """The URL of an address (RFC 6068 §2)."""
    return "mailto:" + quote(address, safe="@!$'*+-._~")


def _check_plain(name: str, url: object) -> None:
    if not isinstance(url, str) or not _PLAIN.fullmatch(url):
        raise ValueError(f"{name} must be printable ASCII without spaces and angle brackets; percent-encode the rest")
