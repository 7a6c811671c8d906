"""Whom a row is for."""

import pytest

from outbox.core.errors import ContentError
from outbox.core.outcome import Kind
from outbox.mail.addressees import addressees
from tests.mail.rows import claimed


def test_everyone_is_listed_once_in_order_of_to_cc_and_bcc():
    to = addressees(claimed(to_addrs="B <b@x.org>, a@x.org", cc_addrs="a@X.org, c@x.org", bcc_addrs="d@x.org,b@x.org"))
    assert to.everyone == ("b@x.org", "a@x.org", "c@x.org", "d@x.org")
    assert [mailbox.address for mailbox in to.bcc] == ["d@x.org", "b@x.org"]
    assert to.bad == {}


def test_a_bad_entry_is_refused_and_spoils_no_other():
    to = addressees(claimed(to_addrs="ada@example.org, nonsense, bob@example.org"))
    assert to.everyone == ("ada@example.org", "bob@example.org", "nonsense")
    assert [mailbox.local for mailbox in to.to] == ["ada", "bob"]
    assert to.bad["nonsense"].kind is Kind.REFUSED
    assert "'nonsense' is not an address" in to.bad["nonsense"].note


@pytest.mark.parametrize("nobody", ["", " ", ",", " , ,"])
def test_a_row_for_nobody_is_refused(nobody):
    with pytest.raises(ContentError, match="no recipient"):
        addressees(claimed(to_addrs=nobody, cc_addrs=nobody))


def test_only_hidden_recipients_are_fine():
    assert addressees(claimed(to_addrs="", bcc_addrs="ada@example.org")).everyone == ("ada@example.org",)


def test_bytes_where_text_belongs_are_refused_and_named():
    with pytest.raises(ContentError, match="cc_addrs: it holds bytes where text is expected"):
        addressees(claimed(cc_addrs=b"ada@example.org"))
