"""A model of what may happen to an outbox: several pollers on a real database, in any order, that die, stand still,
write too late. A delivery is ours but for the server, which answers as the machine draws; what it took is the truth.

After every step the database is held against the promises.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from random import Random
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from outbox import Email, enqueue
from outbox.core.address import Mailbox
from outbox.core.claim import Claimed, Result
from outbox.core.message import MessageIds
from outbox.core.outcome import Fault, Kind, Outcome, Report, Scope
from outbox.core.reply import Reply
from outbox.core.retry import RetryPolicy
from outbox.core.status import FINAL, Status, may_become
from outbox.db.engine import create_engine
from outbox.db.operations import Operations
from outbox.db.store import open_store
from outbox.delivery import Delivery
from outbox.mail.composer import Composer
from outbox.smtp.transport import Transport

KINDS = st.sampled_from([Kind.ACCEPTED, Kind.ACCEPTED, Kind.ACCEPTED, Kind.DEFERRED, Kind.REFUSED])
ENDS = (
    "answered",
    "answered",
    "answered",
    "taken, answer lost",
    "not taken, answer lost",
    "killed before the dot",
    "killed at the dot",
    "fault",
)
POLLERS = st.integers(0, 2)
REPLIES = {
    Kind.ACCEPTED: Reply(250, "2.0.0 ok"),
    Kind.DEFERRED: Reply(450, "4.2.0 later"),
    Kind.REFUSED: Reply(550, "5.1.1 never"),
}


class KilledError(BaseException):
    """The poller's process is gone."""


@dataclass
class OnePoller:
    """Its memory, which a kill takes away."""

    name: str
    held: dict[int, Claimed] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)


async def always():
    """The final dot may leave at once."""
    return True


@dataclass
class Server:
    """The transport and the server behind it."""

    name: str = "default"
    failures: int = 0
    kinds: dict[int, Kind] = field(default_factory=dict)
    end: str = "answered"
    taken: list[str] = field(default_factory=list)
    asked: tuple[str, ...] = ()

    async def send(self, message, *, attempt, still_owned, before_dot, between):  # noqa: ARG002  # the transport's
        self.asked, self.taken = message.recipients, []
        kinds = {r: self.kinds.get(n, Kind.ACCEPTED) for n, r in enumerate(message.recipients)}
        outcomes = {r: Outcome(kind, REPLIES[kind]) for r, kind in kinds.items() if kind is not Kind.ACCEPTED}
        accepted = [r for r in message.recipients if r not in outcomes]
        if self.end == "fault":
            return Report({}, Fault(Scope.PAUSE, "421 closing"))
        if self.end == "killed before the dot":
            raise KilledError
        if accepted and not await before_dot(outcomes | {r: Outcome(Kind.IN_DOUBT) for r in accepted}):
            return Report(outcomes, Fault(Scope.STOPPING, "not on record"))
        if self.end != "not taken, answer lost":
            self.taken = accepted
        if self.end == "killed at the dot":
            raise KilledError
        last = Outcome(Kind.ACCEPTED, REPLIES[Kind.ACCEPTED]) if self.end == "answered" else Outcome(Kind.IN_DOUBT)
        return Report(outcomes | dict.fromkeys(accepted, last))


