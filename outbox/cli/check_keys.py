"""What `check` says of the keys that sign, and what DNS must have for each: printed to be copied, not looked up."""

import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from outbox.cli.finding import Finding
from outbox.core.errors import SettingsError

if TYPE_CHECKING:
    from outbox.settings import Settings
    from outbox.settings.dkim import DkimSettings


def check_keys(settings: "Settings") -> Iterator[Finding]:
    """A line for each domain, and one for each thing to mend."""
    for domain, one in settings.dkim.items():
        yield from _check_key(domain, one)


def _check_key(domain: str, settings: "DkimSettings") -> Iterator[Finding]:
    from outbox.mail.signing_key import ADVISED, read_key_file

    try:
        _, key = read_key_file(domain, settings)
    except SettingsError as error:
        yield Finding("dkim", str(error), good=False)
        return
    subject = f"dkim {domain}"
    yield Finding(subject, f"{key.kind}; publish as TXT record of {key.record_name}: {key.record}")
    if key.weak:
        yield Finding(subject, f"its key should have {ADVISED} bits (RFC 8301); make a new one", warning=True)
    if settings.key.stat().st_mode & stat.S_IROTH:
        yield Finding(subject, f"everybody on this machine can read {settings.key}; chmod o-r it", warning=True)
