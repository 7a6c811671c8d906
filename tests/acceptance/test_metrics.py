"""Prometheus metrics, over HTTP, from the daemon as it is run."""

import asyncio
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from outbox.core.errors import SettingsError
from outbox.core.status import FINAL, Status
from outbox.daemon import Poller
from outbox.metrics import Metrics
from outbox.scrapes import CLIENTS, ScrapeServer
from outbox.settings import Settings
from tests.fixtures.hold import Hold
from tests.fixtures.processes import cold

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


async def scraped(url):
    """The samples at `url`: `{"outbox_finished_total status=sent": 1.0}`; histograms by count, sum and bucket."""
    opened = await asyncio.to_thread(urllib.request.urlopen, url)
    with opened as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        " ".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in families
        for sample in family.samples
    }


async def url_of(daemon):
    """Where a process says that its metrics are."""
    while not (found := re.search(rb"metrics on (\S+)", await daemon.process.stderr.readline())):
        pass
    return found[1].decode()


@pytest.fixture
def settings(database, smtpd):
    return Settings(database_url=database, smtp_url=smtpd.url, sender="Shop <shop@example.org>", metrics_port=0)


def metrics(poller):
    """Those that it serves."""
    assert poller._metrics
    return poller._metrics


def url(poller):
    return f"http://127.0.0.1:{metrics(poller).port}/metrics"


@pytest.mark.smtpd(rcpt={"r1@example.org": "550 5.1.1 no such user", "r2@example.org": "450 4.7.1 greylisted"})
async def test_a_drain_counts_what_came_of_every_email(settings, fill, execute):
    await fill(5)
    async with Poller(settings, drain=True) as poller:
        await poller.finished()
        now = await scraped(url(poller))
    assert {name: value for name, value in now.items() if name.startswith("outbox_attempts_total")} == {
        "outbox_attempts_total code_class=2xx outcome=accepted transport=default": 3,
        "outbox_attempts_total code_class=4xx outcome=deferred transport=default": 1,
        "outbox_attempts_total code_class=5xx outcome=refused transport=default": 1,
    }
    assert now["outbox_finished_total status=sent"] == 3
    assert now["outbox_finished_total status=failed"] == 1
    assert (now["outbox_retries_total"], now["outbox_given_back_total"], now["outbox_lease_lost_total"]) == (1, 0, 0)
    assert now["outbox_accept_seconds_count priority=1"] == 3
    assert now["outbox_smtp_seconds_count transport=default"] == 5
    assert now["outbox_claim_emails_sum"] == now["outbox_write_results_sum"] == 5
    assert now["outbox_transport_paused transport=default"] == 0


async def test_every_end_is_counted_from_zero_on_or_an_alert_would_miss_the_first(settings):
    async with Poller(settings) as poller:
        now = await scraped(url(poller))
    ends = {name: value for name, value in now.items() if name.startswith("outbox_finished_total")}
    assert ends == {f"outbox_finished_total status={end}": 0 for end in FINAL - {Status.CANCELLED}}


async def test_emails_that_end_without_an_attempt_are_counted_too(settings, fill, execute):
    await fill(1)
    await execute("UPDATE email_outbox SET due_at = '2999-01-01 00:00:00', expires_at = created_at")
    for _ in range(3):
        await fill(1)  # to the same recipient
    known = settings.model_dump(exclude={"transports", "flood_guard"})
    guard = {"limit": "1/hour", "per": "recipient", "action": "drop"}
    async with Poller(Settings(**known, flood_guard=guard), drain=True) as poller:
        await poller.finished()
        now = await scraped(url(poller))
    told = {status: now[f"outbox_finished_total status={status}"] for status in ("sent", "failed", "expired")}
    assert told == {"sent": 1, "failed": 2, "expired": 1}


async def test_what_a_poller_is_like_is_told_as_it_is_right_now(settings, fill, smtpd):
    hold = Hold(smtpd, "data")
    async with Poller(settings) as poller:
        await fill(1)
        await hold.reached()
        now = await scraped(url(poller))
        assert now["outbox_connections state=busy transport=default"] == 1
        assert (now["outbox_in_hand_emails"], now["outbox_connections_usable transport=default"]) == (1, 10)
        hold.release()


async def test_the_queue_is_sampled_by_lane_and_state(settings, execute, fill, store):
    places = ((0, "created_at"), (2, "created_at"), (2, "'2999-01-01 00:00:00'"), (1, "'9999-12-30 00:00:00'"))
    for priority, due in places:
        [id_] = await fill(1)
        await execute(f"UPDATE email_outbox SET priority = {priority}, due_at = {due} WHERE id = {id_}")
    sampled = Metrics("127.0.0.1", 0)
    await sampled.sample(store)

    def value(name, labels):
        found = sampled.registry.get_sample_value(name, labels)
        assert found is not None
        return found

    found = {
        (priority, state): value("outbox_queue_emails", {"priority": str(priority), "state": state})
        for priority in range(3)
        for state in ("due", "later", "held")
    }
    assert {place: count for place, count in found.items() if count} == {
        (0, "due"): 1, (2, "due"): 1, (2, "later"): 1, (1, "held"): 1,
    }  # fmt: skip
    ages = [value("outbox_oldest_due_seconds", {"priority": str(priority)}) for priority in range(3)]
    assert ages[0] > 0
    assert ages[1] == 0