class OutboxMachine(RuleBasedStateMachine):
    """One outbox and three pollers. `url` is a migrated database, which is emptied first."""

    def __init__(self, url):
        super().__init__()
        self.runner = asyncio.Runner()
        self.engine = create_engine(url)
        self.store = open_store(self.engine)
        self.operations = Operations(self.engine)
        self.server = Server()
        self.names = count()
        self.pollers = [OnePoller(f"p{next(self.names)}") for _ in range(3)]
        self.recipients: dict[int, list[str]] = {}
        self.hold: set[int] = set()
        self.statuses: dict[int, str] = {}
        self.copies: Counter[tuple[int, str]] = Counter()
        self.excused: Counter[tuple[int, str]] = Counter()
        self.accepted_at_claim: dict[str, set[str]] = {}

    def run(self, work):
        return self.runner.run(work)

    def sql(self, statement, **parameters):
        async def run():
            async with self.engine.begin() as connection:
                result = await connection.execute(text(statement), parameters)
                return result.all() if result.returns_rows else []

        return self.run(run())

    def delivery(self, poller):
        async def mark(result):
            return await self.store.mark(result, poller=poller.name)

        return Delivery(
            composer=Composer(Mailbox("", "shop", "example.org"), None),
            transports={"default": cast("Transport", self.server)},
            load_content=partial(self.store.whole, most=1 << 20),
            size_of_files=partial(self.store.size_of_attachments, most=1 << 20),
            load_files=self.store.attachments,
            mark=mark,
            policy=RetryPolicy((60.0,), 4, 60.0),
            random=Random(1),
        )

    @initialize()
    def empty(self):
        for table in ("email_attempt", "email_attachment", "email_outbox"):
            self.sql(f"DELETE FROM {table}")

    @rule(recipients=st.integers(1, 3), hold=st.booleans(), keep=st.sampled_from([True, True, True, False]))
    def insert(self, recipients, hold, keep):
        addresses = [f"r{n}@example.org" for n in range(recipients)]

        async def run():
            async with self.engine.connect() as connection:
                email = Email(to=addresses, subject="Hi", text="Hello", on_doubt="hold" if hold else "resend")
                [id] = await enqueue(connection, email)
                await (connection.commit() if keep else connection.rollback())
                return id

        id = self.run(run())
        if keep:
            self.recipients[id] = addresses
            self.statuses[id] = "pending"
            self.hold |= {id} if hold else set()

    @rule(number=POLLERS, limit=st.integers(1, 4), alone=st.booleans())
    def claim(self, number, limit, alone):
        self.take(self.pollers[number], limit, alone)

    def take(self, poller, limit, alone):
        accepted = self.accepted()
        ids = MessageIds.new(datetime.now(UTC), "example.org")
        held = {*poller.held, *(result.id for result in poller.results), *([] if alone else [0])}
        # What may have gone out waits at its transport. Thorough, since when else a row is found depends on the time.
        claim = partial(self.store.claim, gates=("", "default"), thorough=True)
        rows = self.run(claim(limit, poller=poller.name, lease=3600.0, message_ids=ids, held=held))
        for row in rows:
            row.way = "default"
            assert row.id in self.recipients, "P2: a row that was rolled back"
            self.accepted_at_claim[row.claim_token + str(row.id)] = {r for i, r in accepted if i == row.id}
            poller.held[row.id] = row
        return rows

    @precondition(lambda self: any(poller.held for poller in self.pollers))
    @rule(data=st.data(), kinds=st.lists(KINDS, max_size=3), end=st.sampled_from(ENDS))
    def send(self, data, kinds, end):
        poller = data.draw(st.sampled_from([p for p in self.pollers if p.held]), "poller")
        id = data.draw(st.sampled_from(sorted(poller.held)), "row")
        self.deliver(poller, id, dict(enumerate(kinds)), end)

    def deliver(self, poller, id, kinds, end):
        row = poller.held.pop(id)
        self.server.kinds, self.server.end, self.server.asked, self.server.taken = kinds, end, (), []
        killed = False
        try:
            result = self.run(
                self.delivery(poller).attempt(row, expired=False, still_owned=lambda: True, may_leave=always)
            )
            poller.results.append(result)
        except KilledError:
            killed = True
        again: set[str] = set(self.server.asked) & self.accepted_at_claim[row.claim_token + str(id)]
        assert not again, f"P5: {again} had accepted email {id} before"
        for recipient in self.server.taken:
            self.copies[id, recipient] += 1
            self.excused[id, recipient] += end != "answered"
            assert id not in self.hold or self.copies[id, recipient] == 1, f"P4: email {id} is on hold and sent twice"
        if killed:
            self.kill(self.pollers.index(poller))

    @rule(number=POLLERS)
    def record(self, number):
        self.write(self.pollers[number])

    def write(self, poller):
        while poller.results:  # as the recorder does, the results of one row one after the other
            first = {result.id: result for result in reversed(poller.results)}
            poller.results = [result for result in poller.results if first[result.id] is not result]
            self.write_group(poller, list(first.values()))

    def write_group(self, poller, results):
        before = self.rows()
        owned = {r.id for r in results if before[r.id].claim_token == r.claim_token}
        assert self.run(self.store.record(results, poller=poller.name)) == owned
        after = self.rows()
        assert {id: row for id, row in after.items() if id not in owned} == {
            id: row for id, row in before.items() if id not in owned
        }, "P9: a row that belonged to somebody else was changed"
        for result in results:
            if before[result.id].claim_token != result.claim_token:
                self.excuse(result)

    @precondition(lambda self: self.overtaken())
    @rule(data=st.data())
    def an_overtaken_row_comes_back(self, data):
        """Its next owner gives it back, and the first claims it again before it has written its old result."""
        poller, id = data.draw(st.sampled_from(self.overtaken()), "row")
        other = next(p for p in self.pollers if p is not poller)
        self.a_lease_ends_of(id)
        if any(row.id == id for row in self.take(other, 100, alone=True)):
            self.promises_hold()
            self.deliver(other, id, {}, "fault")
            self.write(other)
            self.promises_hold()
            self.take(poller, 100, alone=True)

    def overtaken(self):
        return [(p, r.id) for p in self.pollers for r in p.results if self.statuses[r.id] == "sending"]

    @rule(number=POLLERS)
    def kill(self, number):
        for result in self.pollers[number].results:
            self.excuse(result)
        self.pollers[number] = OnePoller(f"p{next(self.names)}")

    def excuse(self, result):
        for recipient, outcome in result.outcomes.items():
            self.excused[result.id, recipient] += outcome.kind is Kind.ACCEPTED

    @rule(number=POLLERS)
    def renew(self, number):
        poller = self.pollers[number]
        claims = [(row.id, row.claim_token) for row in poller.held.values()]
        before = self.rows()
        owned = self.run(self.store.renew(claims, 3600.0)) if claims else set()
        assert owned == {id for id, token in claims if before[id].claim_token == token}

    @precondition(lambda self: "sending" in self.statuses.values())
    @rule(data=st.data())
    def a_lease_ends(self, data):
        id = data.draw(st.sampled_from([i for i, s in self.statuses.items() if s == "sending"]), "row")
        self.a_lease_ends_of(id)

    def a_lease_ends_of(self, id):
        self.sql("UPDATE email_outbox SET due_at = created_at WHERE id = :id AND status = 'sending'", id=id)

    @rule()
    def time_passes(self):
        self.sql("UPDATE email_outbox SET due_at = created_at WHERE status = 'pending'")

    @precondition(lambda self: self.recipients)
    @rule(data=st.data())
    def cancel(self, data):
        self.run(self.operations.cancel([data.draw(st.sampled_from(sorted(self.recipients)), "row")]))

    @precondition(lambda self: self.recipients)
    @rule(data=st.data())
    def retry(self, data):
        self.run(self.operations.retry([data.draw(st.sampled_from(sorted(self.recipients)), "row")]))

    # What must hold at any time.

    def rows(self):
        return {row.id: row for row in self.sql("SELECT id, status, due_at, attempts, claim_token FROM email_outbox")}

    def accepted(self):
        rows = self.sql("SELECT outbox_id, recipient FROM email_attempt WHERE outcome = 'accepted'")
        return Counter((row.outbox_id, row.recipient) for row in rows)

    @invariant()
    def promises_hold(self):
        rows, accepted = self.rows(), self.accepted()
        assert rows.keys() == self.recipients.keys()
        for id, row in rows.items():
            old = self.statuses[id]
            assert row.status == old or may_become(Status(old), Status(row.status)), f"{id}: {old} to {row.status}"
            assert (row.due_at is None) == (row.status in FINAL)
            assert (row.claim_token is None) == (row.status != "sending")
            everyone = self.recipients[id]
            assert row.status != "sent" or all(accepted[id, r] for r in everyone), f"{id} is sent, but not to everyone"
            self.statuses[id] = row.status
            for recipient in everyone:
                self.judge_recipient(id, recipient, accepted[id, recipient])

    def judge_recipient(self, id, recipient, accepted):
        copies, key = self.copies[id, recipient], (id, recipient)
        unwritten = sum(
            result.outcomes[recipient].kind is Kind.ACCEPTED
            for poller in self.pollers
            for result in poller.results
            if result.id == id and recipient in result.outcomes
        )
        assert accepted <= 1, f"P5: {key} is on record as accepted {accepted} times"
        assert copies == accepted + unwritten + self.excused[key], f"P3: a copy for {key} that nothing explains"

    def teardown(self):
        try:
            for number in range(3):
                self.kill(number)
            heir = OnePoller("heir")
            for _ in range(60):
                if not self.sql("UPDATE email_outbox SET due_at = created_at WHERE due_at IS NOT NULL RETURNING id"):
                    break
                rows = self.take(heir, 100, alone=True)
                self.promises_hold()
                for row in rows:
                    self.deliver(heir, row.id, {}, "answered")
                self.write(heir)
                self.promises_hold()
            stuck = [id for id, status in self.statuses.items() if status not in FINAL]
            assert not stuck, f"P1: {stuck} never end"
        finally:
            self.run(self.store.close())
            self.runner.close()
