"""What failed, in our words: a step of opening a connection (exceptions of the library, the sockets and TLS), or the
wire of an open one."""

import logging
import os
import re
import socket
import ssl

import aiosmtplib

from outbox.core.classify import Action, Judgement, Stage, Trouble
from outbox.core.outcome import Fault, Scope
from outbox.core.reply import Reply
from outbox.core.text import clean_text
from outbox.smtp.wire import WireError

_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_ERRNO = re.compile(r"\[Errno (\d{1,5})\]")

_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL says, in its various versions, of a peer that answered in plain text."""


class OpeningError(Exception):
    """A connection could not be opened: at which stage, by which reply or trouble, and what else is known of it."""

    def __init__(self, stage: Stage, what: Reply | Trouble, detail: str = "") -> None:
        self.stage = stage
        self.what = what
        self.detail = clean_text(detail, 200)
        super().__init__(f"{stage}: {what}" + (f" ({self.detail})" if self.detail else ""))


def opening_failed(stage: Stage, error: Exception) -> OpeningError:
    """The failure that `error`, raised by aiosmtplib at `stage`, stands for."""
    cause = error.__cause__
    if stage is Stage.CONNECT and _after_connecting(error):
        stage = Stage.GREETING
    if isinstance(error, aiosmtplib.SMTPResponseException):
        reply = Reply.of(error.code, error.message) if 400 <= error.code <= 599 else None
        return OpeningError(stage, reply or Trouble.MALFORMED, "" if reply else str(error.message))
    for said in (error, cause):
        if isinstance(said, ssl.SSLError):
            return _tls_failed(stage, said)
        if isinstance(said, socket.gaierror):
            trouble = Trouble.DNS_UNKNOWN if said.errno in _NO_SUCH_HOST else Trouble.DNS
            return OpeningError(stage, trouble, said.strerror or "")
    if isinstance(error, TimeoutError) or isinstance(cause, ConnectionAbortedError):  # asyncio's TLS handshake timeout
        return OpeningError(stage, Trouble.TIMEOUT)
    if stage is Stage.CONNECT and isinstance(error, ValueError):  # a name that cannot even be looked up
        return OpeningError(stage, Trouble.DNS_UNKNOWN, str(error))
    if stage is Stage.CONNECT:
        return OpeningError(stage, Trouble.UNREACHABLE, _in_words(str(cause or error)))
    if isinstance(error, aiosmtplib.SMTPServerDisconnected) or isinstance(cause, aiosmtplib.SMTPServerDisconnected):
        return OpeningError(stage, Trouble.CLOSED)
    return OpeningError(stage, Trouble.MALFORMED, f"{type(error).__name__}: {error}")


def _in_words(said: str) -> str:
    """Without the addresses and numbers of the system's error, which may be several in one."""
    numbers = dict.fromkeys(int(number) for number in _ERRNO.findall(said))
    return ", ".join(os.strerror(number) for number in numbers) or said


def _tls_failed(stage: Stage, error: ssl.SSLError) -> OpeningError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return OpeningError(stage, Trouble.CERTIFICATE, error.verify_message or str(error))
    plain = stage is Stage.CONNECT and error.reason in _NOT_TLS
    return OpeningError(stage, Trouble.TLS_MODE if plain else Trouble.TLS_FAILED, error.reason or str(error))


def _after_connecting(error: Exception) -> bool:
    """Whether TCP and TLS stood when `error` came up, so that it is about the greeting."""
    heard = (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPReadTimeoutError)
    return isinstance(error, aiosmtplib.SMTPResponseException) or isinstance(error.__cause__, heard)


def fault_of(where: str, stage: Stage, judgement: Judgement, said: str) -> Fault:
    """The fault of a transport, in one line that says where, when and what. `judgement` is PAUSE or CONFIG."""
    scope = Scope.CONFIG if judgement.action is Action.CONFIG else Scope.PAUSE
    return Fault(scope, f"{where}: {stage}: {said}", judgement.wait, judgement.fewer, judgement.crowded)


def announcement(name: str, fault: Fault, seconds: float) -> tuple[int, str]:
    """How loud, and in which words, the log tells that transport `name` pauses."""
    if fault.scope is not Scope.CONFIG:
        return logging.WARNING, f"{name} is paused for {seconds:.0f} s: {fault.reason}"
    what_to_do = f"`outbox check` tries the configuration, `outbox resume {name}` has it used at once"
    return logging.ERROR, f"{name} needs you: {fault.reason}; it is tried again in {seconds:.0f} s. {what_to_do}"


def reason_of(broken: WireError, stage: Stage) -> Reply | Trouble:
    """What broke the wire: a notice that the server gave unasked, but never an answer to what was not asked yet."""
    said = broken.said
    if said is None or stage is Stage.DOT:
        return broken.trouble
    if said.code == 421 or (stage is Stage.BODY and said.code >= 400):  # 552 before it has read it all
        return said
    # "451 4.4.2 Timeout waiting for data" is a goodbye; a 250 or a 550 would be taken for some recipient's.
    return Trouble.CLOSED if 400 <= said.code <= 499 else Trouble.MALFORMED


def is_out_of_step(what: Reply | Trouble) -> bool:
    """Whether it cannot be the answer to its command; then those before it may have answered others as well."""
    return what in {Trouble.MALFORMED, Trouble.OUT_OF_STEP} or (isinstance(what, Reply) and what.code < 400)
