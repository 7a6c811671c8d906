"""Limits, through the real daemon. What arrives in a second at a server is measured by `python -m benchmarks T11`."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from outbox.claiming import Claiming
from outbox.daemon import Poller
from outbox.db.store import Store
from outbox.line import LATE
from outbox.settings import Settings
from outbox.waiting import Waiting


@pytest.fixture
def limited(database, smtpd):
    def make(rate=(), *, connections=10, **more):
        default = {"url": smtpd.url, "rate": rate, "max_connections": connections}
        return Settings(
            database_url=database,
            sender="shop@example.org",
            poll_interval="200ms",
            transports={"default": default},
            **more,
        )

    return make


@pytest.fixture
def times(monkeypatch):
    """When each email began, by the loop's clock; when it arrives depends on what else this machine does."""
    found: list[float] = []
    take = Waiting.take

    def noted(self, now):
        begun = take(self, now)
        found.extend([asyncio.get_running_loop().time()] * len(begun))
        return begun

    monkeypatch.setattr(Waiting, "take", noted)
    return found


def most_within(times, seconds):
    return max(sum(start <= time < start + seconds for time in times) for start in times)


async def insert_many(execute, count, to="a@example.org"):
    values = ", ".join([f"('{to}', 'Hi')"] * count)
    await execute(f"INSERT INTO email_outbox (to_addrs, subject) VALUES {values}")


async def test_four_pollers_together_keep_a_pace(execute, limited, smtpd, times):
    await insert_many(execute, 60)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(Poller(limited("20/s")))
        await smtpd.received(60)
    assert most_within(times, 1.0) <= 20 * (1 + LATE) + 1, "the pace, and what may be late"


async def test_a_quota_is_sent_at_once_and_the_rest_waits_without_an_attempt(execute, limited, smtpd):
    await insert_many(execute, 12)
    async with Poller(limited("5/day"), drain=True) as poller:
        await poller.finished()
        assert await poller.left_behind()
    assert len(smtpd.messages) == 5
    found = await execute("SELECT status, attempts FROM email_outbox ORDER BY status")
    assert [(r.status, r.attempts) for r in found] == [("pending", 0)] * 7 + [("sent", 1)] * 5


async def test_the_limit_of_a_recipients_domain_holds_up_nobody_else(execute, limited, smtpd):
    await insert_many(execute, 20, "a@slow.example")
    await insert_many(execute, 20, "b@example.org")
    async with Poller(limited(domain_rates={"*.slow.example": "1/day", "slow.example": "2/day"}), drain=True) as poller:
        await poller.finished()
    assert sorted(m.recipients[0] for m in smtpd.messages) == ["a@slow.example"] * 2 + ["b@example.org"] * 20
    [waiting] = await execute(
        "SELECT count(*) AS n FROM email_outbox WHERE gate = '@slow.example' AND due_at IS NOT NULL"
    )
    assert waiting.n == 18


async def test_a_drain_waits_for_a_pace(execute, limited, smtpd, times):
    await insert_many(execute, 25)
    async with Poller(limited("10/s, 1000/day"), drain=True) as poller:
        await poller.finished()
        assert not await poller.left_behind()
    assert len(smtpd.messages) == 25


async def test_a_poller_that_waits_for_a_limit_asks_the_database_nothing_about_it(execute, limited, smtpd, monkeypatch):
    from outbox.db.limits import SharedLimits

    asked = []
    admit = SharedLimits.admit

    async def counted(self, emails):
        asked.append(len(emails))
        return await admit(self, emails)

    monkeypatch.setattr(SharedLimits, "admit", counted)
    await insert_many(execute, 40)
    async with Poller(limited("3/day")) as poller:
        await smtpd.received(3)
        before = len(asked)
        for _ in range(20):  # looks, however often somebody commits
            poller._loop.wake.set()
            await asyncio.sleep(0)
            await insert_many(execute, 1)
        assert len(asked) == before


