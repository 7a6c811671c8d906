"""The headers of one-click unsubscribing."""

import pytest

from outbox import Email, unsubscribe

URL = "https://example.org/u?list=news&who=5f2a"
POST = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({"url": URL}, {"List-Unsubscribe": f"<{URL}>", **POST}),
        ({"mailto": "stop@example.org"}, {"List-Unsubscribe": "<mailto:stop@example.org>"}),
        (
            {"url": URL, "mailto": "mailto:stop@example.org?subject=5f2a"},
            {"List-Unsubscribe": f"<{URL}>, <mailto:stop@example.org?subject=5f2a>", **POST},
        ),
        ({"mailto": "Stop <a%b?c@example.org>"}, {"List-Unsubscribe": "<mailto:a%25b%3Fc@example.org>"}),
    ],
)
def test_both_headers_are_there_where_a_click_is_enough(arguments, headers):
    assert unsubscribe(**arguments) == headers
    assert Email(to="ada@example.org", subject="News", text="…", headers=unsubscribe(**arguments)).headers == headers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "url: give an https URL, or mailto, or both"),
        ({"url": "http://example.org/u"}, "url must be an https URL"),
        ({"url": "https:///u"}, "url must be an https URL"),
        ({"url": "https://[::1/u"}, "url must be an https URL"),
        ({"url": "/u"}, "url must be an https URL"),
        ({"url": "https://example.org/a b"}, "url must be printable ASCII"),
        ({"url": "https://example.org/ü"}, "url must be printable ASCII"),
        ({"url": "https://example.org/>,<x:"}, "url must be printable ASCII"),
        ({"url": "https://example.org/\r\nX: y"}, "url must be printable ASCII"),
        (
            {"url": "https://example.org/" + "x" * 1000},
            "url: header 'List-Unsubscribe' has an entry of 1022 characters",
        ),
        ({"mailto": "nobody"}, "mailto: "),
        ({"mailto": "a@b.example, c@d.example"}, "mailto: "),
        ({"mailto": "mailto:a b"}, "mailto must be printable ASCII"),
        ({"mailto": "mailto:"}, "mailto must name an address, not 'mailto:'"),
    ],
)
def test_a_mistake_is_named_at_once(arguments, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        unsubscribe(**arguments)
