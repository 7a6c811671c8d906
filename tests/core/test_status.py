"""The statuses and their changes."""

from outbox.core.status import FINAL, RETRYABLE, TRANSITIONS, Status, may_become


def test_every_status_has_its_transitions():
    assert set(TRANSITIONS) == set(Status)


def test_every_status_is_waiting_being_sent_or_final():
    assert set(Status) - FINAL == {Status.PENDING, Status.SENDING}


def test_only_a_claimed_row_can_be_sent_by_the_poller():
    before = {old for old in Status if may_become(old, Status.SENT)}
    assert before == {Status.SENDING, Status.IN_DOUBT}


def test_a_final_row_moves_only_by_hand_and_never_straight_to_sending():
    assert not any(may_become(old, Status.SENDING) for old in FINAL)


def test_what_was_sent_to_everyone_is_never_retried():
    assert TRANSITIONS[Status.SENT] == frozenset()


def test_a_row_in_doubt_wants_a_person_to_decide():
    assert {Status.PARTIAL, Status.FAILED, Status.EXPIRED, Status.CANCELLED} == RETRYABLE


def test_every_final_status_can_be_reached():
    assert {new for following in TRANSITIONS.values() for new in following} >= FINAL


def test_a_row_on_its_way_cannot_be_cancelled():
    assert may_become(Status.PENDING, Status.CANCELLED)
    assert not may_become(Status.SENDING, Status.CANCELLED)
