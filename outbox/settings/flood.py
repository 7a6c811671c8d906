"""`[flood_guard]`: how many emails one recipient gets in a while, and what becomes of those beyond."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, field_validator

from outbox.core.flood import MOST
from outbox.core.rate import Rate, parse_rate
from outbox.settings.fields import only_text


class FloodSettings(BaseModel):
    """At most `limit` emails to one recipient; of one `tag` or `template` each, or altogether."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[Rate, BeforeValidator(only_text(parse_rate)), PlainSerializer(str)]
    per: Literal["recipient", "tag", "template"] = "tag"
    action: Literal["hold", "drop"] = "hold"

    @field_validator("limit")
    @classmethod
    def _check_limit(cls, limit: Rate) -> Rate:
        if limit.count > MOST:
            raise ValueError(f"{limit} is more than a flood guard can count; at most {MOST} emails")
        return limit
