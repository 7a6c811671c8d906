"""Settings as the documentation shows them are settings that load."""

import re
from pathlib import Path

import pytest

from outbox.core.rate import Rate
from outbox.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def shown(tmp_path):
    """The settings of a page's first TOML block."""

    def load(page):
        found = re.search(r"^```toml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        assert found, f"there is no TOML in {page}"
        (tmp_path / "outbox.toml").write_text(found[1])
        return Settings.load(tmp_path / "outbox.toml")

    return load


def test_the_page_on_limits_shows_settings_that_load(shown):
    settings = shown("limits.md")
    assert settings.limits["default"] == (Rate(14, 1), Rate(10000, 86400))
    assert settings.limits["@*.example.com"] == (Rate(100, 3600),)
    assert [route.transport for route in settings.routes] == ["news", "backup"]
    assert settings.transports["default"].failover == ("backup",)
