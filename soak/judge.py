"""Holds what happened against the promises: the rows, the attempts on record, what the sink took, what was broken."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soak.diary import Diary, Kill, Span

FINAL = frozenset({"sent", "partial", "failed", "expired", "cancelled", "in_doubt"})
WAKING = 0.1
"""Seconds after a stop in which the dots leave that were decided on before it."""

SLOW_COMMIT = 5.0
"""Seconds in which a result is on record when nothing else is broken."""


@dataclass(slots=True)
class Copy:
    """A message that the sink took, for one recipient."""

    who: str
    t: float
    message: int
    message_id: str
    date: str
    answered: float | None = None  # when its 250 left
    recorded: bool = False  # its daemon's "accepted" is in the database
    fault: str = ""  # what the server did wrong at the dot
    gone: bool = False  # the connection was closed by the daemon before the answer


@dataclass(slots=True)
class Evidence:
    """All there is about one database."""

    rows: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    sink: Sequence[Mapping[str, Any]]
    diary: Diary
    names: Mapping[str, str]  # poller name → label of its daemon
    lease: float
    connections: int


@dataclass(slots=True)
class Judgement:
    """What was found. `broken` is empty when all promises were kept."""

    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    duplicated: Counter[str] = field(default_factory=Counter)
    """Recipients that got an email more than once, by the reason that allows it."""
    statuses: Counter[str] = field(default_factory=Counter)
    most_per_kill: int = 0
    messages: int = 0


class Judge:
    """Judges one database."""

    def __init__(self, evidence: Evidence) -> None:
        self._e = evidence
        self._kills = {kill.label: kill for kill in evidence.diary.kills}
        self._found = Judgement()
        self._unrecorded_by_kill: dict[str, set[int]] = defaultdict(set)
        self._copies = _copies(evidence.sink)
        self._accepted: Counter[tuple[int, str]] = Counter()
        self._accepted_by: dict[tuple[int, str], str] = {}
        for attempt in evidence.attempts:
            if attempt["outcome"] == "accepted":
                key = attempt["outbox_id"], attempt["recipient"]
                self._accepted[key] += 1
                self._accepted_by[key] = evidence.names.get(attempt["poller"], "?")

    def judge(self) -> Judgement:
        """All promises, one after the other."""
        rows = {row["tag"]: row for row in self._e.rows}
        self._found.statuses = Counter(row["status"] for row in self._e.rows)
        self._found.messages = sum(event["event"] == "dot" for event in self._e.sink)
        self._found.broken.extend(self._e.diary.errors)
        known = {recipient for tag in rows for recipient in self._e.diary.wishes[tag].recipients}
        for recipient in self._copies.keys() - known:
            self._break("P2", f"{recipient} got an email that was never committed", recipient)
        for wish in self._e.diary.wishes.values():
            row = rows.get(wish.tag)
            if row is None and wish.committed:
                self._found.lost.append(f"{wish.tag} was committed and is not in the database")
            elif row is not None and wish.committed is False:
                self._break("P2", f"{wish.tag} was rolled back and is in the database")
            elif row is not None:
                self._judge_row(row, wish.recipients)
        self._judge_kills()
        return self._found

    def _judge_row(self, row: Mapping[str, Any], recipients: Sequence[str]) -> None:
        if row["status"] not in FINAL:
            self._found.stuck.append(_shown(row))
            return
        for recipient in recipients:
            copies = self._copies.get(recipient, [])
            accepted = self._accepted[row["id"], recipient]
            if accepted > 1:
                self._break("P5", f"{recipient} is on record as accepted {accepted} times", recipient)
            if accepted and not copies:
                self._found.lost.append(f"{recipient} is on record as accepted, and nothing arrived; {_shown(row)}")
            if row["status"] == "sent" and not accepted:
                self._found.lost.append(f"{recipient} is not accepted, and the row is sent; {_shown(row)}")
            if row["on_doubt"] == "hold" and len(copies) > 1:
                self._break("P4", f"{recipient} got an email on hold {len(copies)} times", recipient)
            if len({(copy.message_id, copy.date) for copy in copies}) > 1:
                self._break("P3", f"the copies for {recipient} differ in Message-ID or Date", recipient)
            self._judge_copies(row, recipient, copies)

    def _judge_copies(self, row: Mapping[str, Any], recipient: str, copies: list[Copy]) -> None:
        """Every copy is on record, or there is a reason why it could not be."""
        by = self._accepted_by.get((row["id"], recipient))
        for copy in reversed(copies):
            if copy.who == by and copy.answered is not None:
                copy.recorded = True
                break
        on_record = next((copy for copy in copies if copy.recorded), None)
        for copy in copies:
            if copy.recorded:
                continue
            reason = self._reason(copy, late=on_record is not None and copy.t > (on_record.answered or on_record.t))
            if reason is None:
                self._break("P3", f"a copy for {recipient} is not on record, for no reason; {_shown(row)}", recipient)
            elif len(copies) > 1:
                self._found.duplicated[reason] += 1

    def _reason(self, copy: Copy, *, late: bool) -> str | None:
        """Why the result of `copy` could be missing. `late`: it was sent after another was answered and on record."""
        diary, lease = self._e.diary, self._e.lease
        if copy.fault.startswith("reply") and not late:
            return "the answer to the final dot was lost or late"
        outage = _within(diary.outages, copy.t - lease, copy.t + lease + SLOW_COMMIT)
        # Leases are renewed at a third of their length: a shorter outage ends none of them.
        long = _within((o for o in diary.outages if o.end - o.begin > lease * 0.6), copy.t - lease, copy.t + lease)
        # A daemon that was stopped past its lease has lost what it had at the dot then, however it ended later.
        if _within(diary.stops.get(copy.who, ()), copy.t - WAKING, copy.t + SLOW_COMMIT):
            return "its daemon was stopped past its lease"
        kill = self._kills.get(copy.who)
        if kill and copy.t <= kill.t <= copy.t + (SLOW_COMMIT if not outage else 60) and not late:
            self._unrecorded_by_kill[kill.label].add(copy.message)
            return f"its daemon was killed ({kill.point.partition(' ')[0]})"
        if _within(diary.stops.get(copy.who, ()), copy.t - lease, copy.t + lease):
            return "its daemon was stopped past its lease"
        if long:
            return f"the database was away ({long.what})"
        return "its daemon lost patience before the answer" if copy.gone and not late else None

    def _judge_kills(self) -> None:
        for label, messages in self._unrecorded_by_kill.items():
            self._found.most_per_kill = max(self._found.most_per_kill, len(messages))
            if len(messages) > self._e.connections:
                kill = self._kills[label]
                self._found.broken.append(
                    f"P3: {len(messages)} messages of {label} were taken and not on record when it was killed at "
                    f"{kill.t:.2f} ({kill.point}, clean: {kill.clean}), over {self._e.connections} connections: "
                    f"{sorted(messages)}"
                )

    def _break(self, promise: str, what: str, recipient: str | None = None) -> None:
        copies = self._copies.get(recipient or "", [])
        self._found.broken.append(f"{promise}: {what}" + "".join(f"\n      {copy}" for copy in copies))


def _copies(sink: Iterable[Mapping[str, Any]]) -> dict[str, list[Copy]]:
    """By recipient, in the order in which they came."""
    copies: dict[str, list[Copy]] = defaultdict(list)
    by_message: dict[int, list[Copy]] = {}
    for event in sink:
        if event["event"] == "dot" and event["taken"]:
            mine = by_message[event["message"]] = []
            for recipient in event["recipients"]:
                facts = event["who"], event["t"], event["message"], event["message_id"], event["date"]
                mine.append(Copy(*facts))
                copies[recipient].append(mine[-1])
        else:
            for copy in by_message.get(event.get("message", 0), ()):
                _add(copy, event)
    return copies


def _add(copy: Copy, event: Mapping[str, Any]) -> None:
    match event["event"]:
        case "answer":
            copy.answered = event["t"]
        case "fault":
            copy.fault = event["what"]
        case "gone":
            copy.gone = True


def _within(spans: Iterable[Span], begin: float, end: float) -> Span | None:
    return next((span for span in spans if span.begin < end and begin < span.end), None)


def _shown(row: Mapping[str, Any]) -> str:
    wanted = ("id", "tag", "status", "attempts", "on_doubt", "claimed_by", "due_at", "last_error")
    return ", ".join(f"{name} {row[name]}" for name in wanted)


def recoveries(kills: Iterable[Kill], which: str, *, clean: bool) -> list[float]:
    """Seconds, sorted, of kills that left rows behind; `clean`: only where nothing else was broken."""
    found = [getattr(kill, which) for kill in kills if kill.rows and (kill.clean or not clean)]
    return sorted(seconds for seconds in found if seconds is not None)
