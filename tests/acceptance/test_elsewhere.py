"""Where this is not production, through the daemon as it is run."""

import json

import pytest

TEAM = {"OUTBOX_REDIRECT_TO": "Team <team@example.org>"}
ALLOWED = {"OUTBOX_ALLOW_RECIPIENTS": "*@example.org,Ada@Other.org"}


@pytest.fixture
def drained(outbox):
    """Run a drain; gives what it logged."""

    async def run(**environment):
        code, errors = await (await outbox("run", "--drain", **environment)).ended()
        assert code == 0, errors
        return errors

    return run


@pytest.fixture
def rows(execute):
    """Status and reason of each email."""

    async def run():
        return [tuple(row) for row in await execute("SELECT status, last_error FROM email_outbox ORDER BY id")]

    return run


@pytest.fixture
def record(execute):
    """What is on record of each recipient."""

    async def run():
        return [tuple(row) for row in await execute("SELECT recipient, outcome, reply FROM email_attempt ORDER BY id")]

    return run


async def test_everything_goes_to_one_address_and_the_record_says_so(put, drained, smtpd, rows, record, tmp_path):
    (tmp_path / "hi.txt").write_text("Hello")
    await put(to="Ada <ada@example.org>, b@example.org", cc="c@example.org", bcc="d@example.org", on_doubt="hold")
    await put(text=None, template="hi", sensitive=True)
    logged = await drained(**TEAM, OUTBOX_TEMPLATES=str(tmp_path))
    assert "redirect_to: every email goes to team@example.org, none to its recipients" in logged
    assert await rows() == [("sent", None)] * 2
    assert [received.recipients for received in smtpd.messages] == [["team@example.org"]] * 2
    header = next(received.message for received in smtpd.messages if "X-Original-Cc" in received.message)
    assert (header["To"], header["Cc"]) == ("Team <team@example.org>", None)
    assert header["X-Original-To"] == "ada@example.org, b@example.org"
    assert (header["X-Original-Cc"], header["X-Original-Bcc"]) == ("c@example.org", "d@example.org")
    found = await record()
    others = ["b@example.org", "c@example.org", "d@example.org"]
    assert sorted(recipient for recipient, _, _ in found) == ["ada@example.org", "ada@example.org", *others]
    assert all(outcome == "accepted" and "redirected to team@example.org" in reply for _, outcome, reply in found)


@pytest.mark.smtpd(rcpt=["451 4.7.1 greylisted", "550 5.1.1 no such user"])
async def test_what_the_target_is_told_holds_for_everybody(execute, drained, rows, record):
    columns = "to_addrs, cc_addrs, subject, body_text"
    await execute(
        f"INSERT INTO email_outbox ({columns}) VALUES ('ada@example.org, nonsense', 'c@example.org', 'a', 'b')"
    )
    for _ in range(2):
        await drained(**TEAM, OUTBOX_RETRY_SCHEDULE="1ms")
    status, reason = (await rows())[0]
    assert status == "failed"
    assert "550 5.1.1 no such user — redirected to team@example.org" in reason
    people = ["ada@example.org", "c@example.org"]
    expected = {(r, outcome) for r in people for outcome in ("deferred", "refused")} | {("nonsense", "refused")}
    found = [(recipient, outcome) for recipient, outcome, _ in await record()]
    assert (len(found), set(found)) == (5, expected)


@pytest.mark.smtpd(dot=["drop"])
async def test_a_redirected_email_on_hold_is_in_doubt_where_its_answer_was_lost(put, drained, rows, record):
    await put(on_doubt="hold", cc="c@example.org")
    await drained(**TEAM)
    assert (await rows())[0][0] == "in_doubt"
    found = await record()
    doubtful = [("ada@example.org", "in_doubt"), ("c@example.org", "in_doubt")]
    assert sorted((recipient, outcome) for recipient, outcome, _ in found) == doubtful
    assert all("redirected to team@example.org" in reply for _, _, reply in found)


async def test_an_email_to_anybody_who_is_not_allowed_is_held_as_a_whole(put, outbox, drained, smtpd, execute, rows):
    await put(to="ADA@other.org")
    await put(to="b@EXAMPLE.org")
    held = await put(to="ada@example.org", bcc="bob@other.org")
    logged = await drained(**ALLOWED)
    assert "allow_recipients: emails to others than *@example.org, ada@other.org are held" in logged
    said = "bob@other.org is not in allow_recipients; add it there and restart the daemon before a release"
    assert await rows() == [("sent", None), ("sent", None), ("pending", said)]
    assert len(smtpd.messages) == 2
    for environment, status in ((ALLOWED, "pending"), ({}, "sent")):
        assert (await (await outbox("release", str(held))).ended())[0] == 0
        await drained(**environment)
        assert (await rows())[-1][0] == status
    [row] = await execute("SELECT attempts, held FROM email_outbox WHERE id = :id", {"id": held})
    assert (row.attempts, bool(row.held)) == (1, False)
    assert sorted(smtpd.messages[-1].recipients) == ["ada@example.org", "bob@other.org"]


async def test_status_says_so(put, outbox, drained):
    await put(to="bob@other.org")
    await drained(OUTBOX_ALLOW_RECIPIENTS="*@example.org")
    process = (await outbox("status", "--json", **TEAM, **ALLOWED)).process
    shown = json.loads((await process.communicate())[0])
    assert (shown["redirect_to"], shown["held"]) == ("Team <team@example.org>", 1)
    assert shown["allow_recipients"] == ["*@example.org", "ada@other.org"]
    process = (await outbox("status", "--check", "--max-held", "0")).process
    assert (await process.communicate())[0] == b"more than 0 emails are held: `outbox release` lets them go\n"