async def test_what_waits_at_a_paced_limit_is_not_taken_again_and_again(execute, limited, smtpd, monkeypatch):
    taken = []
    claim = Store.claim

    async def counted(self, *args, **kwargs):
        rows = await claim(self, *args, **kwargs)
        taken.append(len(rows))
        return rows

    monkeypatch.setattr(Store, "claim", counted)
    await insert_many(execute, 200, "a@slow.example")
    async with Poller(limited(domain_rates={"slow.example": "10/s"})):
        await smtpd.received(25)
    assert sum(taken) <= 200 + 2 * 25 + 20, "each once, to be sent to its gate, and again when it can go"


async def test_the_pace_of_a_domain_is_reached_within_that_of_its_transport(execute, limited, smtpd, times):
    await insert_many(execute, 6, "a@slow.example")
    async with Poller(limited("14/s", domain_rates={"slow.example": "3/s"}), drain=True) as poller:
        await poller.finished()
        assert not await poller.left_behind()
    assert len(smtpd.messages) == 6
    assert most_within(times, 1.0) <= 3 * (1 + LATE) + 1


async def test_a_drain_is_not_over_because_a_limit_opens_while_it_looks(execute, limited, smtpd, monkeypatch):
    claim = Claiming.claim

    async def slow(self, **kwargs):
        taken = await claim(self, **kwargs)
        if not taken and (opens_in := self.opens_in()):
            await asyncio.sleep(opens_in)
        return taken

    monkeypatch.setattr(Claiming, "claim", slow)
    await insert_many(execute, 4, "a@slow.example")
    async with Poller(limited("14/s", domain_rates={"slow.example": "3/s"}), drain=True) as poller:
        await poller.finished()
    assert len(smtpd.messages) == 4


async def test_a_backlog_does_not_keep_what_waits_for_a_domain_from_going(execute, limited, smtpd):
    async def slow(_):
        await asyncio.sleep(0.02)

    smtpd.faults["dot"] = slow
    await insert_many(execute, 6, "a@slow.example")
    await insert_many(execute, 2500, "b@example.org")
    async with Poller(limited(domain_rates={"slow.example": "5/s"})):
        await smtpd.until(lambda: sum(m.recipients == ["a@slow.example"] for m in smtpd.messages) == 6)
    assert len(smtpd.messages) < 2400, "long before the backlog has gone"


async def test_a_state_that_makes_no_sense_stops_nobody(execute, limited, smtpd):
    states = ['{"slot": 1e300}', '{"slot": Infinity}', '{"used": {"86400.0": {"-5": -50}}}']
    for state in states:
        await execute("DELETE FROM email_transport")
        await execute("INSERT INTO email_transport (name, rate_state) VALUES ('default', :state)", {"state": state})
        await insert_many(execute, 2)
        async with Poller(limited("14/s, 1000/day"), drain=True) as poller:
            await poller.finished()
            assert not await poller.left_behind()
    assert len(smtpd.messages) == 2 * len(states)


async def test_a_drain_waits_for_no_limit_that_nothing_waits_for(execute, limited, smtpd):
    await insert_many(execute, 1)
    async with Poller(limited("1/min"), drain=True) as poller:
        async with asyncio.timeout(30):  # the limit opens after a minute
            await poller.finished()
    assert len(smtpd.messages) == 1


async def test_any_number_of_domains_can_have_limits(execute, limited, smtpd):
    answered = asyncio.Event()

    async def slow(_):
        await answered.wait()

    smtpd.faults["dot"] = slow
    await insert_many(execute, 200, "b@example.org")
    settings = limited(domain_rates={f"d{number}.example": "10/s" for number in range(700)})
    async with Poller(settings) as poller:
        await smtpd.until(lambda: len(smtpd.sessions) == 10)
        await execute("INSERT INTO email_outbox (to_addrs, subject, priority) VALUES ('ada@example.org', 'Hi', 0)")
        poller.look()
        answered.set()
        await smtpd.received(201)
    urgent = next(n for n, m in enumerate(smtpd.messages) if m.recipients == ["ada@example.org"])
    assert urgent < 100


