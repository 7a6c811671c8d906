"""Settings: where they come from, what is refused, and that no secret shows."""

import re

import pytest
from pydantic import SecretStr

from outbox.core.address import Mailbox
from outbox.core.errors import SettingsError
from outbox.core.smtp_url import Security, parse_smtp_url
from outbox.settings import Settings

SECRET = "hunter2-secret"
GOOD_URL = f"smtps://ada:{SECRET}@mail.example.org"


@pytest.fixture
def config(tmp_path):
    """Writes an `outbox.toml` into the current folder."""

    def write(text):
        path = tmp_path / "outbox.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_the_defaults_need_nothing():
    settings = Settings.load()
    assert settings.database_url == SecretStr("sqlite+aiosqlite:///outbox.db")
    assert list(settings.retry_policy.schedule) == [60, 300, 900, 1800, 3600, 7200, 14400]
    assert (settings.max_attempts, settings.lease, settings.poll_interval, settings.doubt_delay) == (16, 60, 1, 300)


def test_a_variable_wins_over_the_file_and_an_argument_over_both(config, monkeypatch):
    config('max_attempts = 2\nlease = "20s"\npoll_interval = "2s"')
    monkeypatch.setenv("OUTBOX_LEASE", "30s")
    monkeypatch.setenv("OUTBOX_POLL_INTERVAL", "3s")
    settings = Settings.load(poll_interval="4s", max_attempts=None)
    assert (settings.max_attempts, settings.lease, settings.poll_interval) == (2, 30, 4)


def test_an_empty_variable_sets_nothing(monkeypatch):
    monkeypatch.setenv("OUTBOX_LEASE", "")
    assert Settings.load().lease == 60


def test_the_file_may_lie_elsewhere(tmp_path, monkeypatch):
    path = tmp_path / "elsewhere.toml"
    path.write_text("max_attempts = 3")
    assert Settings.load(path).max_attempts == 3
    monkeypatch.setenv("OUTBOX_CONFIG", str(path))
    assert Settings.load().max_attempts == 3


def test_lists_in_variables_are_comma_separated(monkeypatch):
    monkeypatch.setenv("OUTBOX_RETRY_SCHEDULE", "1s, 2m,3h")
    assert Settings.load().retry_schedule == (1, 120, 10800)


def test_variables_reach_the_default_transport(config, monkeypatch):
    config('[transports.default]\nurl = "smtp://localhost"\nmessages_per_connection = 7')
    monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://localhost:2525")
    monkeypatch.setenv("OUTBOX_MAX_CONNECTIONS", "3")
    transport = Settings.load().transports["default"]
    assert (transport.smtp_url.port, transport.max_connections, transport.messages_per_connection) == (2525, 3, 7)


def test_a_server_on_this_machine_needs_no_configured_sender():
    assert Settings.load(smtp_url="smtp://localhost").default_sender == Mailbox("", "outbox", "localhost")
    with pytest.raises(SettingsError, match="set OUTBOX_SENDER"):
        _ = Settings.load(smtp_url="smtp://mail.example.org").default_sender
    settings = Settings.load(smtp_url="smtp://mail.example.org", sender="Shop <shop@example.org>")
    assert settings.default_sender == Mailbox("Shop", "shop", "example.org")


def test_without_a_server_the_variable_to_set_is_named():
    with pytest.raises(SettingsError, match="set OUTBOX_SMTP_URL"):
        _ = Settings.load().default_transport


