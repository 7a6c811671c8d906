"""The content of a sensitive email: gone in the write that ends it, whatever its end, and never seen anywhere else."""

import json
import os

import pytest

from outbox import Attachment, Email, enqueue
from tests.fixtures.processes import cold

SECRET = "hush-4711"
FILE = SECRET.encode() * 1000
DOTS = {"spam@example.org": f"554 5.7.1 spam found: {SECRET}", "later@example.org": f"451 4.7.1 {SECRET}?"}
BUG = """
import sys
if "outbox.mail.child_main" in sys.orig_argv:
    from outbox.mail import compose
    def text_field(name, text):
        raise RuntimeError(text)
    compose.text_field = text_field
"""
RECIPIENTS = {"nobody@example.org": "550 5.1.1 no such user", "grey@example.org": "450 4.2.0 greylisted"}


@pytest.fixture
def put(engine):
    """Insert a sensitive email; its id."""

    async def put(to="ada@example.org", *, files=True, **columns):
        content = {} if "template" in columns else {"text": SECRET, "html": SECRET}
        attachments = [Attachment("a.txt", FILE), Attachment("b.txt", SECRET.encode())] if files else []
        email = Email(to=to, subject="Code", attachments=attachments, sensitive=True, **{**content, **columns})
        async with engine.begin() as connection:
            [id] = await enqueue(connection, email)
        return id

    return put


@pytest.fixture
def templates(tmp_path):
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "broken.subject.txt").write_text("Code")
    (folder / "broken.txt").write_text("{{ code | int(base=99) }} {{ code.x.y }} {% include code %}")
    return str(folder)


async def stored(execute):
    """Everything in the database that could hold the secret, as text."""
    rows = await execute("SELECT body_text, body_html, context, last_error FROM email_outbox")
    attempts = await execute("SELECT reply FROM email_attempt")
    files = await execute("SELECT content, blob_id FROM email_attachment")
    blobs = await execute("SELECT content FROM email_blob")
    return str([tuple(row) for row in (*rows, *attempts, *files, *blobs)])


@pytest.mark.timeout(180)
async def test_nothing_is_left_of_it_whatever_its_end_and_nothing_is_said_of_it(outbox, put, execute, smtpd, templates):
    smtpd.faults = {"rcpt": RECIPIENTS, "dot": DOTS.get}
    ids = {
        "sent": await put(),
        "refused": await put("nobody@example.org"),
        "partial": await put("ada@example.org, nobody@example.org"),
        "spam": await put(sender="spam@example.org"),
        "gave up": await put(sender="later@example.org", max_attempts=1),
        "broken": await put(template="broken", context={"code": SECRET}),
        "bad address": await put(template="broken", context={"code": SECRET}, sender="x@example.org"),
    }
    said = []
    code, errors = await (await outbox("run", "--drain", "--log-level", "debug", OUTBOX_TEMPLATES=templates)).ended()
    said.append(errors)
    assert code == 0
    rows = {r.id: r for r in await execute("SELECT id, status, erased, last_error FROM email_outbox")}
    ends = {name: rows[id].status for name, id in ids.items()}
    assert ends == {
        "sent": "sent", "refused": "failed", "partial": "partial", "spam": "failed", "gave up": "failed",
        "broken": "failed", "bad address": "failed",
    }  # fmt: skip
    assert all(row.erased for row in rows.values())
    assert SECRET not in await stored(execute)
    assert await execute("SELECT id FROM email_attachment") == await execute("SELECT id FROM email_blob") == []
    assert rows[ids["refused"]].last_error == "nobody@example.org: 550 5.1.1 no such user", "nothing was shown yet"
    assert "554 5.7.1 (words withheld: the email is sensitive)" in rows[ids["spam"]].last_error
    assert "what is wrong is withheld" in rows[ids["broken"]].last_error
    for id in (ids["sent"], ids["spam"], ids["broken"]):
        for arguments in (["show", str(id)], ["show", str(id), "--json"]):
            process = await outbox(*arguments)
            out, err = await process.process.communicate()
            said += [out.decode(), err.decode()]
    out, _ = await (await outbox("list", "--json")).process.communicate()
    said.append(out.decode())
    assert len(json.loads(said[-1])) == len(ids)
    assert SECRET not in "".join(said)


