"""Templates, invitations and headers of unsubscribing, through the daemon as it is run."""

import json
import os
from datetime import UTC, datetime

import pytest

from outbox import Email, enqueue, invitation, unsubscribe

FILES = {
    "_layout.html": '<html lang="{{ locale }}"><head><style>p { color: red } @media (max-width: 9em) { p { top: 0 } }'
    "</style></head><body>{% block body %}{% endblock %}{% include '_footer.html' %}</body></html>",
    "_footer.html": "<i>{{ _('Example Shop') }}</i>",
    "order.html": "{% extends '_layout.html' %}{% block body %}<p>{% trans %}Hello {{ name }}{% endtrans %}, "
    "{{ day|date('long') }}, {{ total|currency('EUR') }}</p>{% endblock %}",
    "order.subject.txt": "{{ _('Your order') }}",
    "order.de-AT.subject.txt": "Deine Bestellung",
    "locale/de/LC_MESSAGES/messages.po": 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    'msgid "Hello %(name)s"\nmsgstr "Grüß Gott %(name)s"\n\nmsgid "Example Shop"\nmsgstr "Laden"\n',
}
CONTEXT = {"name": "<Ada>", "day": "2026-12-03", "total": "1400.50"}


@pytest.fixture
def templates(tmp_path):
    folder = tmp_path / "templates"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def insert(execute):
    """INSERT by plain SQL, as any language would; gives the id."""

    async def run(table, **columns):
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        return (await execute(f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id", columns))[0].id

    return run


def parts(message):
    """What the parts say, by their types."""
    return {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}


async def test_each_email_is_written_in_the_language_of_its_row(outbox, insert, smtpd, templates, execute):
    for locale in (None, "de-AT"):
        await insert(
            "email_outbox", to_addrs="ada@example.org", template="order", context=json.dumps(CONTEXT), locale=locale
        )
    code, errors = await (await outbox("run", "--drain", OUTBOX_TEMPLATES=str(templates))).ended()
    assert (code, await execute("SELECT id FROM email_outbox WHERE status <> 'sent'")) == (0, []), errors
    messages = {received.message["Subject"]: received.message for received in smtpd.messages}
    english, german = parts(messages["Your order"]), parts(messages["Deine Bestellung"])
    assert english["text/plain"].splitlines()[0] == "Hello <Ada>, December 3, 2026, €1,400.50"
    assert german["text/plain"].splitlines()[0] == "Grüß Gott <Ada>, 3. Dezember 2026, € 1.400,50"
    assert '<html lang="de-AT">' in german["text/html"]
    assert '<p style="color: red;">Grüß Gott &lt;Ada&gt;' in german["text/html"]
    assert "@media (max-width: 9em)" in german["text/html"]
    assert "<i>Laden</i>" in german["text/html"]


async def test_what_changes_while_the_daemon_runs_is_in_the_next_email(outbox, insert, smtpd, templates):
    await outbox("run", OUTBOX_TEMPLATES=str(templates))
    columns = {"to_addrs": "ada@example.org", "template": "order", "context": json.dumps(CONTEXT), "locale": "de"}
    await insert("email_outbox", **columns)
    await smtpd.received(1)
    for name, before, after in (
        ("_footer.html", "<i>", "<i>NEW "),
        ("locale/de/LC_MESSAGES/messages.po", "Grüß Gott", "Servus"),
    ):
        (templates / name).write_text(FILES[name].replace(before, after), encoding="utf-8")
        os.utime(templates / name, (1, 1))
    await insert("email_outbox", **columns)
    await smtpd.received(2)
    first, second = (parts(received.message)["text/html"] for received in smtpd.messages)
    assert "Grüß Gott" in first
    assert "Servus" in second
    assert "<i>NEW Laden" in second


async def test_a_broken_template_ends_its_row_with_file_and_line(outbox, insert, execute, templates):
    (templates / "_footer.html").write_text("one\n{{ nothing }}")
    await insert("email_outbox", to_addrs="ada@example.org", template="order", context=json.dumps(CONTEXT))
    code, _ = await (await outbox("run", "--drain", OUTBOX_TEMPLATES=str(templates))).ended()
    assert code == 0
    [row] = await execute("SELECT status, last_error FROM email_outbox")
    assert tuple(row) == ("failed", "_footer.html line 2: 'nothing' is undefined")


async def test_an_invitation_and_the_headers_of_unsubscribing_arrive(outbox, engine, insert, smtpd):
    start, end = (datetime(2026, 12, 3, hour, tzinfo=UTC) for hour in (9, 10))
    invited = invitation(
        uid="7@example.org", start=start, end=end, summary="Visit", organizer="s@example.org", attendees="a@example.org"
    )
    url = "https://example.org/u?who=5f2a"
    async with engine.begin() as connection:
        headers = unsubscribe(url=url)
        email = Email(to="a@example.org", subject="py", text="Come", attachments=[invited], headers=headers)
        await enqueue(connection, email)
    by_sql = await insert("email_outbox", to_addrs="a@example.org", subject="sql", body_text="Come")
    content = b"BEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\nEND:VCALENDAR\r\n"
    kind = "text/calendar; method=CANCEL"
    await insert("email_attachment", outbox_id=by_sql, filename="a.ics", content_type=kind, content=content)
    assert (await (await outbox("run", "--drain")).ended())[0] == 0
    messages = {received.message["Subject"]: received.message for received in smtpd.messages}
    for subject, method in (("py", "REQUEST"), ("sql", "CANCEL")):
        alternative, attached = messages[subject].iter_parts()
        plain, calendar = alternative.iter_parts()
        assert (plain.get_content_type(), calendar.get_content_type()) == ("text/plain", "text/calendar")
        assert calendar["Content-Type"].params["method"] == method
        assert attached.get_content_type() == "application/ics"
        assert attached.get_payload(decode=True) == calendar.get_payload(decode=True)
    assert messages["py"]["List-Unsubscribe"] == f"<{url}>"
    assert messages["py"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert {message["Auto-Submitted"] for message in messages.values()} == {"auto-generated"}
