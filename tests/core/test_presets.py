"""Presets: a provider's limits as defaults, which explicit settings override."""

import pytest

from outbox.core.errors import SettingsError
from outbox.core.rate import Rate
from outbox.settings import Settings, TransportSettings
from outbox.settings.presets import PRESETS

URLS = {
    "gmail": "smtps://ada:x@smtp.gmail.com",
    "microsoft365": "smtp+starttls://ada:x@smtp.office365.com",
    "ses": "smtps://ada:x@email-smtp.eu-west-1.amazonaws.com",
    "sendgrid": "smtps://apikey:x@smtp.sendgrid.net",
    "mailgun": "smtps://ada:x@smtp.eu.mailgun.org",
    "postfix": "smtp://localhost",
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_its_provider_and_changes_something(name):
    transport = TransportSettings(url=URLS[name], preset=name)
    assert transport.mismatch is None
    changed = transport.model_dump(exclude={"preset"}) != TransportSettings(url=URLS[name]).model_dump(
        exclude={"preset"}
    )
    assert changed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gmail", {"max_recipients": 100, "rate": (Rate(2000, 86400),)}),
        ("microsoft365", {"max_connections": 3, "rate": (Rate(30, 60), Rate(10000, 86400))}),
        ("ses", {"max_recipients": 50, "connection_age": 30, "idle_timeout": 5}),
        ("sendgrid", {"messages_per_connection": 5000}),
        ("mailgun", {"messages_per_connection": 3}),
        ("postfix", {"max_connections": 20, "max_recipients": 1000}),
    ],
)
def test_a_preset_sets_what_the_provider_says(name, expected):
    transport = TransportSettings(url=URLS[name], preset=name)
    assert {setting: getattr(transport, setting) for setting in expected} == expected


def test_the_default_transport_takes_its_preset_from_a_variable(monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", URLS["mailgun"])
    monkeypatch.setenv("OUTBOX_PRESET", "mailgun")
    monkeypatch.setenv("OUTBOX_MAX_CONNECTIONS", "4")
    transport = Settings.load().transports["default"]
    assert (transport.messages_per_connection, transport.max_connections) == (3, 4)


def test_what_is_set_wins_over_the_preset_from_file_and_variable(tmp_path, monkeypatch):
    (tmp_path / "outbox.toml").write_text(
        f'[transports.default]\nurl = "{URLS["ses"]}"\npreset = "ses"\nmax_recipients = 7\n'
    )
    monkeypatch.setenv("OUTBOX_IDLE_TIMEOUT", "9s")
    transport = Settings.load().transports["default"]
    assert (transport.max_recipients, transport.idle_timeout, transport.connection_age) == (7, 9, 30)


@pytest.mark.parametrize("by_variable", [True, False])
def test_an_unknown_preset_is_one_line_that_lists_what_there_is(tmp_path, monkeypatch, by_variable):
    if by_variable:
        monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://localhost")
        monkeypatch.setenv("OUTBOX_PRESET", "gmial")
    else:
        (tmp_path / "outbox.toml").write_text('[transports.a]\nurl = "smtp://localhost"\npreset = "gmial"\n')
    with pytest.raises(SettingsError) as error:
        Settings.load()
    where = "OUTBOX_PRESET" if by_variable else "setting transports.a.preset"
    known = "gmail, mailgun, microsoft365, postfix, sendgrid, ses"
    assert str(error.value) == f"{where}: there is no preset 'gmial'; there are {known}"


def test_a_preset_without_a_url_lacks_its_url(tmp_path):
    (tmp_path / "outbox.toml").write_text('[transports.a]\npreset = "gmail"\n')
    with pytest.raises(SettingsError, match=r"^setting transports\.a\.url: Field required$"):
        Settings.load()


def test_a_preset_of_another_provider_is_noticed():
    transport = TransportSettings(url=URLS["mailgun"], preset="ses")
    assert transport.mismatch
    assert "preset ses" in transport.mismatch
    assert "not for smtp.eu.mailgun.org" in transport.mismatch
    assert TransportSettings(url="smtp://relay.example.org", preset="postfix").mismatch is None
