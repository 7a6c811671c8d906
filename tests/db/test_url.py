"""What the arguments of a database URL mean: URLs for libpq, as managed databases hand them out, work as they are."""

import asyncio
import ssl

import pytest

from outbox.core.errors import SettingsError
from outbox.db.engine import create_engine
from outbox.db.schema import require_schema
from outbox.db.url import parse_url, shown

URL = "postgresql://app:hush@db.example.org/app"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_asyncpg_is_told_the_sslmode(mode):
    for name in ("sslmode", "ssl"):
        url, arguments = parse_url(f"{URL}?{name}={mode}")
        assert (url.query, arguments) == ({}, {"ssl": mode})


@pytest.mark.parametrize(
    ("query", "hostname"),
    [
        ("sslmode=verify-full&sslrootcert={ca}", True),
        ("sslmode=verify-full&sslrootcert=system", True),
        ("sslmode=verify-full", True),
        ("sslmode=verify-ca&sslrootcert={ca}", False),
        ("sslmode=require&sslrootcert={ca}", False),
    ],
)
def test_certificates_are_verified_where_libpq_verifies_them(query, hostname, ca_file):
    _, arguments = parse_url(f"{URL}?{query.format(ca=ca_file)}")
    context = arguments["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, hostname)


def test_other_arguments_are_translated_too():
    url, arguments = parse_url(f"{URL}?host=/tmp&connect_timeout=3&application_name=shop&options=-c%20a%3Db")
    assert dict(url.query) == {"host": "/tmp"}
    assert arguments == {"timeout": 3.0, "server_settings": {"application_name": "shop", "options": "-c a=b"}}
    assert parse_url(f"{URL}?connect_timeout=0&statement_cache_size=0")[1] == {
        "timeout": None,
        "statement_cache_size": 0,
    }


def test_no_password_is_shown_wherever_it_stands():
    for text in (URL, "postgres://db.example.org/app?user=app&password=hush"):
        url, _ = parse_url(text)
        assert url.password == "hush"
        assert shown(url) == "postgresql://app:***@db.example.org/app"
    assert shown(parse_url("sqlite:////var/lib/outbox.db")[0]) == "/var/lib/outbox.db"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=always", "sslmode 'always' is not one of disable"),
        ("sslmode=verify-full&sslrootcert=nowhere.pem", "sslrootcert 'nowhere.pem' cannot be used: No such file"),
        ("connect_timeout=soon", "connect_timeout 'soon' is not a whole number"),
        ("sslcert=me.pem", "unknown argument 'sslcert'; known are sslmode"),
        ("sslmode=require&sslmode=disable", "'sslmode' more than once"),
    ],
)
def test_a_wrong_argument_is_one_line(query, said):
    with pytest.raises(SettingsError, match="database_url") as caught:
        create_engine(f"{URL}?{query}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_the_arguments_reach_the_server(postgres_database):
    engine = create_engine(f"{postgres_database}&sslmode=prefer&application_name=shop&connect_timeout=5")
    await require_schema(engine)
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SHOW application_name")).scalar_one() == "shop"
    await engine.dispose()


@pytest.fixture
async def tls_server(server_context):
    """The beginning of a PostgreSQL server: it accepts TLS and ends. Gives its port and whether TLS was agreed on."""
    agreed: asyncio.Queue[bool] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # SSLRequest
        writer.write(b"S")
        try:
            await writer.start_tls(server_context)
            await agreed.put(bool(await reader.read(1)))
        except (OSError, asyncio.IncompleteReadError):
            await agreed.put(False)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], agreed


@pytest.mark.parametrize(
    ("query", "trusted"),
    [
        ("sslmode=require", True),
        ("sslmode=verify-full&sslrootcert={ca}", True),
        ("sslmode=verify-ca&sslrootcert={ca}", True),
        ("sslmode=verify-full", False),
    ],
)
async def test_only_a_trusted_server_is_talked_to(tls_server, ca_file, query, trusted):
    port, agreed = tls_server
    engine = create_engine(f"postgresql://app:hush@127.0.0.1:{port}/app?{query.format(ca=ca_file)}")
    with pytest.raises(Exception, match="cannot be used") as caught:
        await require_schema(engine)
    assert await agreed.get() is trusted
    assert ("CERTIFICATE_VERIFY_FAILED" in str(caught.value)) is not trusted
    await engine.dispose()
