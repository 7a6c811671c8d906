"""Addresses as applications write them: `Ada <ada@example.org>, bob@example.org` (RFC 5322 §3.4, 6531, IDNA 2008)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from outbox.core.errors import AddressError
from outbox.core.text import CONTROL_BUT_TAB, clean_text

_COMMON = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}"
    r"|[A-Za-z0-9_+-]+@localhost"
)
# Most entries there are: a subset of what is read below, and read the same. No label of so short a domain is too long.
_SIMPLE = re.compile(
    r"(?:([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*) <)?"
    r"([A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*)@((?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,24})(?(1)>)"
)
_LONGEST_SIMPLE = 64
# Pairs like \" are tokens of their own, so that a quote that is never closed is looked through once, not at every pair.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)|<[^<>]*>|[^",()<>\\]+|\\.|.', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)")


CACHED = 320
"""Characters of the longest list that is remembered: one address, which many emails share."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address. The domain is always ASCII (A-labels) and lower case; the local part may be anything valid."""

    name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """`local@domain`, the form of the envelope and of `email_attempt.recipient`."""
        return f"{self.local}@{self.domain}"

    @property
    def utf8(self) -> bool:
        """Whether this address needs a server with SMTPUTF8."""
        return not self.local.isascii()


@dataclass(frozen=True, slots=True)
class AddressList:
    """The addresses of a list, and the entries of it that are none, each with its error."""

    mailboxes: tuple[Mailbox, ...]
    bad: tuple[tuple[str, str], ...] = ()


def parse_mailbox(text: str) -> Mailbox:
    """The one address in `text`. Raises AddressError."""
    found = parse_list(text)
    if found.bad:
        raise AddressError(found.bad[0][1])
    if len(found.mailboxes) != 1:
        raise AddressError(f"{_show(text)} is not exactly one address")
    return found.mailboxes[0]


def parse_list(text: str) -> AddressList:
    """All addresses in a comma-separated list; an empty list is fine.

    An entry that is no address is reported in `bad` and does not spoil the others. A control character anywhere (a
    line break could end the header) raises AddressError for the whole.
    """
    return _parse_cached(text) if len(text) <= CACHED else _parse(text)


@lru_cache(maxsize=4096)
def _parse_cached(text: str) -> AddressList:
    return _parse(text)


def simple_mailbox(text: str) -> Mailbox | None:
    """The one address in `text`, where it is of the simplest form: `a@b.example` or `Ada King <a@b.example>`."""
    match = _SIMPLE.fullmatch(text) if len(text) <= _LONGEST_SIMPLE else None
    if not match:
        return None
    name, local, domain = match.groups("")
    return Mailbox(name, local, domain)


def _parse(text: str) -> AddressList:
    if CONTROL_BUT_TAB.search(text):
        raise AddressError(f"{_show(text)} contains a control character or line break")
    mailboxes: list[Mailbox] = []
    bad: list[tuple[str, str]] = []
    for entry in _split(text):
        try:
            mailboxes.append(_parse_entry(entry))
        except AddressError as error:
            bad.append((clean_text(_joined(entry), 320), str(error)))
    return AddressList(tuple(mailboxes), tuple(bad))


def _split(text: str) -> list[list[str]]:
    """The tokens of each entry; commas inside quotes, comments and angle brackets do not separate."""
    entries: list[list[str]] = [[]]
    for token in _TOKEN.findall(text):
        if token == ",":
            entries.append([])
        else:
            entries[-1].append(token)
    return [entry for entry in entries if _joined(entry)]


def _joined(tokens: list[str]) -> str:
    return "".join(tokens).strip()


def _parse_entry(tokens: list[str]) -> Mailbox:
    tokens = [t for t in tokens if not (t.startswith("(") and t.endswith(")"))]
    angles = [t for t in tokens if t.startswith("<") and t.endswith(">")]
    whole = _joined(tokens)
    if not angles:
        return _parse_address(whole, "", whole)
    if len(angles) > 1 or _joined(tokens[tokens.index(angles[0]) + 1 :]):
        raise AddressError(f"{_show(whole)} is not an address: expected `Name <local@domain>`")
    name = "".join(_unquote(t) for t in tokens[: tokens.index(angles[0])])
    return _parse_address(angles[0][1:-1].strip(), " ".join(name.split()), whole)


def _unquote(token: str) -> str:
    if token.startswith('"') and token.endswith('"') and len(token) > 1:
        return _QUOTED_PAIR.sub(r"\1", token[1:-1])
    return token


def _parse_address(address: str, name: str, whole: str) -> Mailbox:
    # A-labels ("xn--…") and the like are left to the library, which checks what they stand for.
    if len(address) <= 254 and "--" not in address and _COMMON.fullmatch(address) and address.index("@") <= 64:
        local, domain = address.rsplit("@", 1)
        return Mailbox(name, local, domain.lower())
    from email_validator import EmailNotValidError, validate_email  # only the uncommon ones pay for it

    try:
        valid = validate_email(
            address,
            check_deliverability=False,
            globally_deliverable=False,
            allow_quoted_local=True,
            allow_domain_literal=True,
        )
    except (EmailNotValidError, ValueError) as error:
        said = clean_text(str(error), 160).removesuffix(".")
        raise AddressError(f"{_show(whole)} is not an address: {said}") from None
    return Mailbox(name, valid.local_part, (valid.ascii_domain or valid.domain).lower())


def _show(text: str) -> str:
    return repr(clean_text(text, 80))