@pytest.mark.timeout(180)
async def test_an_email_in_doubt_cancelled_or_expired_has_no_content_either(outbox, put, execute, smtpd):
    smtpd.faults = {"dot": "drop"}
    doubt = await put(on_doubt="hold")
    await (await outbox("run", "--drain")).ended()
    smtpd.faults = {}
    cancelled = await put()
    await (await outbox("cancel", str(cancelled))).ended()
    expired = await put()
    await execute("UPDATE email_outbox SET expires_at = created_at WHERE id = :id", {"id": expired})
    await (await outbox("run", "--drain")).ended()
    rows = {r.id: (r.status, bool(r.erased)) for r in await execute("SELECT id, status, erased FROM email_outbox")}
    assert rows == {doubt: ("in_doubt", True), cancelled: ("cancelled", True), expired: ("expired", True)}
    assert SECRET not in await stored(execute)
    resolved = await outbox("resolve", str(doubt), "--resend")
    assert (await resolved.ended())[0] == 1
    assert (await (await outbox("resolve", str(doubt), "--sent")).ended())[0] == 0
    assert SECRET not in await stored(execute)


async def test_what_others_share_with_it_stays_and_what_waits_keeps_its_content(outbox, put, engine, execute, smtpd):
    smtpd.faults = {"rcpt": RECIPIENTS}
    await put()
    waiting = await put("grey@example.org")
    async with engine.begin() as connection:
        files = [Attachment("a.txt", FILE)]
        [other] = await enqueue(connection, Email(to="grey@example.org", subject="x", text="x", attachments=files))
    await (await outbox("run", "--drain")).ended()
    users = await execute("SELECT outbox_id FROM email_attachment WHERE blob_id IS NOT NULL ORDER BY outbox_id")
    assert [row.outbox_id for row in users] == [waiting, other]
    [row] = await execute("SELECT body_text, erased FROM email_outbox WHERE id = :id", {"id": waiting})
    assert (row.body_text, bool(row.erased)) == (SECRET, False)


@pytest.mark.parametrize("reply", ["451 4.7.1 too fast: {}", "550 5.4.5 Daily sending quota exceeded: {}"])
async def test_what_pauses_a_transport_tells_no_word_of_a_server_that_has_seen_it(outbox, put, execute, smtpd, reply):
    smtpd.faults = {"dot": reply.format(SECRET)}
    id = await put(files=False)
    _, errors = await (await outbox("run", "--drain", "--log-level", "debug")).ended()
    said = [errors, str(await execute("SELECT last_error FROM email_outbox"))]
    [transport] = await execute("SELECT reason FROM email_transport")
    assert transport.reason.endswith(f"final dot: {reply[:9]} (words withheld: the email is sensitive)")
    for arguments in (["status"], ["status", "--json"], ["show", str(id)], ["list"]):
        out, _ = await (await outbox(*arguments)).process.communicate()
        said.append(out.decode())
    assert SECRET not in "".join(said)


@pytest.mark.parametrize("launch", [cold])
@pytest.mark.parametrize("sensitive", [True, False])
async def test_a_bug_in_the_process_that_composes_is_told_without_a_word_of_it(
    outbox, engine, execute, smtpd, tmp_path, sensitive
):
    (tmp_path / "sitecustomize.py").write_text(BUG)
    (tmp_path / "hi.txt").write_text("Hi")
    (tmp_path / "hi.subject.txt").write_text("é {{ code }}")
    email = {"template": "hi", "context": {"code": SECRET}, "sensitive": sensitive, "max_attempts": 1}
    async with engine.begin() as connection:
        await enqueue(connection, Email(to="ada@example.org", **email))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = await outbox("run", "--drain", "--log-format", "json", PYTHONPATH=path, OUTBOX_TEMPLATES=str(tmp_path))
    _, errors = await process.ended()
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [SECRET in line["exception"] for line in lines if "exception" in line] == [True] * (not sensitive)
    [row] = await execute("SELECT status, last_error FROM email_outbox")
    assert row.status == "failed"
    assert "internal error, please report it: RuntimeError" in row.last_error
    assert (SECRET in errors, SECRET in row.last_error) == (not sensitive, not sensitive)
