"""The refresh token of a transport: read, held while it is used, replaced when the issuer gives another (RFC 6749 §6).

An issuer may take an old one for stolen and revoke them all (RFC 9700 §4.14.2), so only one request uses it at a time,
over all pollers that share the file.
"""

import fcntl
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from outbox.settings.oauth import OAuthSettings
from outbox.smtp.tokens import failed

log = logging.getLogger("outbox.smtp")


class RefreshToken:
    """Of a file, or of the settings themselves, where a new one can be kept in memory alone."""

    def __init__(self, settings: OAuthSettings) -> None:
        self._path = settings.refresh_token_file
        self._set = settings.refresh_token.get_secret_value() if settings.refresh_token else ""
        self._newer: dict[str, str] = {}
        """What the issuer gave instead of one that could not be replaced where it stands."""
        self._lock = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[str]:
        """The token, for nobody else meanwhile. Blocks. Raises OpeningError where it cannot be read."""
        with self._lock:
            if self._path is None:
                yield self._newer.get(self._set, self._set)
                return
            with _held(self._path.parent):
                written = read_secret("refresh_token_file", self._path)
                yield self._newer.get(written, written)

    def replace(self, token: str) -> None:
        """Use `token` from now on; called while it is held."""
        if self._path is None:
            self._keep(self._set, token, "the settings hold refresh_token itself; use refresh_token_file")
            return
        written = read_secret("refresh_token_file", self._path)
        if token == written:
            return
        try:
            _write(self._path.resolve(), token)
        except OSError as error:
            self._keep(written, token, f"refresh_token_file {self._path} cannot be written: {error.strerror}")

    def _keep(self, old: str, new: str, why: str) -> None:
        if new != old and old not in self._newer:
            log.warning("the issuer gave another refresh token, which is lost when this process ends: %s", why)
        self._newer = {old: new}


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder against all processes: the file in it is replaced, so nobody could hold that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise failed(f"the folder of refresh_token_file cannot be read: {error.strerror}", invalid=True) from None
    try:
        with suppress(OSError):  # no network file system locks folders; then each has to hope
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, secret: str) -> None:
    """All of it or nothing, and for nobody else to read: mkstemp makes files of mode 0600."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_secret(name: str, path: Path) -> str:
    """What is in the file of the setting `name`, without the white space around it. Raises OpeningError."""
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise failed(f"{name} {path} cannot be read: {error.strerror}", invalid=True) from None
    except UnicodeDecodeError:
        raise failed(f"{name} {path} is not text", invalid=True) from None
    if not secret:
        raise failed(f"{name} {path} is empty", invalid=True)
    return secret
