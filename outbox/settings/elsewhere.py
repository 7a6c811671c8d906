"""The settings of a place that is not production: it sends to somebody else, or to few."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, model_validator
from pydantic_settings import NoDecode

from outbox.core.address import parse_mailbox
from outbox.core.elsewhere import Elsewhere, parse_pattern
from outbox.settings.fields import mailbox_text, only_text, split


def _patterns(value: Any) -> Any:
    found = split(value)
    if not isinstance(found, list):
        return found
    if not found:
        raise ValueError("allows nobody; leave it out to allow everybody")
    return [*map(only_text(parse_pattern), found)]


class ElsewhereSettings(BaseModel):
    """They are settings of the top level, and have their variables as all of those."""

    redirect_to: Annotated[str, BeforeValidator(mailbox_text)] | None = None  # gets every email instead
    allow_recipients: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_patterns)] = None

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        target = self.elsewhere.redirect_to
        if target and not self.elsewhere.allows(target.address):
            raise ValueError(f"redirect_to: {target.address} is not in allow_recipients; add it there")
        return self

    @property
    def elsewhere(self) -> Elsewhere:
        """Both, as the rule that they are."""
        return Elsewhere(parse_mailbox(self.redirect_to) if self.redirect_to else None, self.allow_recipients)
