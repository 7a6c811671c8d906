"""Dockerfile and compose.yaml: read as what they are, and what they run is run, where no container can be."""

import asyncio
import io
import json
import os
import re
import shlex
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from outbox.cli.check import unknown_variables
from outbox.core.duration import parse_duration
from outbox.settings import Settings

ROOT = Path(__file__).parents[2]
KNOWN = {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD", "COMMENT"}


def instructions() -> list[tuple[str, str]]:
    """(instruction, value) of each, in their order, without comments."""
    parser = DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes()))
    found = [(str(one["instruction"]), str(one["value"])) for one in parser.structure]
    assert {name for name, _ in found} <= KNOWN
    return [one for one in found if one[0] != "COMMENT"]


def stages() -> list[tuple[str, list[tuple[str, str]]]]:
    """The instructions of each stage, and its name."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for name, value in instructions():
        if name == "FROM":
            found.append((value.partition(" AS ")[2], []))
        else:
            found[-1][1].append((name, value))
    return found


def value_of(instruction: str) -> str:
    """Of the one there is in the last stage."""
    [value] = [value for name, value in stages()[-1][1] if name == instruction]
    return value


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def ours(compose):
    """The services that run outbox."""
    return {name: service for name, service in compose["services"].items() if service["image"] == "outbox"}


def health_check():
    """The command of HEALTHCHECK."""
    options, _, command = value_of("HEALTHCHECK").partition("CMD ")
    assert all(re.fullmatch(r"--(interval|timeout|start-period|retries)=\w+", option) for option in options.split())
    return json.loads(command)


def test_the_build_copies_what_there_is_and_what_is_not_ignored():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    assert ignored[0] == "*"
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    names = {name for name, _ in stages()}
    for name, lines in stages():
        for source in (one for kind, value in lines if kind == "COPY" for one in shlex.split(value)[:-1]):
            if source.startswith("--from="):
                assert source.removeprefix("--from=") in names - {name}
            elif not source.startswith("/"):
                assert (ROOT / source).exists()
                assert any(fnmatch(source, pattern) for pattern in allowed)


def test_what_the_wheel_is_built_from_is_copied():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    copied = {one for _, lines in stages() for kind, value in lines if kind == "COPY" for one in shlex.split(value)}
    assert {"pyproject.toml", "constraints.txt", "outbox", "migrations"} <= copied
    assert set(re.findall(r'(?:readme|license-files) = \[?"(.*?)"', pyproject)) <= copied
    extras = re.search(r"'\.\[(.*?)\]'", str(instructions()).replace("\\'", "'"))
    assert extras
    assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras[1].split(","))


def test_it_runs_as_nobody_in_particular_and_gets_the_signals_itself():
    last = stages()[-1][1]
    order = [name for name, _ in last]
    assert int(value_of("USER")) > 0
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert json.loads(value_of("ENTRYPOINT")) == ["outbox"], "a list: a shell in between would keep SIGTERM for itself"
    assert json.loads(value_of("CMD")) == ["run"]
    assert health_check() == ["outbox", "status", "--check"]


def test_every_service_of_compose_is_complete(compose):
    services, volumes = compose["services"], compose["volumes"]
    assert set(services) == {"postgres", "migrate", "catcher", "poller"}
    assert services["poller"]["deploy"]["replicas"] == 2
    conditions = {"service_started", "service_healthy", "service_completed_successfully"}
    for service in services.values():
        for name, needed in service.get("depends_on", {}).items():
            assert needed["condition"] in conditions
            assert needed["condition"] != "service_healthy" or "test" in services[name]["healthcheck"]
        assert {mount.partition(":")[0] for mount in service.get("volumes", ())} <= set(volumes)
    assert services["poller"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    for service in ours(compose).values():
        assert (ROOT / service["build"]).is_dir()


def test_postgres_counts_as_healthy_only_when_others_can_reach_it(compose):
    test = compose["services"]["postgres"]["healthcheck"]["test"]
    assert test[:4] == ["CMD", "pg_isready", "--host", "127.0.0.1"]


def test_the_settings_in_compose_are_settings_and_its_hosts_are_services(compose, monkeypatch):
    for service in ours(compose).values():
        for name, value in service["environment"].items():
            monkeypatch.setenv(name, value)
        settings = Settings.load()
        assert unknown_variables() == []
        assert settings.transports["default"].smtp_url.host in compose["services"]
        assert "@postgres/" in settings.database_url.get_secret_value()
    assert parse_duration(compose["services"]["poller"]["stop_grace_period"]) > Settings().drain_timeout


async def run(arguments, environment):
    """`outbox` with these arguments, as the image would start it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outbox", *arguments),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_what_compose_runs_migrates_sends_is_healthy_and_stops(compose, empty_database, smtpd):
    services = ours(compose)
    environment = services["poller"]["environment"] | {
        "OUTBOX_DATABASE_URL": empty_database,
        "OUTBOX_SMTP_URL": smtpd.url,
    }
    migrate = await run(services["migrate"]["command"], environment)
    await migrate.communicate()
    assert migrate.returncode == 0
    command = [
        "0" if one == "9100" else "127.0.0.1" if one == "0.0.0.0" else one for one in services["poller"]["command"]
    ]
    poller = await run(command, environment)
    assert poller.stderr
    while b"poller_started" not in (line := await poller.stderr.readline()):
        assert line, "it ended"
    send = await run(["send", "--to", "ada@example.org", "--subject", "Hi", "--text", "Hello"], environment)
    await send.communicate()
    await smtpd.received(1)
    check = await run(health_check()[1:], environment)
    assert (await check.communicate())[0] == b"mail is moving\n"
    assert check.returncode == 0
    poller.send_signal(signal.SIGTERM)
    await poller.communicate()
    assert poller.returncode == 0


async def test_the_catcher_of_compose_understands_its_options(compose, tmp_path):
    options = ours(compose)["catcher"]["command"]
    changed = {"0.0.0.0": "127.0.0.1", "1025": "0", "/data/caught": str(tmp_path / "caught")}
    catcher = await run([changed.get(one, one) for one in options], {"PYTHONUNBUFFERED": "1"})
    assert catcher.stdout
    assert (await catcher.stdout.readline()).startswith(b"catching on smtp://127.0.0.1:")
    catcher.terminate()
    await catcher.communicate()
    assert catcher.returncode == 0
