"""`preset = "…"` of a transport: what a provider is known to put up with, as defaults that explicit settings override.

Only what a provider publishes, or is known to do, stands here, each with its source; the rest keeps its usual default.
Limits of an account that differ from one to the next (Amazon's sending rate) have to be set by its owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of one provider."""

    hosts: tuple[str, ...] = ()
    """Patterns of its servers' names; none where it can be any server."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a transport, as people write them."""
    token_url: str | None = None
    """Where it issues access tokens."""
    scope: str | None = None
    """What a token is asked for by client credentials; None where it does not know that grant."""

    def serves(self, host: str) -> bool:
        """Whether `host` is one of its servers."""
        return not self.hosts or any(fnmatchcase(host.lower(), pattern) for pattern in self.hosts)


PRESETS: Mapping[str, Preset] = {
    "gmail": Preset(
        hosts=("smtp.gmail.com", "smtp.googlemail.com", "smtp-relay.gmail.com"),
        defaults={
            "max_recipients": 100,  # https://support.google.com/a/answer/166852: of a message sent by SMTP
            "rate": "2000/day",  # the same page: messages of a user of Workspace (500 of a trial or a private account)
        },
        token_url="https://oauth2.googleapis.com/token",  # noqa: S106  # https://developers.google.com/identity/protocols/oauth2/web-server#offline
    ),
    "microsoft365": Preset(
        hosts=("smtp.office365.com", "smtp-mail.outlook.com", "smtp.office365.us", "smtp.partner.outlook.cn"),
        defaults={
            # Of a mailbox; more are answered by 432 4.3.2. From
            # https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements
            "max_connections": 3,
            # The same page; 10,000 counts recipients, here it counts emails:
            # https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits
            "rate": ["30/min", "10000/day"],
        },
        # https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
        token_url="https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",  # noqa: S106  # no secret: a URL
        # https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
        scope="https://outlook.office365.com/.default",
    ),
    "ses": Preset(
        hosts=("email-smtp*.amazonaws.com", "email-smtp*.amazonaws.com.cn", "*.vpce.amazonaws.com"),
        defaults={
            # No `rate`: it differs by account. https://docs.aws.amazon.com/ses/latest/dg/quotas.html
            "max_recipients": 50,  # the same page: recipients of a message
            # Long-lived connections are advised against, and 451 4.4.2 ends those that idle for some seconds:
            # https://docs.aws.amazon.com/ses/latest/dg/smtp-response-codes.html, https://github.com/jstedfast/MailKit/issues/1581
            "connection_age": "30s",
            "idle_timeout": "5s",
        },
    ),
    "sendgrid": Preset(
        hosts=("smtp.sendgrid.net", "smtp.eu.sendgrid.net"),
        # Messages of a connection; 10,000 connections of a server are more than anybody opens:
        # https://docs.sendgrid.com/for-developers/sending-email/integrating-with-the-smtp-api
        defaults={"messages_per_connection": 5000},
    ),
    "mailgun": Preset(
        hosts=("smtp.mailgun.org", "smtp.eu.mailgun.org"),
        # "Provided directly from Mailgun", with 7,000 connections:
        # https://github.com/KumoCorp/kumomta/blob/main/assets/policy-extras/shaping.toml
        defaults={"messages_per_connection": 3},
    ),
    "postfix": Preset(
        defaults={
            # smtpd_client_connection_count_limit is 50 for all pollers of a machine: two of them fit.
            # https://www.postfix.org/postconf.5.html#smtpd_client_connection_count_limit
            "max_connections": 20,
            # It counts no messages, and closes what idles for 10 s when it is under stress.
            # https://www.postfix.org/postconf.5.html#smtpd_timeout
            "messages_per_connection": 10_000,
            "idle_timeout": "5s",
            # https://www.postfix.org/postconf.5.html#smtpd_recipient_limit
            "max_recipients": 1000,
        },
    ),
}
"""By the name that the setting gives."""


def known_preset(value: Any) -> Any:
    """The validator of the setting. Raises ValueError, which lists what there is."""
    if isinstance(value, str) and value not in PRESETS:
        raise ValueError(f"there is no preset {value!r}; there are {', '.join(sorted(PRESETS))}")
    return value


def with_defaults(values: Any) -> Any:
    """The settings of a transport, as they are written, with what its preset adds to them."""
    preset = PRESETS.get(str(values.get("preset"))) if isinstance(values, Mapping) else None
    if preset is None:
        return values  # without one, or the fields themselves complain
    filled = {**preset.defaults, **values}
    oauth = filled.get("oauth")
    if isinstance(oauth, Mapping):
        by_refresh_token = bool(oauth.get("refresh_token") or oauth.get("refresh_token_file"))
        known = {"token_url": preset.token_url, "scope": None if by_refresh_token else preset.scope}
        filled["oauth"] = {**{name: value for name, value in known.items() if value}, **oauth}
    return filled
