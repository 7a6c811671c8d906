"""`outbox show` beside the daemon: the true reason why an email is not sent, in each case."""

import json
import re
import signal

import pytest

from tests.fixtures.hold import Hold


@pytest.fixture
def show(outbox):
    """What `outbox show ID --json` answers: code and sentence."""

    async def run(id, **environment):
        process = (await outbox("show", str(id), "--json", **environment)).process
        answer, errors = await process.communicate()
        assert process.returncode == 0, errors
        told = json.loads(answer)
        return told["why_code"], told["why_not_sent"]

    return run


@pytest.fixture
def add(execute):
    """INSERT one; its id."""

    async def run(**columns):
        columns = {"to_addrs": "ada@example.org", "subject": "Hi", "body_text": "Hello", **columns}
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        return (await execute(f"INSERT INTO email_outbox ({names}) VALUES ({marks}) RETURNING id", columns))[0].id

    return run


@pytest.fixture
async def daemon(outbox):
    """`await daemon()` starts one that polls."""

    async def start(**environment):
        started = await outbox("run", **environment)
        while b"polls" not in await started.process.stderr.readline():
            pass
        return started

    return start


@pytest.fixture
def until(execute):
    """Wait until a query finds something: `await until("SELECT … WHERE …")`."""

    async def run(query):
        while not await execute(query):
            pass

    return run


async def test_scheduled(show, daemon, execute, add):
    id = await add()
    await execute("UPDATE email_outbox SET due_at = '2999-01-01 00:00:00'")
    await daemon()
    code, text = await show(id)
    assert code == "scheduled"
    assert text.startswith("scheduled for 2999-01-01 00:00:00 UTC (in ")


@pytest.mark.smtpd(rcpt="450 4.7.1 greylisted")
async def test_deferred(show, outbox, add):
    id = await add()
    await (await outbox("run", "--drain")).ended()
    code, text = await show(id)
    assert code == "deferred"
    assert re.fullmatch(
        r"will be tried again at \S+ \S+ UTC \(in .*\) after: ada@example.org: 450 4.7.1 greylisted", text
    )


async def test_paused_by_a_fault(show, daemon, add, smtpd, until):
    smtpd.faults["greeting"] = "421 4.3.2 shutting down"
    await daemon()
    id = await add()
    await until("SELECT 1 FROM email_transport WHERE reason IS NOT NULL")
    code = "sending"
    while code == "sending":  # the pause is short, and over when the probe goes out
        code, text = await show(id)
    assert code in {"paused", "probation"}
    assert "421 4.3.2 shutting down" in text


@pytest.mark.smtpd(auth=("user", "right"), tls="starttls")
async def test_paused_by_the_configuration(show, daemon, add, until, smtpd, ca_file):
    wrong = {"OUTBOX_SMTP_URL": smtpd.url.replace("right", "wrong"), "OUTBOX_CA_FILE": str(ca_file)}
    await daemon(**wrong)
    id = await add()
    await until("SELECT 1 FROM email_transport WHERE reason LIKE 'configuration: %'")
    code, text = await show(id, **wrong)
    assert code == "paused_configuration"
    assert text.endswith("mend it (`outbox check`), then `outbox resume default`")
    assert "wrong" not in text


async def test_paused_by_hand(show, daemon, outbox, add):
    await (await outbox("pause")).ended()
    await daemon()
    id = await add()
    code, text = await show(id)
    assert code == "paused_by_hand"
    assert text.endswith("`outbox resume default` ends it")


async def test_on_probation(show, daemon, add, execute, smtpd):
    hold = Hold(smtpd, "data")
    await execute("INSERT INTO email_transport (name, reason) VALUES ('default', 'it was down')")
    await daemon()
    await add()  # the probe
    await hold.reached()
    second = await add()
    await execute("UPDATE email_transport SET paused_until = '2020-01-01 00:00:00'")
    code, text = await show(second)
    assert code in {"probation", "paused"}, "while it probes, a poller keeps the others away by a short pause"
    assert text.endswith("it was down")
    hold.release()


async def test_the_limit_of_the_transport(show, daemon, add, until):
    limit = {"OUTBOX_RATE": "1/hour"}
    await daemon(**limit)
    first = await add()
    await until(f"SELECT 1 FROM email_outbox WHERE id = {first} AND status = 'sent'")
    second = await add()
    code, text = await show(second, **limit)
    assert code == "rate_limit"
    assert re.search(
        r": it waits for the limit of 1/hour over default; the next one may go at \S+ \S+ UTC \(in (59m|1h)", text
    )


async def test_the_limit_of_a_domain(show, daemon, add, until, tmp_path):
    (tmp_path / "outbox.toml").write_text('[domain_rates]\n"example.org" = "1/hour"\n')
    await daemon()
    await add()
    await until("SELECT 1 FROM email_outbox WHERE status = 'sent'")
    second = await add()
    await until(f"SELECT 1 FROM email_outbox WHERE id = {second} AND route = '@example.org' AND status = 'pending'")
    code, text = await show(second)
    assert code == "domain_limit"
    assert "it waits for the limit of 1/hour to recipients @example.org; the next one may go at " in text


