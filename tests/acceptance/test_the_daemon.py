"""The daemon as it is run: started, filled, stopped, killed, by signals and exit codes."""

import resource
import signal
from collections import Counter

import pytest

from tests.fixtures.hold import Hold
from tests.fixtures.processes import cold


@pytest.fixture
def launch():
    """As it is run: from a cold start, and as a child of ours, whose memory can be asked for."""
    return cold


@pytest.fixture
def largest_child():
    """Peak resident memory of the largest child process so far, in MiB."""
    return lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


@pytest.mark.timeout(120)
async def test_five_thousand_rows_drain_without_error_in_flat_memory(outbox, fill, smtpd, execute, largest_child):
    await fill(500)
    assert (await (await outbox("run", "--drain")).ended())[0] == 0
    small = largest_child()
    await fill(5000)
    code, errors = await (await outbox("run", "--drain")).ended()
    assert (code, [line for line in errors.splitlines() if "ERROR" in line or "Traceback" in line]) == (0, [])
    assert [tuple(r) for r in await execute("SELECT status, count(*) FROM email_outbox GROUP BY status")] == [
        ("sent", 5500)
    ]
    assert len(smtpd.messages) == 5500
    assert set(Counter(m.recipients[0] for m in smtpd.messages[500:]).values()) == {1}
    assert largest_child() < small + 40, "ten times the rows must not need more memory"


async def test_sigterm_ends_the_daemon_with_everything_in_flight_finished(outbox, fill, smtpd, execute):
    daemon = await outbox("run")
    await fill(300)
    await smtpd.received(20)
    daemon.kill(signal.SIGTERM)
    code, errors = await daemon.ended()
    assert code == 0
    assert "Traceback" not in errors
    rows = await execute("SELECT status, attempts, claim_token FROM email_outbox")
    assert {tuple(r) for r in rows if r.status != "sent"} <= {("pending", 0, None)}
    assert len(smtpd.messages) == len([r for r in rows if r.status == "sent"]), "no email is sent and not on record"
    assert await execute("SELECT name FROM email_poller") == []


async def test_after_kill_nine_the_rest_is_sent_and_only_what_was_in_flight_twice(outbox, fill, smtpd, execute):
    daemon = await outbox("run", OUTBOX_MAX_CONNECTIONS="5")
    await fill(200)
    await smtpd.received(30)
    daemon.kill(signal.SIGKILL)
    await daemon.ended()
    before = Counter(m.recipients[0] for m in smtpd.messages)
    recorded = (await execute("SELECT count(*) AS n FROM email_outbox WHERE status = 'sent'"))[0].n
    # Its leases run for a minute; let that minute pass.
    await execute("UPDATE email_outbox SET due_at = created_at WHERE status = 'sending'")
    code, _ = await (await outbox("run", "--drain")).ended()
    assert code == 0
    assert (await execute("SELECT count(*) AS n FROM email_outbox WHERE status = 'sent'"))[0].n == 200
    copies = Counter(m.recipients[0] for m in smtpd.messages)
    assert set(copies) == {f"r{n}@example.org" for n in range(200)}, "nothing is lost"
    twice = {recipient for recipient, count in copies.items() if count > 1}
    assert len(twice) <= sum(before.values()) - recorded, "twice only what was sent and not yet on record"
    for recipient in twice:
        first, second = (m.message for m in smtpd.messages if m.recipients == [recipient])
        assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


async def test_a_second_signal_breaks_off_what_is_in_flight(outbox, fill, smtpd, execute):
    daemon = await outbox("run")
    hold = Hold(smtpd, "data")
    await fill(1)
    await hold.reached()
    daemon.kill(signal.SIGTERM)
    daemon.kill(signal.SIGINT)
    code, errors = await daemon.ended()
    assert code == 0
    assert "Traceback" not in errors
    [row] = await execute("SELECT status, attempts FROM email_outbox")
    assert tuple(row) == ("pending", 0), "the message was not tried, so the attempt is given back"
    hold.release()


async def test_several_processes_share_the_work_and_stop_together(outbox, fill, smtpd, execute):
    daemon = await outbox("run", "--processes", "2")
    await fill(100)
    await smtpd.received(100)
    daemon.kill(signal.SIGTERM)
    code, errors = await daemon.ended()
    assert (code, "Traceback" in errors) == (0, False)
    assert max(Counter(m.recipients[0] for m in smtpd.messages).values()) == 1
    assert {r.status for r in await execute("SELECT status FROM email_outbox")} == {"sent"}
