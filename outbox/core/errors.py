"""Every error that outbox raises on purpose. `str(error)` is one line that says what is wrong, where, and what to do.

    OutboxError
    ├── SettingsError        a setting is wrong or missing (exit code 2)
    ├── DatabaseError        the database cannot be used as it is (exit code 2)
    ├── ContentError         a row that cannot become a message; it ends that row alone
    │   └── AddressError     (also a ValueError) text that is not an address
    ├── NotNowError          a row that has to wait for a reason that is not its own; it costs no attempt
    ├── NotFoundError        no such row (exit code 1)
    └── StatusError          a row's status does not allow what was asked for (exit code 1)

Faults of SMTP servers are not exceptions: they are outcomes and faults, see `outcome` and `classify`.
"""

INTERRUPTED = 130
"""The exit code of work with an end that Ctrl-C broke off. A daemon that polls has none, and ends with 0."""


class OutboxError(Exception):
    """Base of all errors raised on purpose."""


class SettingsError(OutboxError):
    """A setting is wrong, missing or unknown; the message names it."""


class DatabaseError(OutboxError):
    """The database is unreachable, has no schema, or has one of another version."""


class ContentError(OutboxError):
    """The content of one row cannot become a message. No retry can help."""


class AddressError(ContentError, ValueError):
    """Text that is not an address, or not a list of them."""


class NotNowError(OutboxError):
    """A row cannot be made into a message now, for a reason that is not its own; again in `delay` seconds.

    The reason is empty where there is none to put on record.
    """

    def __init__(self, reason: str, delay: float) -> None:
        super().__init__(reason)
        self.delay = delay


class NotFoundError(OutboxError):
    """There is no such row."""


class StatusError(OutboxError):
    """The status of the row does not allow what was asked for."""
