"""The settings of what the daemon tells of itself: its log and its metrics."""

from pydantic import BaseModel, Field

from outbox.core.logs import LogFormat
from outbox.settings.fields import Whole


class SightSettings(BaseModel):
    """They are settings of the top level, and have their variables as all of those."""

    log_format: LogFormat = LogFormat.TEXT  # of `outbox run`; within an application, logging is the application's
    metrics_port: Whole | None = Field(default=None, ge=0, le=65535)  # Prometheus; 0 takes a free one and logs it
    metrics_host: str = Field(default="127.0.0.1", min_length=1)  # whoever can connect reads them
