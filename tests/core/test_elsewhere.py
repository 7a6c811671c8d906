"""Who gets email where this is not production."""

import pytest

from outbox.core.address import Mailbox
from outbox.core.elsewhere import Elsewhere, parse_pattern
from outbox.core.errors import AddressError, SettingsError
from outbox.core.outcome import Kind, Outcome
from outbox.core.reply import Reply
from outbox.settings import Settings

TEAM = Mailbox("Team", "team", "example.org")


def allowing(*patterns):
    return Elsewhere(allowed=tuple(map(parse_pattern, patterns)))


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("*@example.org", ["ada@example.org", "ADA+x@example.org"], ["ada@example.org.evil", "ada@sub.example.org"]),
        ("*@*.example.org", ["ada@sub.example.org", "a@b.c.example.org"], ["ada@example.org", "ada@notexample.org"]),
        ("Ada@Other.ORG", ["ada@other.org", "ADA@other.org"], ["ada2@other.org", "x.ada@other.org", "ada@otherxorg"]),
        ("test+*@example.org", ["test+1@example.org", "Test+@example.org"], ["test@example.org", "tes+t@example.org"]),
        ("*@Bücher.example", ["a@xn--bcher-kva.example"], ["a@bcher.example"]),
        ("josé@example.org", ["josé@example.org", "JOSÉ@example.org"], ["jose@example.org"]),
        ("gross@example.org", ["GROSS@example.org"], ["groß@example.org"]),
        ("*@example.org", ['"a@b.example"@example.org'], ['"a@example.org"@b.example']),
    ],
)
def test_a_pattern_fits_whole_addresses_in_any_case(pattern, fits, others):
    rule = allowing(pattern)
    assert [address for address in [*fits, *others] if rule.allows(address)] == fits


@pytest.mark.parametrize(
    "text",
    ["", "*", "example.org", "@example.org", "*@", "*@*", "*@exa*mple.org", "Ada <ada@example.org>", "a@b.org,c@d.org"],
)
def test_what_is_no_pattern_is_named(text):
    with pytest.raises(AddressError, match="is no pattern; write it like"):
        parse_pattern(text)


def test_one_recipient_outside_is_an_objection_that_says_what_to_do():
    rule = allowing("*@example.org")
    assert rule.objection(["ada@example.org"]) is None
    assert rule.objection([]) is None
    said = rule.objection(["ada@example.org", "bob@other.org"])
    assert said == "bob@other.org is not in allow_recipients; add it there and restart the daemon before a release"
    said = rule.objection(["bob@other.org", "c@other.org", "ada@example.org", "d@other.org"])
    assert str(said).startswith("bob@other.org is not in allow_recipients (nor are 2 more);")


def test_in_production_nothing_is_said_or_changed():
    outcomes = {"ada@example.org": Outcome(Kind.ACCEPTED)}
    assert Elsewhere().objection(["ada@example.org"]) is None
    assert Elsewhere().told(outcomes, ["ada@example.org"]) is outcomes
    assert [*Elsewhere().warnings()] == []


def test_the_outcome_of_the_target_is_that_of_all_and_says_so():
    outcome = Outcome(Kind.REFUSED, Reply(550, "5.1.1 no"), "why")
    told = Elsewhere(TEAM).told({"team@example.org": outcome}, ["ada@example.org", "bob@example.org"])
    assert list(told) == ["ada@example.org", "bob@example.org"]
    assert {str(one) for one in told.values()} == {"550 5.1.1 no — why — redirected to team@example.org"}
    assert Elsewhere(TEAM).told({}, ["ada@example.org"]) == {}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REDIRECT_TO", "team", "OUTBOX_REDIRECT_TO: "),
        ("ALLOW_RECIPIENTS", "example.org", "OUTBOX_ALLOW_RECIPIENTS: 'example.org' is no pattern"),
        ("ALLOW_RECIPIENTS", ",", "OUTBOX_ALLOW_RECIPIENTS: allows nobody; leave it out"),
        ("REDIRECT_TO", "", "OUTBOX_REDIRECT_TO is empty"),
        ("ALLOW_RECIPIENTS", "", "OUTBOX_ALLOW_RECIPIENTS is empty"),
    ],
)
def test_a_setting_that_is_wrong_is_named(monkeypatch, name, value, said):
    monkeypatch.setenv(f"OUTBOX_{name}", value)
    with pytest.raises(SettingsError, match=said):
        Settings.load()


def test_an_empty_variable_is_refused_in_any_case_since_it_is_read_in_any(monkeypatch):
    monkeypatch.setenv("OUTBOX_REDIRECT_TO", "team@example.org")
    monkeypatch.setenv("outbox_redirect_to", "")  # the last one counts
    with pytest.raises(SettingsError, match=r"^OUTBOX_REDIRECT_TO is empty"):
        Settings.load()


def test_who_gets_everything_must_be_allowed(monkeypatch):
    monkeypatch.setenv("OUTBOX_REDIRECT_TO", "team@example.org")
    monkeypatch.setenv("OUTBOX_ALLOW_RECIPIENTS", "*@other.org")
    with pytest.raises(
        SettingsError, match=r"^redirect_to: team@example\.org is not in allow_recipients; add it there$"
    ):
        Settings.load()
    monkeypatch.setenv("OUTBOX_ALLOW_RECIPIENTS", "*@other.org,*@Example.org")
    assert Settings.load().elsewhere == Elsewhere(Mailbox("", "team", "example.org"), ("*@other.org", "*@example.org"))
