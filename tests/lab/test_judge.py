"""The judge of the soak finds what is broken, and lets pass what a promise allows."""

import pytest

from soak.diary import Diary, Kill, Span, Wish
from soak.judge import Evidence, Judge

ADA = "ada@soak.test"


@pytest.fixture
def case():
    """One email to one recipient, sent by `d1` and on record. Tests add what goes wrong."""
    return Case()


class Case:
    def __init__(self):
        self.diary = Diary(wishes={"e1": Wish("e1", (ADA,), hold=False, committed=True)})
        self.row = {"id": 1, "tag": "e1", "status": "sent", "attempts": 1, "on_doubt": "resend", "claimed_by": None}
        self.row |= {"due_at": None, "last_error": None}
        self.rows = [self.row]
        self.attempts = [{"outbox_id": 1, "recipient": ADA, "outcome": "accepted", "poller": "poller-d1"}]
        self.sink = [*_copy(1, "d1", 100.0)]

    def judge(self):
        names = {"poller-d1": "d1", "poller-d2": "d2"}
        evidence = Evidence(self.rows, self.attempts, self.sink, self.diary, names, lease=8.0, connections=1)
        return Judge(evidence).judge()


def _copy(message, who, t, *, recipient=ADA, message_id="<1@x>", answered=True):
    yield {"t": t, "event": "dot", "who": who, "message": message, "recipients": [recipient], "taken": True} | {
        "message_id": message_id,
        "date": "now",
    }
    if answered:
        yield {"t": t + 0.1, "event": "answer", "who": who, "message": message, "code": 250}


def test_an_email_sent_once_and_on_record_is_well(case):
    found = case.judge()
    assert (found.lost, found.stuck, found.broken, dict(found.duplicated)) == ([], [], [], {})


def test_what_is_on_record_and_never_arrived_is_lost(case):
    case.sink = []
    assert len(case.judge().lost) == 1


def test_what_was_committed_and_is_not_there_is_lost(case):
    case.rows, case.attempts, case.sink = [], [], []
    assert len(case.judge().lost) == 1


def test_what_is_not_final_is_stuck(case):
    case.row["status"] = "sending"
    assert len(case.judge().stuck) == 1


def test_what_was_rolled_back_must_not_arrive(case):
    case.diary.wishes["e2"] = Wish("e2", ("ghost@soak.test",), hold=False, committed=False)
    case.sink += _copy(2, "d1", 101.0, recipient="ghost@soak.test")
    assert case.judge().broken[0].startswith("P2")


def test_a_second_copy_for_no_reason_is_found(case):
    case.sink = [*_copy(2, "d2", 90.0), *case.sink]
    assert "for no reason" in case.judge().broken[0]


def test_a_second_copy_of_what_a_kill_left_open_is_allowed_and_counted(case):
    case.sink = [*_copy(2, "d2", 90.0), *case.sink]
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 90.2))
    found = case.judge()
    assert found.broken == []
    assert dict(found.duplicated) == {"its daemon was killed (dot)": 1}
    assert found.most_per_kill == 1


def test_a_kill_that_left_more_open_than_there_are_connections_is_found(case):
    case.diary.wishes["e2"] = Wish("e2", ("bob@soak.test",), hold=False, committed=True)
    case.rows.append({**case.row, "id": 2, "tag": "e2", "status": "failed"})
    case.sink = [*_copy(2, "d2", 90.0), *_copy(3, "d2", 90.1, recipient="bob@soak.test"), *case.sink]
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 90.4))
    assert "over 1 connections" in case.judge().broken[0]


def test_a_copy_that_was_sent_after_another_was_on_record_is_not_excused_by_a_kill(case):
    case.sink += _copy(2, "d2", 110.0)
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 110.2))
    assert "for no reason" in case.judge().broken[0]


def test_an_outage_shorter_than_a_lease_excuses_nothing(case):
    case.sink = [*_copy(2, "d2", 90.0), *case.sink]
    case.diary.outages.append(Span("restart", 90.0, 92.0))
    assert "for no reason" in case.judge().broken[0]


@pytest.mark.parametrize("what", ["stop", "outage"])
def test_what_lasts_longer_than_the_lease_excuses_a_copy(case, what):
    case.sink = [*_copy(2, "d2", 90.0), *case.sink]
    spans = case.diary.outages if what == "outage" else case.diary.stops.setdefault("d2", [])
    spans.append(Span(what, 90.0, 99.0))
    assert case.judge().broken == []


def test_a_dot_that_left_as_its_daemon_woke_is_the_stops_not_that_of_a_kill_behind_it(case):
    case.sink = [*_copy(2, "d2", 99.003), *case.sink]
    case.diary.stops.setdefault("d2", []).append(Span("stop", 90.0, 99.0))
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 101.0))
    found = case.judge()
    assert (found.broken, found.most_per_kill) == ([], 0)


def test_two_accepted_outcomes_of_one_recipient_are_found(case):
    case.attempts *= 2
    assert case.judge().broken[0].startswith("P5")


def test_a_row_on_hold_that_arrived_twice_is_found_whatever_the_reason(case):
    case.row["on_doubt"] = "hold"
    case.sink = [*_copy(2, "d2", 90.0), *case.sink]
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 90.2))
    assert case.judge().broken[0].startswith("P4")


def test_copies_that_differ_in_their_message_id_are_found(case):
    case.sink = [*_copy(2, "d2", 90.0, message_id="<2@x>"), *case.sink]
    case.diary.kills.append(Kill("d2", "poller-d2", "dot", 90.2))
    assert "differ" in case.judge().broken[0]
