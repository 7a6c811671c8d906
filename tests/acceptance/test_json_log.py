"""The log as programs read it, from the daemon as it is run."""

import json
import logging
import re
import socket
from pathlib import Path

import pytest

from outbox.log_format import FIELDS, JsonFormatter

TABLE = Path(__file__).parents[2] / "docs" / "logging.md"

ALWAYS = {"time", "level", "logger", "message"}


def events(errors):
    """Every line must be an object; those that are events, in their order."""
    lines = [json.loads(line) for line in errors.splitlines()]
    assert all(line.keys() >= ALWAYS for line in lines)
    return [line for line in lines if "event" in line]


@pytest.mark.smtpd(rcpt={"bob@example.org": "550 5.1.1 no such user", "eve@example.org": "450 4.7.1 greylisted"})
@pytest.mark.parametrize("asked", ["flag", "variable"])
async def test_every_line_is_an_object_and_every_attempt_one_event(outbox, execute, asked):
    for to, secret in (("ada@example.org, bob@example.org", "s3cret"), ("eve@example.org", "s3cret")):
        statement = "INSERT INTO email_outbox (to_addrs, subject, body_text) VALUES (:to, :text, :text)"
        await execute(statement, {"to": to, "text": secret})
    arguments = ["--log-format", "json"] if asked == "flag" else []
    variables = {} if arguments else {"OUTBOX_LOG_FORMAT": "json"}
    daemon = await outbox("run", "--drain", *arguments, **variables)
    code, errors = await daemon.ended()
    assert (code, "s3cret" in errors) == (0, False)
    found = events(errors)
    assert [event["event"] for event in found if event["event"] != "attempt"] == ["poller_started", "poller_stopped"]
    first, second = sorted((e for e in found if e["event"] == "attempt"), key=lambda event: event["email"])
    assert set(first) == set(second) == ALWAYS | {"event", *FIELDS} - {"pause_seconds"}
    assert (first["status"], second["status"], second["attempt"]) == ("partial", "pending", 1)
    on_record = await execute("SELECT recipient, outcome, code, enhanced FROM email_attempt ORDER BY outbox_id, id")
    told = [one for event in (first, second) for one in event["recipients"]]
    assert [(r["recipient"], r["outcome"], r["code"], r["enhanced"]) for r in told] == [tuple(r) for r in on_record]
    assert second["next_attempt_in"] > 0
    assert 0 < first["smtp_seconds"] <= first["seconds"] <= first["since_due"]
    assert {first["poller"]} == {event["poller"] for event in found}


GUARD = {"limit": "1/hour", "per": "recipient"}
FLOOD = {action: {"OUTBOX_FLOOD_GUARD": json.dumps(GUARD | {"action": action})} for action in ("hold", "drop")}
SAID = "flood guard: r0@example.org has had 1/hour already"


@pytest.mark.parametrize(
    ("settings", "sent", "status", "reason"),
    [
        (FLOOD["hold"], 1, "pending", SAID),
        (FLOOD["drop"], 1, "failed", f"dropped: {SAID}"),
        ({"OUTBOX_ALLOW_RECIPIENTS": "*@example.com"}, 0, "pending", "r0@example.org is not in allow_recipients"),
    ],
)
@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_what_is_held_or_dropped_is_an_event_and_has_no_next_attempt(
    outbox, fill, log_format, settings, sent, status, reason
):
    for _ in range(1 + sent):
        await fill(1)  # to the same recipient
    _, errors = await (await outbox("run", "--drain", "--log-format", log_format, **settings)).ended()
    if log_format == "text":
        assert f": {status}{', held' if status == 'pending' else ''} ({reason}" in errors
        return
    told = [event for event in events(errors) if event["event"] == "attempt"]
    [other] = [event for event in told if event["status"] != "sent"]
    assert len(told) == 1 + sent
    assert (other["status"], other["counted"], other["next_attempt_in"]) == (status, False, None)
    assert other["reason"].startswith(reason)


async def test_a_pause_is_an_event_and_one_by_hand_has_no_end(outbox, fill):
    await fill(1)
    assert (await (await outbox("pause")).ended())[0] == 0
    code, errors = await (await outbox("run", "--drain", "--log-format", "json")).ended()
    assert code == 1
    [paused] = [event for event in events(errors) if event["event"] == "transport_paused"]
    assert (paused["transport"], paused["pause_seconds"]) == ("default", None)
    assert paused["reason"].startswith("paused by hand since")


async def test_what_ends_the_daemon_is_an_object_too(outbox, execute, database):
    async def last(*arguments, **environment):
        code, errors = await (await outbox("run", *arguments, "--log-format", "json", **environment)).ended()
        told = [json.loads(line) for line in errors.splitlines()][-1]
        assert (told["level"], told["logger"]) == ("error", "outbox.command")
        return code, told["message"]

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, message = await last("--metrics-port", str(port))
    assert (code, message.startswith(f"metrics_port: 127.0.0.1:{port} cannot be listened on")) == (2, True)
    await execute("UPDATE outbox_alembic_version SET version_num = '0001'")
    code, message = await last("--drain")
    assert (code, message.endswith("run `outbox migrate`")) == (2, True)


async def test_undecodable_bytes_are_no_reason_for_a_line_that_readers_refuse(
    outbox, sqlite_database, execute, database
):
    if database != sqlite_database:
        return
    statement = (
        "INSERT INTO email_outbox (to_addrs, body_text, tag) VALUES ('ada@example.org', 'x', CAST(x'ff' AS TEXT))"
    )
    await execute(statement)
    _, errors = await (await outbox("run", "--drain", "--log-format", "json")).ended()
    [attempt] = [event for event in events(errors) if event["event"] == "attempt"]
    assert attempt["tag"] == "\ufffd"


def line(message, *arguments, **fields):
    """What the formatter makes of one call."""
    return JsonFormatter().format(logging.makeLogRecord({"msg": message, "args": arguments, **fields}))


def test_a_line_stays_one_line_and_tells_no_field_that_is_not_in_the_table():
    said = line("two\nlines of %s", "\udcff", event="attempt", body_text="s3cret")
    assert "\n" not in said
    assert json.loads(said)["event"] == "attempt"
    assert json.loads(said)["message"] == "two\nlines of \ufffd"
    assert "s3cret" not in said


def test_an_internal_error_comes_with_its_traceback():
    error = ValueError("broken")
    record = logging.LogRecord("outbox", logging.ERROR, "", 0, "x", (), (ValueError, error, error.__traceback__))
    assert "ValueError: broken" in json.loads(JsonFormatter().format(record))["exception"]


def test_the_table_names_every_field_that_an_event_can_have():
    text = TABLE.read_text(encoding="utf-8").split("| field |")[1]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [name for name in FIELDS if name != "event"]
