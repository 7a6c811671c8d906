"""`[retention]`: how long emails that have ended keep their content, and their rows. Without it: for ever."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from outbox.core.duration import parse_duration
from outbox.core.retention import ENDED, Rule
from outbox.core.status import FINAL, Status
from outbox.settings.fields import split

NEVER = "never"


def age(value: Any) -> Any:
    """Seconds; None is for ever."""
    return None if value is None or value == NEVER else parse_duration(value)


def by_status(value: Any) -> Any:
    """`sent=90d, failed=never` in variables."""
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in split(value)]
    if any(not separator for _, separator, _ in parts):
        raise ValueError(f"{value!r} is not a list like sent=90d,failed=never")
    return {name.strip(): text.strip() for name, _, text in parts}


def final(status: Status) -> Status:
    if status not in FINAL:
        raise ValueError(f"{status} emails have not ended; one of {', '.join(sorted(FINAL))} have")
    return status


Age = Annotated[float | None, BeforeValidator(age)]
ByStatus = Annotated[dict[Annotated[Status, AfterValidator(final)], Age], BeforeValidator(by_status)]


class RetentionSettings(BaseModel):
    """`content` is erased, and rows deleted, so long after an email has ended. A status of its own goes before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Age = None
    rows: Age = None
    content_by_status: ByStatus = Field(default_factory=dict)
    rows_by_status: ByStatus = Field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Rows first: their content need not be erased any more."""
        kinds = ((self.rows, self.rows_by_status, False), (self.content, self.content_by_status, True))
        found = []
        for general, own, content_only in kinds:
            ages: dict[Status, float | None] = {**dict.fromkeys(ENDED, general), **own}
            found += [Rule(status, seconds, content_only) for status, seconds in ages.items() if seconds is not None]
        return tuple(found)


def table(value: Any) -> Any:
    """One variable cannot hold it all."""
    if isinstance(value, str):
        raise ValueError("set OUTBOX_RETENTION_CONTENT and OUTBOX_RETENTION_ROWS, or write a [retention] table")  # noqa: TRY004  # pydantic's way
    return value
