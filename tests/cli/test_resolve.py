"""`resolve`: a person decides about an email in doubt."""

import json

import pytest


@pytest.fixture
def in_doubt(outbox, database, monkeypatch, engine_sql):
    """Id of an email in doubt."""
    monkeypatch.setenv("OUTBOX_DATABASE_URL", database)
    id_ = int(outbox("send", "--to", "ada@example.org", "--text", "x").out)
    engine_sql(f"UPDATE email_outbox SET status = 'in_doubt', due_at = NULL, last_error = 'lost' WHERE id = {id_}")
    return str(id_)


def status_of(outbox, id_):
    return json.loads(outbox("show", id_, "--json").out)["status"]


def test_it_is_declared_sent(outbox, in_doubt):
    answer = outbox("resolve", in_doubt, "--sent")
    assert (answer.code, answer.out, answer.err) == (0, f"email {in_doubt} is sent\n", "")
    assert status_of(outbox, in_doubt) == "sent"


def test_it_is_to_be_resent(outbox, in_doubt):
    answer = outbox("resolve", in_doubt, "--resend")
    assert (answer.code, answer.out, answer.err) == (0, f"email {in_doubt} is pending again\n", "")
    assert status_of(outbox, in_doubt) == "pending"


def test_who_has_not_got_it_is_not_forgotten(outbox, in_doubt, engine_sql):
    engine_sql(
        "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome) "
        f"VALUES ({in_doubt}, 1, 'ada@example.org', 'in_doubt'), ({in_doubt}, 1, 'bob@example.org', 'refused')"
    )
    answer = outbox("resolve", in_doubt, "--sent")
    assert answer.out == f"email {in_doubt} is partial: not everybody has got it, see `outbox show {in_doubt}`\n"


@pytest.mark.parametrize("flags", [[], ["--sent", "--resend"]])
def test_exactly_one_decision_is_wanted(outbox, in_doubt, flags):
    answer = outbox("resolve", in_doubt, *flags)
    assert (answer.code, answer.out) == (2, "")
    assert "give either --sent or --resend" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--sent", "--resend"])
def test_what_cannot_be_resolved_is_an_answer_in_one_line(outbox, in_doubt, flag):
    answer = outbox("resolve", "4711", flag)
    assert (answer.code, answer.out, answer.err) == (1, "", "outbox: there is no email 4711\n")
    assert outbox("resolve", in_doubt, "--sent").code == 0
    answer = outbox("resolve", in_doubt, flag)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"outbox: email {in_doubt} is sent, not in_doubt: there is nothing to resolve\n"


def test_show_names_the_command(outbox, in_doubt, engine_sql):
    said = f"lost; `outbox resolve {in_doubt} --sent` closes it"
    more = f", `outbox resolve {in_doubt} --resend` sends it once more"
    assert said + more in outbox("show", in_doubt).out
    engine_sql(f"UPDATE email_outbox SET sensitive = true, erased = true WHERE id = {in_doubt}")
    shown = outbox("show", in_doubt).out
    assert said in shown
    assert more not in shown


def test_retry_names_the_command(outbox, in_doubt):
    assert "see `outbox resolve`" in outbox("retry", in_doubt).err
