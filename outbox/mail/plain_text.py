"""The text of an email that has only HTML, for readers that show no HTML."""

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from outbox.core.errors import ContentError
from outbox.core.text import clean_text

if TYPE_CHECKING:
    from inscriptis.model.config import ParserConfig

_XML_DECLARATION = re.compile(r"<\?xml[^<>]*>", re.IGNORECASE)
_TARGET = re.compile(r" <(?:mailto:|tel:)?([^<>\s]+)>")
_BLANK_LINES = re.compile(r"\n{3,}")
_HIDDEN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|(?:max-height|opacity)\s*:\s*0(?:px|em|%)?)\s*(?:!|;|$)",
    re.IGNORECASE,
)
_INVISIBLE = str.maketrans("", "", "\u00ad\u034f\u200b\u2060\ufeff")
"""Characters without width that fill up a preview. Not the joiners: words of many languages need them."""

_RULE = "-" * 40


def text_of_html(html: str) -> str:
    """Readable text of `html`: layout kept, each link followed by its target in `<…>`, each image as its `[alt]`.

    What is hidden (a preheader) is left out, and tables that only lay out (`role="presentation"`) are no tables.
    Raises ContentError.
    """
    # It brings lxml: only emails without a text pay for it.
    from inscriptis.html_engine import Inscriptis

    try:
        tree = _tree(html)
        if tree is None:
            return ""
        text = Inscriptis(tree, _config()).get_text()
    except MemoryError:  # told by whoever has set the bound
        raise
    except Exception as error:  # whatever the library does not expect of HTML, no retry mends
        said = clean_text(f"{type(error).__name__}: {error}", 120)
        raise ContentError(f"HTML: no text can be derived from it ({said}); give a text as well") from error
    text = _TARGET.sub(_unless_said, text.translate(_INVISIBLE))
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip("\n")


@cache
def _config() -> "ParserConfig":
    """As browsers show it: the other profile of the library indents each `<div>`."""
    from inscriptis.css_profiles import STRICT_CSS_PROFILE
    from inscriptis.html_properties import Display
    from inscriptis.model.config import ParserConfig
    from inscriptis.model.html_element import HtmlElement
    from inscriptis.model.tag import CustomHtmlTagHandlerMapping

    rule = HtmlElement(display=Display.block, margin_before=1, margin_after=1)
    handlers = CustomHtmlTagHandlerMapping(
        start_tag_mapping={"a": _open_link, "img": _image, "hr": _rule}, end_tag_mapping={"a": _close_link}
    )
    return ParserConfig(
        {**STRICT_CSS_PROFILE, "hr": rule}, display_links=True, custom_html_tag_handler_mapping=handlers
    )


def _tree(html: str) -> Any:
    """The elements that a reader sees; None where there are none."""
    from lxml.etree import ParserError
    from lxml.html import document_fromstring

    html = _XML_DECLARATION.sub("", html).strip()
    if not html:
        return None
    try:
        tree = document_fromstring(html)
    except ParserError:  # nothing but comments, for one
        return None
    for element in list(tree.iter("*")):
        if element.getparent() is not None and _is_hidden(element.attrib):
            element.drop_tree()
        elif element.tag == "table" and element.get("role", "").lower() in {"presentation", "none"}:
            _lay_out(element)
    return tree


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    return "hidden" in attributes or bool(_HIDDEN.search(attributes.get("style", "")))


def _lay_out(table: Any) -> None:
    """Make blocks of its cells: only their order says something."""
    table.tag = "div"
    for part in table.iter("tbody", "tr", "td", "th"):
        ancestors = part.iterancestors("table", "div")
        if next(above for above in ancestors if above is table or above.tag == "table") is table:
            part.tag = "div"


def _unless_said(target: re.Match[str]) -> str:
    """The target of a link, where the words before it are not the target already."""
    return "" if target.string.endswith(target[1], 0, target.start()) else target[0]


def _open_link(state: Any, attributes: Mapping[str, str]) -> None:
    target = attributes.get("href", "").strip()
    state.link_target = "" if target.startswith("#") else target


def _close_link(state: Any) -> None:
    if state.link_target:
        state.tags[-1].write(f" <{state.link_target}>")
        state.link_target = ""


def _image(state: Any, attributes: Mapping[str, str]) -> None:
    if alternative := " ".join(attributes.get("alt", "").split()):
        state.tags[-1].write(f"[{alternative}]")


def _rule(state: Any, _attributes: Mapping[str, str]) -> None:
    state.tags[-1].write(_RULE)