def test_the_only_transport_is_the_default_one(config):
    config('[transports.ses]\nurl = "smtp://localhost"')
    assert Settings.load().default_transport == "ses"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("max_attempts = 0", "setting max_attempts: "),
        ('lease = "soon"', "setting lease: 'soon' is not a duration"),
        ('lease = "10ms"', "setting lease: "),
        ('retry_schedule = ["1m", "later"]', "setting retry_schedule.1: 'later' is not a duration"),
        ("retry_schedule = []", "setting retry_schedule: "),
        ('sender = "nonsense"', "setting sender: 'nonsense' is not an address"),
        ("max_connections = 3", "setting max_connections: belongs into a [transports.NAME] table of outbox.toml"),
        ("transports = 5", "setting transports: "),
        ('smtp_url = "smtp://x"\ntransports = 5', "setting transports: "),
        ('smtp_url = "smtp://x"\n[transports]\ndefault = 5', "setting transports.default: "),
        ("max_atempts = 3", "setting max_atempts: unknown; is it misspelt in outbox.toml?"),
        ('smtp_url = "http://x"', "setting smtp_url: it has the unknown scheme 'http'"),
        ('[transports.ses]\nurl = "smtp://localhost"\nmax_connections = 0', "setting transports.ses.max_connections: "),
        ('[transports.ses]\nurl = "smtp://localhost"\nretries = 1', "setting transports.ses.retries: unknown"),
        ('[transports.ses]\nurl = "smtps://ada@x.org"', "setting transports.ses: the url has a user but no password"),
        ('[transports.ses]\nurl = "smtps://x.org"\nca_file = "nowhere.pem"', "ca_file 'nowhere.pem' does not exist"),
        (
            '[transports.ses]\nurl = "smtps://x.org"\noauth_command = ["token"]',
            "an access token needs a user in the url",
        ),
        ('[transports.a]\nurl = "smtp://x"\n[transports.b]\nurl = "smtp://y"', "several transports and none is named"),
        ("max_attempts = ", "outbox.toml: "),
    ],
)
def test_a_fault_in_the_file_is_one_line_that_names_the_setting(config, text, named):
    config(text)
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert named in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTBOX_MAX_ATTEMPTS", "many"),
        ("OUTBOX_LEASE", "soon"),
        ("OUTBOX_SENDER", "nonsense"),
        ("OUTBOX_SMTP_URL", "http://x"),
        ("OUTBOX_DRAIN_TIMEOUT", "-1s"),
        ("OUTBOX_TRANSPORTS", "x"),
        ("OUTBOX_TRANSPORTS", "[]"),
        ("OUTBOX_TRANSPORTS", '{"default": 5}'),
        ("OUTBOX_MAX_CONNECTIONS", "3"),
        ("OUTBOX_MAX_CONNECTIONS", "x"),
    ],
)
def test_a_fault_in_a_variable_is_one_line_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}(:| is) ") as error:
        Settings.load()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["TRANSPORTS", "ROUTES", "DOMAIN_RATES", "DKIM"])
@pytest.mark.parametrize("value", ["x", "{", "\udcff", "[" * 100_000], ids=["x", "open", "bytes", "deep"])
def test_a_variable_that_is_not_json_is_named_with_what_to_write_instead(monkeypatch, name, value):
    monkeypatch.setenv(f"OUTBOX_{name}", value)
    with pytest.raises(
        SettingsError, match=rf"^OUTBOX_{name} is not JSON; write .*\[{name.lower()}.* into outbox.toml"
    ):
        Settings.load()


