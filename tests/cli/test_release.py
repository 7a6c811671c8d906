"""`release` sends what was held, and says what was not."""

import json
import re

import pytest


@pytest.fixture
def held(outbox, database, monkeypatch, engine_sql):
    """Ids of a held email and of one that is not."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    ids = [int(outbox("send", "--to", "ada@example.org", "--text", "x").out) for _ in range(2)]
    engine_sql(f"UPDATE email_outbox SET held = true, due_at = '9926-01-01 00:00:00' WHERE id = {ids[0]}")
    return [str(id_) for id_ in ids]


def test_release_tells_what_it_released_and_what_was_not_held(outbox, held):
    answer = outbox("release", *held)
    assert (answer.code, answer.out) == (1, "1 email released\n")
    assert f"{held[1]}: is not held; see `outbox show {held[1]}`" in answer.err
    assert outbox("release", "--all").out == "no email was held\n"


def test_all_that_is_held_is_released(outbox, held):
    assert outbox("release", "--all").out == "1 email released\n"


@pytest.mark.parametrize("width", ["60", "200"])
def test_of_what_is_held_no_time_in_another_age_is_shown(outbox, held, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    shown = outbox("list").out + outbox("show", held[0]).out
    assert "9926" not in shown
    assert "01-01" not in shown
    assert re.search(r"ada@example\.org.* held\b", shown)
    assert [email["held"] for email in json.loads(outbox("list", "--json").out)] == [None, True]
    assert json.loads(outbox("show", held[0], "--json").out)["held"] is True


@pytest.mark.parametrize("arguments", [(), ("1", "--all")])
def test_release_wants_either_ids_or_all(outbox, arguments):
    answer = outbox("release", *arguments)
    assert answer.code == 2
    assert "give either ids or --all" in answer.err
