"""Settings as the documentation shows them are settings that load."""

import re
from pathlib import Path

import pytest

from outbox.core.rate import Rate
from outbox.settings import Settings, Timeouts, TransportSettings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def shown(tmp_path):
    """The settings of a TOML block of a page."""

    def load(page, number=0):
        blocks = re.findall(r"^```toml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        (tmp_path / "outbox.toml").write_text(blocks[number])
        return Settings.load(tmp_path / "outbox.toml")

    return load


def test_the_page_on_limits_shows_settings_that_load(shown):
    settings = shown("limits.md")
    assert settings.limits["default"] == (Rate(14, 1), Rate(10000, 86400))
    assert settings.limits["@*.example.com"] == (Rate(100, 3600),)
    assert [route.transport for route in settings.routes] == ["news", "backup"]
    assert settings.transports["default"].failover == ("backup",)


@pytest.mark.parametrize(("number", "preset"), [(0, "ses"), (1, "microsoft365"), (2, "gmail")])
def test_the_page_on_providers_shows_settings_that_load(shown, tmp_path, number, preset):
    for name in ("client_secret", "refresh_token"):
        (tmp_path / name).write_text("secret\n")
    transport = shown("transports.md", number).transports["default"]
    assert (transport.preset, transport.mismatch) == (preset, None)
    assert transport.by_token == (preset != "ses")


def test_the_page_on_providers_shows_all_timeouts_as_they_are_by_default(shown, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1")
    timeouts = shown("transports.md", 3).transports["default"].timeouts
    assert timeouts == Timeouts()
    assert timeouts.model_fields_set == set(Timeouts.model_fields)


def test_the_documentation_names_every_setting():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS.parent / "README.md", *DOCS.glob("*.md")))
    names = {*Settings.model_fields, *TransportSettings.model_fields}
    assert {name for name in names if not re.search(rf"\b{name}\b", pages)} == set()


def test_the_page_on_signatures_shows_settings_that_load(shown):
    key = shown("dkim.md").dkim["example.org"]
    assert (key.selector, str(key.key)) == ("s1", "/etc/outbox/example.org.pem")