@pytest.mark.parametrize("text", ["", '[transports.ses]\nurl = "smtp://localhost"', "[transports]\nses = 5"])
def test_a_fault_in_a_variable_for_the_transport_names_the_variable(config, monkeypatch, text):
    config(text)
    if not text:
        monkeypatch.setenv("OUTBOX_SMTP_URL", "smtp://localhost")
    monkeypatch.setenv("OUTBOX_MAX_CONNECTIONS", "x")
    monkeypatch.setenv("OUTBOX_IDLE_TIMEOUT", "soon")
    with pytest.raises(SettingsError) as error:
        Settings.load()
    if "5" in text:
        assert str(error.value).startswith("setting transports.ses: ")
    else:
        assert re.match(r"OUTBOX_MAX_CONNECTIONS: .*; OUTBOX_IDLE_TIMEOUT: 'soon' is not", str(error.value))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("retention = 5", "setting retention: a table is expected"),
        ("dkim = 5", "setting dkim: a table is expected"),
        ("[flood_guard]\nlimit = -1", "setting flood_guard.limit: text is expected"),
        ("routes = 5", "setting routes: [[routes]] tables are expected"),
        ('routes = "x"', "setting routes: [[routes]] tables are expected"),
        ("max_attempts = true", "setting max_attempts: a number is expected, not true"),
        ("metrics_port = true", "setting metrics_port: a number is expected, not true"),
        ("max_message_size = -1", "setting max_message_size: a size is expected, like 50MiB or 1048576"),
        ('render_memory = "much"', "setting render_memory: a size is expected, like 50MiB or 1048576"),
        ('templates = "a\\u0000b"', r"setting templates: 'a\x00b' cannot be a path"),
        ("smtp_url = 5", "setting smtp_url: Input should be a valid string"),
        (
            "[retention.rows_by_status]\nsold = '1d'",
            "setting retention.rows_by_status.sold: Input should be 'pending', ",
        ),
        ("templates = 5", "setting templates: a path is expected"),
    ],
)
def test_what_is_expected_is_told_in_the_words_of_the_file(config, text, told):
    config(text)
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert str(error.value).startswith(told)
    assert str(error.value).count("setting ") == 1


def test_no_memory_is_more_than_a_system_can_bound(config):
    config("render_memory = 99999999999999999999999")
    with pytest.raises(SettingsError, match="setting render_memory: Input should be less than"):
        Settings.load()


def test_all_faults_are_told_at_once(config):
    config('max_attempts = 0\nlease = "soon"')
    with pytest.raises(SettingsError, match=r"max_attempts: .*; setting lease: "):
        Settings.load()


def test_a_config_file_that_was_named_must_exist(tmp_path):
    with pytest.raises(SettingsError, match=r"config file .*nowhere\.toml' does not exist"):
        Settings.load(tmp_path / "nowhere.toml")


def test_a_config_file_that_cannot_be_one_is_told(tmp_path):
    for path, told in ((tmp_path, "is not a file"), ("x" * 5000, "cannot be looked at: File name too long")):
        with pytest.raises(SettingsError, match=f"config file .* {told}"):
            Settings.load(path)
    (tmp_path / "outbox.toml").mkdir()
    with pytest.raises(SettingsError, match=r"config file .outbox\.toml. is not a file"):
        Settings.load()


def test_a_config_file_in_another_encoding_is_told(tmp_path):
    (tmp_path / "outbox.toml").write_bytes('sender = "Caf\xe9 <a@example.org>"'.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"outbox\.toml is not UTF-8 at byte 13; save it as UTF-8"):
        Settings.load()


@pytest.mark.parametrize(("name", "told"), [("/", "'/' is not a file"), ("x" * 5000, "cannot be looked at")])
def test_certificates_that_cannot_be_a_file_are_told(name, told):
    with pytest.raises(SettingsError, match=f"ca_file .*{told}"):
        Settings.load(transports={"default": {"url": "smtps://mail.example.org", "ca_file": name}})


@pytest.mark.parametrize(
    "url",
    [
        f"smtp://ada:{SECRET}@mail.example.org",
        f"smtps://ada:{SECRET}@mail.example.org:port",
        f"smtps://ada:{SECRET}@",
        f"http://ada:{SECRET}@mail.example.org",
        f"smtps://ada:{SECRET}/x@mail.example.org",
        f"smtps://ada:#{SECRET}@mail.example.org",
    ],
)
def test_no_error_about_a_url_repeats_its_password(monkeypatch, url):
    monkeypatch.setenv("OUTBOX_SMTP_URL", url)
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None


