"""`check` names what is wrong and what to do."""

import pytest

from outbox.db.schema import HEAD


def test_everything_in_order_is_exit_0(shell, catch, outbox_db, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "welcome.txt").write_text("Hello {{ name }}")
    (tmp_path / "templates" / "welcome.sample.json").write_text('{"name": "Ada"}')
    answer = shell("check", OUTBOX_SMTP_URL=catch.url, OUTBOX_TEMPLATES="templates")
    assert (answer.code, answer.err) == (0, "")
    marks = [line[0] for line in answer.out.splitlines() if not line.startswith("! sqlite")]
    assert marks == ["✓"] * 4
    for word in ("database", f"schema {HEAD}", "sender", catch.url, "SIZE 52428800", "templates"):
        assert word in answer.out
    assert not list(catch.folder.iterdir())


def test_each_fault_has_its_line(outbox, monkeypatch, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "broken.txt").write_text("{% if %}")
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtps://me:hush@127.0.0.1:1")
    monkeypatch.setenv("OUTBOX_TEMPLATES", "templates")
    answer = outbox("check")
    assert (answer.code, answer.err) == (1, "")
    database, sender, transport, templates = answer.out.splitlines()
    assert database.startswith("✗ database:")
    assert "outbox migrate" in database
    assert sender.startswith("✓ sender:")
    assert transport.startswith("✗ transport default:")
    assert "refused" in transport
    assert templates.startswith("✗ templates: broken.txt")
    assert "hush" not in answer.out


def test_no_transport_at_all_is_a_fault(outbox, outbox_db):
    answer = outbox("check")
    assert answer.code == 1
    assert "✗ transport: none; set OUTBOX_SMTP_URL" in answer.out


def test_a_misspelt_variable_is_a_warning(outbox, outbox_db, monkeypatch):
    monkeypatch.setenv("OUTBOX_SMPT_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("OUTBOX_MAX_CONNECTIONS", "3")
    monkeypatch.setenv("OUTBOX_DEBUG", "1")
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://127.0.0.1:1")
    answer = outbox("check")
    assert answer.err.splitlines() == ["! OUTBOX_SMPT_URL is set, but there is no such setting; is it misspelt?"]


def test_an_unusable_configuration_is_exit_2(outbox, monkeypatch):
    monkeypatch.setenv("OUTBOX_LEASE", "long")
    answer = outbox("check")
    assert (answer.code, answer.out) == (2, "")
    assert "OUTBOX_LEASE" in answer.err


@pytest.mark.parametrize(("version", "affected"), [((3, 40, 1), True), ((3, 51, 3), False)])
def test_a_sqlite_with_the_wal_reset_bug_is_a_warning(outbox, outbox_db, monkeypatch, version, affected):
    name = ".".join(map(str, version))
    monkeypatch.setattr("sqlite3.sqlite_version_info", version)
    monkeypatch.setattr("sqlite3.sqlite_version", name)
    lines = outbox("check").out.splitlines()
    assert lines[0].endswith(f"SQLite {name}")
    warnings = [line for line in lines if line.startswith("!")]
    assert len(warnings) == affected
    if affected:
        assert warnings[0].startswith("! sqlite: 3.40.1 has the WAL-reset bug")
        assert "wal_autocheckpoint=0" in warnings[0]


def test_a_warning_fails_nothing():
    from outbox.cli.finding import Finding

    warning = Finding("sqlite", "old", warning=True)
    assert (warning.good, warning.mark) == (True, "!")
