"""CSS on the elements themselves: many readers of email throw `<style>` away."""

import re
from functools import cache
from typing import TYPE_CHECKING

from outbox.core.errors import ContentError
from outbox.core.text import clean_text

if TYPE_CHECKING:
    from css_inline import CSSInliner

MOST_TAGS = 250_000
"""An element takes 400 bytes in the library, which ends the process where there is no more memory."""

_STYLE = re.compile(r"<style[\s>]", re.IGNORECASE)


def with_inline_styles(file: str, html: str) -> str:
    """`html` with the rules of its `<style>` elements on the elements they are for.

    What cannot be there stays in `<style>`: media queries, `:hover`, fonts. HTML without `<style>` is left as it is.
    Raises ContentError, which names `file`.
    """
    if not _STYLE.search(html):
        return html
    if (tags := html.count("<")) > MOST_TAGS:
        raise ContentError(f"{file}: it has {tags} tags; CSS can be inlined in HTML of up to {MOST_TAGS}")
    try:
        return _inliner().inline(html)
    except ValueError as error:
        raise ContentError(f"{file}: its CSS cannot be inlined ({clean_text(str(error), 160)})") from error


@cache
def _inliner() -> "CSSInliner":
    from css_inline import CSSInliner

    return CSSInliner(
        keep_style_tags=True,
        remove_inlined_selectors=True,
        keep_link_tags=True,  # not followed, since nothing is loaded, and left to the reader
        load_remote_stylesheets=False,
    )