def test_no_repr_shows_a_password():
    settings = Settings.load(smtp_url=GOOD_URL, database_url=f"postgresql+asyncpg://ada:{SECRET}@db/x")
    assert SECRET not in repr(settings) + str(settings) + repr(settings.transports["default"].smtp_url)
    assert settings.transports["default"].smtp_url.password == SECRET


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smtps://mail.example.org", "smtps://mail.example.org:465"),
        ("smtp+starttls://ada:p%40ss@mail.example.org", "smtp+starttls://ada@mail.example.org:587"),
        ("smtp://[::1]:2525/", "smtp://[::1]:2525"),
    ],
)
def test_an_smtp_url_is_shown_with_its_port_and_without_its_password(text, shown):
    assert str(parse_smtp_url(text)) == shown


def test_a_password_is_percent_decoded():
    url = parse_smtp_url("smtp+starttls://ada%40x.org:p%2Fss@mail.example.org")
    assert (url.user, url.password, url.security) == ("ada@x.org", "p/ss", Security.STARTTLS)


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("x.org", False)]
)
def test_only_this_machine_may_be_given_a_password_in_clear(host, loopback):
    if loopback:
        assert parse_smtp_url(f"smtp://ada:p@{host}").loopback
    else:
        with pytest.raises(ValueError, match="unencrypted"):
            parse_smtp_url(f"smtp://ada:p@{host}")


def test_sizes_are_written_as_people_write_them(monkeypatch):
    monkeypatch.setenv("OUTBOX_MAX_MESSAGE_SIZE", "10MiB")
    settings = Settings.load()
    assert (settings.max_message_size, settings.render_memory) == (10 << 20, 512 << 20)


def test_memory_that_the_largest_message_does_not_fit_in_is_named(monkeypatch):
    monkeypatch.setenv("OUTBOX_MAX_MESSAGE_SIZE", "100MiB")
    with pytest.raises(SettingsError, match="max_message_size needs a render_memory of 8 times as much"):
        Settings.load()


def test_retention_is_read_from_its_table_and_its_variables_and_a_status_goes_before(tmp_path, monkeypatch):
    file = tmp_path / "outbox.toml"
    file.write_text('[retention]\ncontent = "30d"\nrows = "2y"\nrows_by_status = { sent = "90d", failed = "never" }\n')
    monkeypatch.setenv("OUTBOX_RETENTION_ROWS", "1y")
    monkeypatch.setenv("OUTBOX_RETENTION_CONTENT_BY_STATUS", "failed=60d, in_doubt=1y")
    rules = Settings.load().retention.rules
    day = 86400.0
    assert {rule.status.value: rule.age / day for rule in rules if not rule.content_only} == {
        **dict.fromkeys(("partial", "expired", "cancelled"), 365),
        "sent": 90,
    }
    assert {rule.status.value: rule.age / day for rule in rules if rule.content_only} == {
        **dict.fromkeys(("sent", "partial", "expired", "cancelled"), 30),
        "failed": 60,
        "in_doubt": 365,
    }


