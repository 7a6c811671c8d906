"""Large content does not come with a claim, and what is too large is never loaded."""

import json

import pytest

from outbox.core.claim import INLINE
from outbox.core.errors import ContentError
from tests.db.rows import claim, insert

LONG = "é" * INLINE


async def test_large_content_is_loaded_when_it_is_needed(store, execute):
    context = json.dumps({"a": LONG})
    await insert(execute, body_text=LONG, body_html="<p>", context=context)
    [row] = await claim(store)
    assert (row.body_text, row.body_html, row.context) == (None, "<p>", None)
    assert row.size == len(LONG.encode()) + len("<p>") + len(context)
    whole = await store.whole(row, most=row.size)
    assert (whole.body_text, whole.body_html, whole.context) == (LONG, "<p>", context)
    with pytest.raises(ContentError, match=f"its content has {row.size} bytes, more than max_message_size allows"):
        await store.whole(row, most=row.size - 1)


async def test_usual_content_comes_with_the_claim(store, execute):
    await insert(execute, body_text="é", context='{"a": 1}')
    [row] = await claim(store)
    assert (row.body_text, row.context, row.size) == ("é", '{"a": 1}', 10)
    assert await store.whole(row, most=0) is row


async def test_files_that_are_too_large_are_not_loaded(store, execute):
    id_ = await insert(execute)
    for _ in range(2):
        await execute(
            "INSERT INTO email_attachment (outbox_id, filename, content) VALUES (:id, 'a', :content)",
            {"id": id_, "content": b"x" * 1000},
        )
    assert await store.size_of_attachments(id_, most=2000) == 2000
    with pytest.raises(ContentError, match="its content has 2000 bytes, more than max_message_size"):
        await store.size_of_attachments(id_, most=1999)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_nul_does_not_hide_the_size(store, execute):
    await execute("INSERT INTO email_outbox (to_addrs, body_text) VALUES ('a@b.c', char(0) || :long)", {"long": LONG})
    [row] = await claim(store)
    assert row.size > INLINE
