"""DKIM: a signature over the final bytes of a message by the key of its sender's domain (RFC 6376, relaxed/relaxed).

The same email has the same signature in every attempt: nothing in it comes from the clock. dkimpy says which bytes of
the header are signed, `cryptography` signs them; see docs/decisions/0025.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256

from outbox.mail.headers import field
from outbox.mail.signing_key import KeyFile, SigningKey, load_key

SIGNED = frozenset(
    {
        b"from",
        b"reply-to",
        b"subject",
        b"date",
        b"message-id",
        b"to",
        b"cc",
        b"in-reply-to",
        b"references",
        b"auto-submitted",
        b"list-id",
        b"list-help",
        b"list-unsubscribe",
        b"list-unsubscribe-post",
        b"list-subscribe",
        b"list-post",
        b"list-owner",
        b"list-archive",
    }
)
SIGNED_PREFIXES = (b"mime-", b"content-")
"""Fields that are signed (RFC 6376 §5.4.1; List-Unsubscribe and its -Post must be, RFC 8058 §4). Rows can bring in none
by the prefixes, so the names are few: dkimpy looks through the whole header for each."""

OVERSIGNED = [b"from"]
"""Signed once more than they are there, so that a second one breaks the signature (§8.15)."""

Fields = list[tuple[bytes, bytes]]

NAME = "DKIM-Signature"
BLOCK = 1 << 17
_COLUMNS = 72


class Signer:
    """Signs for the domains that have a key, and for those below them that have none of their own."""

    def __init__(self, keys: Sequence[KeyFile]) -> None:
        """Raises ValueError for what is no key."""
        from dkim import hash_headers, rfc822_parse  # pinned, since it does not promise these two
        from dkim.canonicalization import CanonicalizationPolicy

        self._keys = {key.domain: load_key(key) for key in keys}
        self._hash_headers, self._parse = hash_headers, rfc822_parse
        self._policy = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")

    def over(self, domain: str, moment: datetime, body: Iterable[bytes]) -> "Signature | None":
        """What signs messages of this body from `domain`, as of `moment`; None where there is no key for it.

        `body` is all after the empty line, in pieces.
        """
        key = self._key(domain)
        if key is None:
            return None
        return Signature(self, key, int(moment.timestamp()), b64encode(_body_hash(body)).decode())

    def _key(self, domain: str) -> SigningKey | None:
        while domain:
            if key := self._keys.get(domain):
                return key
            domain = domain.partition(".")[2]
        return None

    def digest(self, fields: "Fields", names: Sequence[bytes], field_value: str) -> bytes:
        """What is signed (§3.7): the fields of these names, and the signature's own without its end."""
        canonical = self._policy.canonicalize_headers(fields)
        hasher = sha256()
        own = (NAME.encode(), f" {field_value}".encode())
        self._hash_headers(hasher, self._policy, canonical, names, own, {})
        return hasher.digest()

    def fields(self, header: bytes) -> "Fields":
        """Names and values."""
        found: Fields = self._parse(header)[0]
        return found


class Signature:
    """Everything of a signature but for the header, of which a message may have two forms."""

    def __init__(self, signer: Signer, key: SigningKey, moment: int, body_hash: str) -> None:
        self._signer = signer
        self._key = key
        self._moment = moment
        self._body_hash = body_hash

    def field(self, header: bytes) -> bytes:
        """The field that belongs in front of `header`, which is complete but for it."""
        key = self._key
        fields = self._signer.fields(header)
        names = [name for name in (name.lower() for name, _ in fields) if _is_signed(name)] + OVERSIGNED
        tokens = ["v=1;", f"a={key.algorithm};", "c=relaxed/relaxed;", f"d={key.domain};", f"s={key.selector};"]
        tokens += [f"t={self._moment};", *f"h={b': '.join(names).decode()};".split(), f"bh={self._body_hash};"]
        digest = self._signer.digest(fields, names, " ".join([*tokens, "b="]))
        signed = "b=" + b64encode(key.sign(digest)).decode()
        pieces = (signed[start : start + _COLUMNS] for start in range(0, len(signed), _COLUMNS))
        return field(NAME, [*tokens, *pieces]).encode()


def _is_signed(name: bytes) -> bool:
    return name in SIGNED or name.startswith(SIGNED_PREFIXES)


def _body_hash(body: Iterable[bytes]) -> bytes:
    """The relaxed form's (§3.4.4), block by block: a body may be most of what memory there is."""
    hasher, blank, empty = sha256(), 0, True
    for block in _blocks(body):
        text = block.rstrip(b" \t\r\n")
        breaks = block.count(b"\n", len(text))
        if text:
            hasher.update(b"\r\n" * blank)
            hasher.update(_relaxed(text))
            blank, empty = breaks, False
        else:
            blank += breaks
    if not empty:
        hasher.update(b"\r\n")
    return hasher.digest()


def _relaxed(lines: bytes) -> bytes:
    # Runs of space first: the other way round, as dkimpy has it, a line of them takes the square of its length.
    for wide in (b"\t", b"  "):
        while wide in lines:
            lines = lines.replace(wide, b" ")
    return lines.replace(b" \r\n", b"\r\n")


def _blocks(body: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of whole lines."""
    rest = b""
    for piece in body:
        for start in range(0, len(piece), BLOCK):
            rest += piece[start : start + BLOCK]
            if len(rest) >= BLOCK and (end := rest.rfind(b"\n") + 1):
                yield rest[:end]
                rest = rest[end:]
    if rest:
        yield rest