async def test_every_process_has_a_port_of_its_own(outbox, fill, smtpd):
    with socket.socket() as one, socket.socket() as two:  # a pair that is free
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        two.bind(("127.0.0.1", port + 1))
    daemon = await outbox("run", "--processes", "2", "--metrics-port", str(port))
    urls = {await url_of(daemon), await url_of(daemon)}
    assert urls == {f"http://127.0.0.1:{port}/metrics", f"http://127.0.0.1:{port + 1}/metrics"}
    await fill(20)
    await smtpd.received(20)
    for one_url in urls:
        assert "outbox_in_hand_emails" in await scraped(one_url)


async def test_a_port_that_is_taken_is_told_in_one_line(outbox):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = await (await outbox("run", "--metrics-port", str(port))).ended()
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"outbox: metrics_port: 127.0.0.1:{port} cannot be listened on")
    assert "Traceback" not in errors


async def test_who_cannot_listen_never_counts_as_a_poller(outbox, execute):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _ = await (await outbox("run", "--metrics-port", str(port))).ended()
    assert code == 2
    assert await execute("SELECT name FROM email_poller") == []


def hang_up(client):
    """As a client does that is killed: with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_clients_that_hang_up_leave_no_word_in_the_log(outbox):
    daemon = await outbox("run", "--metrics-port", "0", "--log-format", "json")
    at = re.search(rb"metrics on (http://127.0.0.1:(\d+)/metrics)", await daemon.process.stderr.readline())
    assert at
    for request in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n") * 5:
        client = socket.create_connection(("127.0.0.1", int(at[2])))
        client.send(request)
        hang_up(client)
    assert "outbox_in_hand_emails" in await scraped(at[1].decode())
    daemon.kill(signal.SIGTERM)
    code, errors = await daemon.ended()
    assert code == 0
    assert [json.loads(line)["event"] for line in errors.splitlines()] == ["poller_started", "poller_stopped"]


async def test_clients_that_are_slow_give_way_to_those_that_come(settings):
    async with Poller(settings) as poller:
        slow = [socket.create_connection(("127.0.0.1", metrics(poller).port)) for _ in range(3 * CLIENTS)]
        for client in slow:
            client.send(b"GET /metr")
        assert "outbox_in_hand_emails" in await scraped(url(poller))
        for client in slow[: 2 * CLIENTS]:
            assert await asyncio.to_thread(client.recv, 1) == b"", "it was hung up on"
        for client in slow:
            client.close()


def test_as_many_clients_as_there_may_be_are_heard_at_once():
    server = ScrapeServer("127.0.0.1", 0, CollectorRegistry())  # nobody is taken yet
    clients = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(CLIENTS)]
    server.start()
    for client in clients:
        client.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200 OK")
        client.close()
    server.stop()


def test_nobody_waits_for_a_dns_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", lambda _: pytest.fail("the library asks for a name that nobody needs"))
    ScrapeServer("127.0.0.1", 0, CollectorRegistry()).server_close()


async def test_metrics_are_served_on_ipv6_and_the_log_has_their_url(outbox):
    daemon = await outbox("run", "--metrics-port", "0", "--metrics-host", "::1")
    told = await url_of(daemon)
    assert told.startswith("http://[::1]:")
    assert "outbox_in_hand_emails" in await scraped(told)


async def test_a_host_that_cannot_be_one_is_told_in_one_line(outbox):
    code, errors = await (await outbox("run", "--metrics-port", "0", OUTBOX_METRICS_HOST="a..b")).ended()
    told = "outbox: metrics_port: a..b:0 cannot be listened on: metrics_host is no name of a host"
    assert (code, errors.splitlines()[-1]) == (2, told)


async def test_ports_beyond_the_last_one_are_refused_at_once(outbox):
    code, errors = await (await outbox("run", "--processes", "3", OUTBOX_METRICS_PORT="65534")).ended()
    assert (code, errors) == (2, "outbox: metrics_port: 3 processes would need the ports up to 65536\n")


@pytest.mark.parametrize("launch", [cold])
async def test_without_the_client_one_line_says_what_to_install(outbox, tmp_path):
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('no')")
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
    code, errors = await (await outbox("run", "--metrics-port", "0", PYTHONPATH=path)).ended()
    assert (code, errors) == (2, "outbox: metrics_port needs prometheus_client: install email-outbox[metrics]\n")


def test_who_asks_for_no_metrics_loads_no_client():
    code = "import outbox.daemon, sys; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


async def test_a_port_is_free_again_when_the_poller_was_left(settings):
    async with Poller(settings) as poller:
        port = metrics(poller).port
    again = settings.model_copy(update={"metrics_port": port})
    async with Poller(again) as poller:
        await scraped(url(poller))
        with pytest.raises(SettingsError, match="cannot be listened on"):
            await Poller(again).__aenter__()


async def test_the_page_names_every_metric(settings):
    async with Poller(settings) as poller:
        families = {family.name for family in metrics(poller).registry.collect()}
    named = set(re.findall(r"`(outbox_\w+)`", PAGE.split("| metric |")[1].split("Every poller")[0]))
    assert {name.removesuffix("_total") for name in named} == families


def test_the_examples_on_the_page_are_yaml_and_use_metrics_of_the_table():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    scrape, rules = map(yaml.safe_load, blocks)
    assert scrape["scrape_configs"]
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    used = {name for text in expressions for name in re.findall(r"outbox_\w+", text)}
    assert used
    assert all(f"`{name}`" in PAGE for name in used)
