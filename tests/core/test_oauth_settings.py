"""`[transports.NAME.oauth]`: which grant, where, and what is refused, without a secret in what is told."""

import pickle

import pytest

from outbox.core.errors import SettingsError
from outbox.settings import Settings, TransportSettings

SECRET = "hunter2-secret"
MICROSOFT = '[transports.a]\nurl = "smtp+starttls://ada%40x.org@smtp.office365.com"\npreset = "microsoft365"\n'
GOOGLE = '[transports.a]\nurl = "smtp+starttls://ada%40x.org@smtp.gmail.com"\npreset = "gmail"\n'
OTHER = '[transports.a]\nurl = "smtp+starttls://ada@x.org"\n'
CLIENT = f'[transports.a.oauth]\nclient_id = "id"\nclient_secret = "{SECRET}"\n'


@pytest.fixture
def load(tmp_path):
    """The transport of a file with this text."""

    def load(text: str) -> TransportSettings:
        (tmp_path / "outbox.toml").write_text(text)
        return Settings.load().transports["a"]

    return load


def test_microsoft_needs_only_its_tenant_and_the_client(load):
    oauth = load(MICROSOFT + CLIENT + 'tenant = "example.onmicrosoft.com"').oauth
    assert oauth
    assert oauth.endpoint == "https://login.microsoftonline.com/example.onmicrosoft.com/oauth2/v2.0/token"
    assert (oauth.by_refresh_token, oauth.scope) == (False, "https://outlook.office365.com/.default")


def test_a_refresh_token_keeps_the_scope_it_was_given_for(load):
    oauth = load(MICROSOFT + CLIENT + 'tenant = "t"\nrefresh_token = "r"').oauth
    assert oauth
    assert (oauth.by_refresh_token, oauth.scope) == (True, None)


def test_google_needs_only_the_client_and_a_refresh_token(load):
    oauth = load(GOOGLE + CLIENT + 'refresh_token = "r"').oauth
    assert oauth
    assert oauth.endpoint == "https://oauth2.googleapis.com/token"


def test_what_is_set_wins_over_what_the_preset_knows(load):
    oauth = load(MICROSOFT + CLIENT + 'token_url = "https://id.example.org/token"\nscope = "mail"').oauth
    assert oauth
    assert (oauth.endpoint, oauth.scope) == ("https://id.example.org/token", "mail")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MICROSOFT + CLIENT, "transports.a.oauth: it needs a tenant"),
        (MICROSOFT + CLIENT + 'tenant = "../x"', "the tenant is a domain or an id, and nothing else"),
        (GOOGLE + CLIENT, "oauth: gmail gives tokens for a refresh token only; set refresh_token_file"),
        (GOOGLE + CLIENT + 'refresh_token = "r"\ntenant = "t"', "a tenant is given, but the token_url has no {tenant}"),
        (OTHER + CLIENT, "it needs a token_url; the presets gmail and microsoft365 know theirs"),
        (OTHER + '[transports.a.oauth]\nclient_secret = "s"', "transports.a.oauth.client_id: Field required"),
        (GOOGLE + '[transports.a.oauth]\nclient_id = "id"', "it needs a refresh token (refresh_token_file or"),
        (GOOGLE + CLIENT + 'refresh_token = "r"\nclient_secret_file = "x"', "give client_secret or client_secret_file"),
        (GOOGLE + CLIENT + 'refresh_token_file = "nowhere"', "refresh_token_file 'nowhere' does not exist"),
        (GOOGLE + CLIENT + 'refresh_token = "r"\nsecret = "s"', "transports.a.oauth.secret: unknown; is it misspelt"),
        (OTHER + CLIENT + 'token_url = "http://id.example.org/"', "token_url: it would send secrets unencrypted"),
        (OTHER + CLIENT + f'token_url = "https://{SECRET}@x.org/"', "token_url: it has a user or a fragment"),
        (OTHER + CLIENT + f'token_url = "https://x:{SECRET}/"', "token_url: it has a host or port that cannot be read"),
        (OTHER + CLIENT + 'token_url = "token"', "token_url: it is not a URL"),
        (GOOGLE + 'oauth = "x"', "transports.a.oauth: "),
        (GOOGLE + 'oauth_command = ["x"]\n' + CLIENT + 'refresh_token = "r"', "give one of oauth, oauth_command"),
        (OTHER.replace("ada@", "") + CLIENT + 'token_url = "https://x.org/"', "an access token needs a user"),
        (OTHER, "the url has a user but no password; give one, or [transports.NAME.oauth]"),
    ],
)
def test_a_fault_is_one_line_without_a_secret(load, text, said):
    with pytest.raises(SettingsError) as error:
        load(text)
    assert said in str(error.value)
    assert SECRET not in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/token", "http://localhost/token", "https://x.org/token"])
def test_a_token_may_be_asked_for_in_clear_on_this_machine_only(load, url):
    oauth = load(OTHER + CLIENT + f'token_url = "{url}"').oauth
    assert oauth
    assert oauth.endpoint == url


def test_no_repr_shows_a_secret_and_other_processes_get_them(load):
    transport = load(GOOGLE + CLIENT + f'refresh_token = "{SECRET}"')
    assert SECRET not in repr(transport) + str(transport)
    copy = pickle.loads(pickle.dumps(transport))
    assert copy == transport
    assert copy.oauth.refresh_token.get_secret_value() == SECRET


def test_no_variable_sets_the_table(load, monkeypatch):
    monkeypatch.setenv("OUTBOX_OAUTH", "x")
    assert load(GOOGLE + CLIENT + 'refresh_token = "r"').oauth
