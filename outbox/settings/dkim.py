"""`[dkim."example.org"]`: the key that signs what is sent from a domain, and where DNS has its other half."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from outbox.settings.fields import FilePath, domain_text


def _signing_domain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("*."):
        raise ValueError(f"a key is for a domain and all below it; write {value[2:]!r}")
    return domain_text(value)


SigningDomain = Annotated[str, BeforeValidator(_signing_domain)]


class DkimSettings(BaseModel):
    """The key of one domain. Only its place is known here; what is in the file is read where mail is signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    selector: str = Field(max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*$")
    key: FilePath  # PEM without a passphrase: RSA or Ed25519
