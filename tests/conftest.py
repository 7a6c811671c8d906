"""Fixtures shared by all tests: real databases, a real SMTP server, an environment without outbox settings."""

import os

import pytest
from hypothesis import settings

# Examples may take as long as a busy machine makes them; what they check is never time.
settings.register_profile("outbox", deadline=None)
settings.load_profile("outbox")

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.smtpd",
    "tests.fixtures.aftermath",
    "tests.fixtures.clock",
    "tests.fixtures.warm",
    "tests.fixtures.issuer",
    "tests.fixtures.keys",
    "tests.fixtures.wheel",
]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """No setting of the developer's shell or folder reaches a test."""
    for name in [name for name in os.environ if name.startswith("OUTBOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
