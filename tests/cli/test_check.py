"""`check` names what is wrong and what to do."""

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from outbox.db.schema import HEAD
from tests.fixtures.keys import pem_of


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


def test_each_key_is_read_and_what_dns_must_say_is_printed(outbox, outbox_db, keys, tmp_path):
    (tmp_path / "outbox.toml").write_text(keys.toml)
    out = outbox("check").out
    assert "✓ dkim example.org: RSA 2048; publish as TXT record of s1._domainkey.example.org: v=DKIM1;" in out
    records = (line.partition("publish as TXT record of ")[2] for line in out.splitlines() if "dkim" in line)
    assert dict(record.split(": ", 1) for record in records) == keys.records


def test_keys_that_should_be_mended_are_named(outbox, outbox_db, tmp_path):
    weak = tmp_path / "weak.pem"
    weak.write_bytes(pem_of(generate_private_key(65537, 1024)))
    weak.chmod(0o644)
    (tmp_path / "bad.pem").write_text("nothing")
    tables = (f'[dkim."{name}.example"]\nselector = "s1"\nkey = "{name}.pem"\n' for name in ("weak", "bad", "none"))
    (tmp_path / "outbox.toml").write_text("".join(tables))
    answer = outbox("check")
    assert answer.code == 1
    _, bits, readable, bad, none = [line for line in answer.out.splitlines() if "dkim" in line]
    assert bits == "! dkim weak.example: its key should have 2048 bits (RFC 8301); make a new one"
    assert readable == "! dkim weak.example: everybody on this machine can read weak.pem; chmod o-r it"
    assert bad.startswith("✗ dkim: dkim.bad.example.key: 'bad.pem' is not a private key in PEM form; make one with")
    assert none == "✗ dkim: dkim.none.example.key: 'none.pem' cannot be read: No such file or directory"


def test_a_preset_of_another_provider_is_a_warning(shell, catch, outbox_db):
    answer = shell("check", OUTBOX_SMTP_URL=catch.url, OUTBOX_PRESET="ses")
    assert answer.code == 0
    [warning] = [line for line in answer.out.splitlines() if line.startswith("! transport")]
    assert warning.startswith("! transport default: the preset ses is made for email-smtp*.amazonaws.com, ")
    assert warning.endswith("not for 127.0.0.1; is that meant?")
