"""Tables in terminals of every width: nobody has to put addresses together again from slivers."""

import pytest
from rich.cells import cell_len

ADA = "Ada Lovelace <ada.lovelace@example.org>"
ERROR = "grace@example.org: 450 4.7.1 greylisted, please come back later, see https://example.org/greylisting?id=12345"


@pytest.fixture
def shown(outbox, outbox_db, sql, monkeypatch):
    """The lines of a command in a terminal of this width."""
    insert = "INSERT INTO email_outbox (to_addrs, subject, body_text, last_error) VALUES (?, ?, 'x', ?)"
    sql(insert, "grace@example.org", "Grüße 日本語 [bold]", ERROR)
    sql(insert, f"{ADA}, bob@example.org", "Your order A-1001 has been shipped by the fastest of our ships", None)
    sql(
        "INSERT INTO email_attempt (outbox_id, attempt, recipient, outcome, code, reply, transport) "
        "VALUES (1, 1, 'grace@example.org', 'deferred', 450, ?, 'default')",
        ERROR.partition("450 ")[2],
    )

    def shown(width: int, *args: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        answer = outbox(*args)
        assert (answer.code, answer.err) == (0, "")
        return str(answer.out).splitlines()

    return shown


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_list_keeps_to_the_width_and_its_addresses_whole(shown, width):
    lines = shown(width, "list")
    assert max(map(cell_len, lines)) <= width
    assert sum("grace@example.org  " in line for line in lines) == 1
    assert sum("Ada Lovelace <ada.love" in line for line in lines) == 1
    assert " ".join(" ".join(lines).split()).count(ERROR) == 1, "the error stands below, folded between words only"
    assert any("Your order A-" in line for line in lines) is (width > 60)


def test_a_wide_list_shows_everything_in_one_line_each(shown):
    head, _, ada, grace = shown(300, "list")
    assert head.split() == ["id", "status", "to", "subject", "tries", "when", "(UTC)", "last", "error"]
    assert f"{ADA}, bob@example.org" in ada
    assert "Your order A-1001 has been shipped by the fastest of our ships" in ada
    assert grace.endswith(ERROR)


def test_nothing_is_cut_where_there_is_no_terminal(shell, shown, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    lines = shell("list").out.splitlines()
    assert len(lines) == 4
    assert lines[3].endswith(ERROR)
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_replies_and_reasons_are_shown_whole(shown, sql, width):
    sql("INSERT INTO email_transport (name, paused_until, reason) VALUES ('default', '2999-01-31 12:00:00', ?)", ERROR)
    reply = ERROR.partition(": ")[2]
    lines = shown(width, "show", "1")
    table = lines[next(number for number, line in enumerate(lines) if line.startswith("attempt  ")) :]
    assert reply in " ".join(" ".join(table).split())
    assert "grace@example.org" in table[2]
    assert ERROR in " ".join(" ".join(shown(width, "status")).split())