@pytest.mark.parametrize("limits", [{"rate": "10/s, 6/day"}, {"domain_rates": {"example.org": "10/s, 6/day"}}])
async def test_a_quota_counts_nothing_that_waited_in_vain_for_a_slow_server(execute, limited, smtpd, limits):
    async def slow(_):
        await asyncio.sleep(2 * LATE)  # whoever waits behind it loses its slot

    smtpd.faults["dot"] = slow
    await insert_many(execute, 6)
    async with Poller(limited(**limits, connections=1), drain=True) as poller:
        await poller.finished()
        assert not await poller.left_behind()
    assert len(smtpd.messages) == 6


async def test_a_quota_counts_nothing_that_a_poller_gave_back_when_it_was_stopped(execute, limited, smtpd):
    answer = asyncio.Event()

    async def wait(_):
        await answer.wait()

    smtpd.faults["dot"] = wait
    await insert_many(execute, 4)
    poller = await Poller(limited("4/day", connections=1)).__aenter__()
    await smtpd.until(lambda: "DATA" in smtpd.commands)
    assert poller._loop._waiting.waiting("default")
    stopped = asyncio.create_task(poller.__aexit__(None, None, None))
    while poller._loop._waiting.waiting("default"):  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    answer.set()
    await stopped
    assert len(smtpd.messages) < 4
    async with Poller(limited("4/day"), drain=True) as poller:
        await poller.finished()
    assert len(smtpd.messages) == 4


@pytest.mark.smtpd(greeting=["421 4.3.2 closing"] * 2)
async def test_a_quota_counts_nothing_that_a_transport_with_a_fault_did_not_take(execute, limited, smtpd):
    await insert_many(execute, 1)
    async with Poller(limited("1/day")):
        await smtpd.received(1)
    assert smtpd.connections == 3


async def test_domains_with_limits_to_which_nothing_goes_cost_one_question_together(
    execute, limited, smtpd, monkeypatch
):
    claims = []
    claim = Store.claim

    async def counted(self, *args, **kwargs):
        claims.append(kwargs["gates"])
        return await claim(self, *args, **kwargs)

    monkeypatch.setattr(Store, "claim", counted)
    async with Poller(limited(domain_rates={f"d{number}.example": "10/s" for number in range(200)})) as poller:
        for number in range(10):
            await insert_many(execute, 1)
            await smtpd.received(number + 1)
        await insert_many(execute, 1, "a@d7.example")
        await smtpd.received(11)
        rounds = poller.rounds
    assert len(claims) < 3 * rounds + 10


async def test_what_is_given_back_keeps_its_place_however_long_it_was_held(database, execute, limited, smtpd):
    answer = asyncio.Event()

    async def wait(_):
        await answer.wait()

    smtpd.faults["dot"] = wait
    due = [f"2026-01-0{day} 00:00:00.12345" for day in range(1, 7)]
    for one in due:
        utc = "" if database.startswith("sqlite") else "+00"
        await execute(
            f"INSERT INTO email_outbox (to_addrs, subject, due_at) VALUES ('a@b.example', 'Hi', '{one}{utc}')"
        )
    async with Poller(limited(connections=1)) as poller:
        await smtpd.until(lambda: "DATA" in smtpd.commands)
        assert poller._loop._waiting.waiting("default")
        poller.hurry()
    found = await execute("SELECT due_at, id FROM email_outbox WHERE status = 'pending' AND attempts = 0 ORDER BY id")
    kept = [str(row.due_at).removesuffix("+00:00").rstrip("0") for row in found if row.id > 2]
    assert kept == due[2:]


async def test_a_quota_counts_nothing_that_was_not_composed(execute, limited, smtpd):
    for _ in range(4):
        await execute("INSERT INTO email_outbox (to_addrs, template) VALUES ('a@example.org', 'no_such_template')")
    await insert_many(execute, 2)
    async with Poller(limited("2/day")):
        await smtpd.received(2)
    found = await execute("SELECT status FROM email_outbox ORDER BY id")
    assert [row.status for row in found] == ["failed"] * 4 + ["sent"] * 2
