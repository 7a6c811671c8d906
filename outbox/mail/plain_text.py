"""The text of an email that has only HTML, for readers that show no HTML."""

import re
from collections.abc import Mapping
from typing import Any

from outbox.core.errors import ContentError
from outbox.core.text import clean_text

_XML_DECLARATION = re.compile(r"<\?xml[^<>]*>", re.IGNORECASE)
_TARGET = re.compile(r" <(?:mailto:|tel:)?([^<>\s]+)>")
_BLANK_LINES = re.compile(r"\n{3,}")


def text_of_html(html: str) -> str:
    """Readable text of `html`: layout kept, each link followed by its target in `<…>`. Raises ContentError."""
    from inscriptis import get_text  # it brings lxml: only emails without a text pay for it
    from inscriptis.model.config import ParserConfig
    from inscriptis.model.tag import CustomHtmlTagHandlerMapping

    links = CustomHtmlTagHandlerMapping(start_tag_mapping={"a": _open_link}, end_tag_mapping={"a": _close_link})
    config = ParserConfig(display_links=True, custom_html_tag_handler_mapping=links)
    try:
        text = get_text(_XML_DECLARATION.sub("", html), config)
    except MemoryError:  # told by whoever has set the bound
        raise
    except Exception as error:  # whatever the library does not expect of HTML, no retry mends
        said = clean_text(f"{type(error).__name__}: {error}", 120)
        raise ContentError(f"HTML: no text can be derived from it ({said}); give a text as well") from error
    lines = "\n".join(line.rstrip() for line in _TARGET.sub(_unless_said, text).split("\n"))
    return _BLANK_LINES.sub("\n\n", lines).strip("\n")


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
