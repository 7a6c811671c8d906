"""The private keys that sign: read from their files once, at the start; RSA and Ed25519 (RFC 6376 §3.3, RFC 8463).

`cryptography` is imported only where a key is configured.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from outbox.core.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from outbox.settings.dkim import DkimSettings

SHORTEST, ADVISED = 1024, 2048
"""Bits of an RSA key: below the first no verifier takes it, from the second on it is good (RFC 8301 §3.2)."""

HOW = "make one with `openssl genrsa -out key.pem 2048`"


class KeyFile(NamedTuple):
    """What a key is made of: this much goes to the child that composes."""

    domain: str
    selector: str
    pem: bytes


class SigningKey(NamedTuple):
    """A key ready to sign, and what DNS has to say of it."""

    domain: str
    selector: str
    algorithm: str
    """The tag `a=`."""
    kind: str
    """For people: `RSA 2048`."""
    sign: Callable[[bytes], bytes]
    """Makes the signature of a SHA-256 digest."""
    record: str
    """The TXT record that lets others verify it."""
    weak: bool

    @property
    def record_name(self) -> str:
        """Where that record belongs."""
        return f"{self.selector}._domainkey.{self.domain}"


def read_key_files(settings: "Mapping[str, DkimSettings]") -> tuple[KeyFile, ...]:
    """The keys of all domains, each tried. Raises SettingsError, one line, for a file that is no such key."""
    return tuple(read_key_file(domain, one)[0] for domain, one in settings.items())


def read_key_file(domain: str, settings: "DkimSettings") -> tuple[KeyFile, SigningKey]:
    """The key of one domain. Raises SettingsError."""
    try:
        found = KeyFile(domain, settings.selector, settings.key.read_bytes())
    except (OSError, ValueError) as error:  # the latter of a path that there cannot be
        said = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"dkim.{domain}.key: {str(settings.key)!r} cannot be read: {said}") from None
    try:
        return found, load_key(found)
    except ValueError as error:
        raise SettingsError(f"dkim.{domain}.key: {str(settings.key)!r} {error}") from None


def load_key(file: KeyFile) -> SigningKey:
    """The key in `file`. Raises ValueError: what it is instead."""
    try:
        import dkim  # noqa: F401  # what signs needs both
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise SettingsError("dkim: signing needs two libraries: install email-outbox[dkim]") from None

    try:
        private = load_pem_private_key(file.pem, password=None)
    except TypeError:
        raise ValueError("has a passphrase; a key that signs by itself must have none") from None
    except Exception:  # noqa: BLE001  # of many kinds, by version; and what it says may be of the key
        raise ValueError(f"is not a private key in PEM form; {HOW}") from None
    return _signing_key(file, private)


def _signing_key(file: KeyFile, private: "PrivateKeyTypes") -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    domain, selector, _ = file
    if isinstance(private, Ed25519PrivateKey):
        public = b64encode(private.public_key().public_bytes_raw()).decode()
        record = f"v=DKIM1; k=ed25519; p={public}"
        return SigningKey(domain, selector, "ed25519-sha256", "Ed25519", private.sign, record, weak=False)
    if not isinstance(private, RSAPrivateKey):
        raise ValueError(f"is neither an RSA key nor an Ed25519 one; {HOW}")  # noqa: TRY004  # the file, not a call, is wrong
    if private.key_size < SHORTEST:
        raise ValueError(f"has {private.key_size} bits, and nobody accepts less than {SHORTEST}; {HOW}")
    padding, digest = PKCS1v15(), Prehashed(SHA256())
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(
        *(domain, selector, "rsa-sha256", f"RSA {private.key_size}"),
        sign=lambda octets: private.sign(octets, padding, digest),
        record=f"v=DKIM1; k=rsa; p={b64encode(der).decode()}",
        weak=private.key_size < ADVISED,
    )