async def test_held_by_the_flood_guard(show, daemon, add, until, tmp_path):
    (tmp_path / "outbox.toml").write_text('[flood_guard]\nlimit = "1/hour"\n')
    await daemon()
    await add()
    second = await add()
    await until("SELECT 1 FROM email_outbox WHERE held = true")
    [held] = [one for one in (second - 1, second) if (await show(one))[0] == "held"]
    _, text = await show(held)
    ways_on = f"`outbox release {held}` lets it go, `outbox cancel {held}` drops it"
    assert text == f"held: flood guard: ada@example.org has had 1/hour already; {ways_on}"


async def test_held(show, daemon, add, execute):
    id = await add(last_error="flood guard: too many")
    await execute("UPDATE email_outbox SET held = true, due_at = '9999-12-30 00:00:00'")
    await daemon()
    code, text = await show(id)
    assert code == "held"
    assert text.startswith(f"held: flood guard: too many; `outbox release {id}` lets it go")


async def test_no_poller(show, daemon, add, execute):
    id = await add()
    code, text = await show(id)
    assert code == "no_poller"
    assert text.endswith("no poller is alive; start `outbox run`")
    started = await daemon()
    started.kill(signal.SIGKILL)
    await started.ended()
    [row] = await execute("SELECT name FROM email_poller")
    id = await add()
    await execute("UPDATE email_poller SET seen_at = '2020-01-01 00:00:00'")
    code, text = await show(id)
    assert code == "no_poller"
    assert f"no poller is alive ({row.name} on " in text
    assert text.endswith("; start `outbox run`")


async def test_a_poller_that_hangs(show, daemon, add, execute, until, database):
    started = await daemon()
    await until("SELECT 1 FROM email_poller WHERE seen_at > started_at")  # else it may be stopped while it writes that
    [row] = await execute("SELECT name FROM email_poller")
    started.kill(signal.SIGSTOP)
    id = await add()
    ago = "datetime('now', '-25 seconds')" if database.startswith("sqlite") else "now() - interval '25 seconds'"
    await execute(f"UPDATE email_poller SET seen_at = {ago}")
    code, text = await show(id)
    started.kill(signal.SIGCONT)
    assert code == "poller_silent"
    assert f"{row.name} on " in text
    assert re.search(r"was last seen \d+s ago; if it hangs, restart it", text)


async def test_being_sent(show, daemon, add, smtpd, execute):
    hold = Hold(smtpd, "data")
    await daemon()
    id = await add()
    await hold.reached()
    [row] = await execute("SELECT name FROM email_poller")
    code, text = await show(id)
    hold.release()
    assert code == "sending"
    assert text.startswith(f"being sent by {row.name} (attempt 1); its lease ends at ")


async def test_claimed_by_a_poller_that_is_gone(show, outbox, daemon, add, smtpd, execute):
    hold = Hold(smtpd, "data")
    started = await daemon()
    id = await add()
    await hold.reached()
    started.kill(signal.SIGKILL)
    await started.ended()
    await execute("DELETE FROM email_poller")
    code, text = await show(id)
    hold.release()
    assert code == "poller_gone"
    assert text.endswith("then it waits, because no poller is alive")


async def test_expired(show, outbox, add, execute):
    id = await add()
    await execute("UPDATE email_outbox SET expires_at = '2020-01-01 00:00:00'")
    assert (await show(id))[0] == "expired"
    await (await outbox("run", "--drain")).ended()
    code, text = await show(id)
    assert (code, text) == ("expired", f"expired before it was sent; `outbox retry {id}` tries again")


@pytest.mark.smtpd(drop_at="dot")
async def test_in_doubt(show, outbox, add):
    id = await add(on_doubt="hold")
    await (await outbox("run", "--drain")).ended()
    code, text = await show(id)
    assert code == "in_doubt"
    assert text.startswith("nobody knows whether it went out: ada@example.org")


@pytest.mark.smtpd(rcpt="550 5.1.1 no such user")
async def test_failed(show, outbox, add):
    id = await add()
    await (await outbox("run", "--drain")).ended()
    assert await show(id) == ("failed", f"ada@example.org: 550 5.1.1 no such user; `outbox retry {id}` tries again")


async def test_a_transport_that_is_not_configured(show, daemon, outbox, add):
    await (await outbox("pause")).ended()  # so that the daemon does not find out meanwhile, and fail it
    id = await add(transport="gone")
    await daemon()
    code, text = await show(id)
    assert code == "not_configured"
    assert text.endswith("transport 'gone' is not configured here (there is: default)")


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("0001", "outbox: the outbox tables are at revision 0001, not HEAD: run `outbox migrate`\n"),
        ("9999", "outbox: the outbox tables are at revision 9999, newer than this version: upgrade outbox\n"),
    ],
)
async def test_migrations_behind_or_ahead(outbox, add, execute, revision, said):
    from outbox.db.schema import HEAD

    id = await add()
    await execute(f"UPDATE outbox_alembic_version SET version_num = '{revision}'")
    code, errors = await (await outbox("show", str(id))).ended()
    assert (code, errors) == (2, said.replace("HEAD", HEAD))


async def test_sent(show, outbox, add):
    id = await add()
    await (await outbox("run", "--drain")).ended()
    assert await show(id) == (None, None)
