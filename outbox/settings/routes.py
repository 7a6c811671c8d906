"""`[[routes]]`: which emails go over which transport."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from outbox.core.routing import Route
from outbox.settings.fields import Domain, Whole, listed


class RouteSettings(BaseModel):
    """One route. All that is given must match; each can be one value or a list, of which any will do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: str
    sender_domain: Annotated[frozenset[Domain], BeforeValidator(listed)] = frozenset()
    recipient_domain: Annotated[frozenset[Domain], BeforeValidator(listed)] = frozenset()
    tag: Annotated[frozenset[str], BeforeValidator(listed)] = frozenset()
    priority: Annotated[frozenset[Annotated[Whole, Field(ge=0, le=2)]], BeforeValidator(listed)] = frozenset()

    @model_validator(mode="after")
    def _check_conditions(self) -> "RouteSettings":
        if not (self.sender_domain or self.recipient_domain or self.tag or self.priority):
            raise ValueError("a route needs a condition: sender_domain, recipient_domain, tag or priority")
        return self

    @property
    def route(self) -> Route:
        """As the poller uses it."""
        return Route(self.transport, self.sender_domain, self.recipient_domain, self.tag, self.priority)