def test_without_retention_everything_is_kept():
    assert Settings().retention.rules == ()


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("ROWS", "soon", "OUTBOX_RETENTION_ROWS: 'soon' is not a duration"),
        ("ROWS_BY_STATUS", "sent", "OUTBOX_RETENTION_ROWS_BY_STATUS: 'sent' is not a list like sent=90d"),
        ("ROWS_BY_STATUS", "pending=1d", "OUTBOX_RETENTION_ROWS_BY_STATUS: pending emails have not ended; one of"),
        ("CONTENT_BY_STATUS", "lost=1d", "OUTBOX_RETENTION_CONTENT_BY_STATUS: Input should be 'pending', "),
    ],
)
def test_wrong_retention_is_told_by_the_name_of_its_variable(monkeypatch, name, value, fault):
    monkeypatch.setenv(f"OUTBOX_RETENTION_{name}", value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert str(caught.value).startswith(fault)


def test_retention_in_one_variable_says_which_ones_there_are(monkeypatch):
    monkeypatch.setenv("OUTBOX_RETENTION", "30d")
    with pytest.raises(SettingsError, match="OUTBOX_RETENTION: set OUTBOX_RETENTION_CONTENT and OUTBOX_RETENTION_ROWS"):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[routes]]\ntransport = "nowhere"\ntag = "x"', "routes.0.transport: there is no transport 'nowhere'"),
        ('[transports.""]\nurl = "smtp://127.0.0.1:26"', "transports: '' is no name; it must not be empty or begin"),
        ('[transports."-x"]\nurl = "smtp://127.0.0.1:26"', "'-x' is no name; it must not be empty or begin with"),
        ('[transports."a\\nb"]\nurl = "smtp://127.0.0.1:26"', r"'a\nb' is no name; it has a control character"),
        ('[transports."@x.example"]\nurl = "smtp://127.0.0.1:26"', "'@x.example' is no name; it must not be empty"),
        ('[[routes]]\ntransport = "default"', "routes.0: a route needs a condition"),
        ('[[routes]]\ntransport = "default"\nsender_domain = "a b"', "'a b' is not a domain"),
        ('[[routes]]\ntransport = "default"\npriority = 3', "routes.0.priority"),
        ('[domain_rates]\n"é.example" = "5/s"\n"xn--9ca.example" = "9/s"', "are the same domain; keep one of them"),
        ('[domain_rates]\n"x.example" = "5"', "'5' is not a rate; write it like 14/s"),
        ('[flood_guard]\nlimit = "5/week"', "flood_guard.limit: '5/week' is not a rate"),
        ('[flood_guard]\nlimit = "5000/hour"', "at most 1000 emails"),
        ('[flood_guard]\nlimit = "5/hour"\nper = "sender"', "flood_guard.per"),
    ],
)
def test_a_wrong_route_or_limit_is_told_in_one_line(tmp_path, text, told):
    path = tmp_path / "outbox.toml"
    path.write_text(f'smtp_url = "smtp://127.0.0.1:25"\n{text}\n')
    with pytest.raises(SettingsError) as caught:
        Settings.load(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('failover = ["nowhere"]', "there is no transport 'nowhere'"),
        ('failover = ["default"]', "a transport cannot stand in for itself"),
        ("reserved_connections = 10", "leaves none of max_connections"),
        ('rate = ["14/s", "many"]', "'many' is not a rate"),
    ],
)
def test_a_wrong_transport_is_told_in_one_line(tmp_path, text, told):
    path = tmp_path / "outbox.toml"
    path.write_text(f'[transports.default]\nurl = "smtp://127.0.0.1:25"\n{text}\n')
    with pytest.raises(SettingsError) as caught:
        Settings.load(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[dkim."*.example.org"]\nselector = "s"\nkey = "k"', "a key is for a domain and all below it"),
        (
            '[dkim."example.org"]\nselector = "s"\nkey = "k"\n[dkim."EXAMPLE.org"]\nselector = "t"\nkey = "k"',
            "dkim: 'example.org' and 'EXAMPLE.org' are the same domain; keep one of them",
        ),
        ('[dkim."example..org"]\nselector = "s"\nkey = "k"', "is not a domain"),
        ('[dkim."example.org"]\nselector = "s 1"\nkey = "k"', "dkim.example.org.selector"),
        ('[dkim."example.org"]\nselector = "s"', "dkim.example.org.key: Field required"),
        ('[dkim."example.org"]\nselector = "s"\nkey = "k"\nbits = 1', "dkim.example.org.bits: unknown"),
    ],
)
def test_a_key_that_is_set_wrongly_is_named(config, text, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        Settings.load(config(text))


def test_the_domain_of_a_key_is_that_of_addresses(config):
    settings = Settings.load(config('[dkim."Bücher.Example"]\nselector = "s1"\nkey = "k.pem"'))
    assert list(settings.dkim) == ["xn--bcher-kva.example"]
