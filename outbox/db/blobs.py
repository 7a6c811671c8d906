"""Attached bytes that many emails share are stored once. Sharing never makes a transaction wait for another one."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, event, func, select
from sqlalchemy.orm import Mapper, object_session

from outbox.db.conflict import conflict_insert
from outbox.db.models import Attachment, Blob

SHARED_FROM = 4096
"""Bytes from which on a file is shared. A smaller one is read with its row; a blob would cost it more than it saves."""

GROUP = 8 << 20
"""Bytes of files that are sent to the database in one statement, unless one is larger."""

_LOOKED_UP = 1000
"""Digests in one query."""

_LOCK, _BUCKETS = 0x6F626C62, 64
"""PostgreSQL's advisory locks of whoever inserts a blob: few, since all sessions together can hold some thousand."""


def share(connection: Connection, contents: Collection[bytes]) -> dict[bytes, int]:
    """The ids of the blobs that hold `contents`, which are inserted where there are none yet. What is missing in the
    answer has to be stored in its attachment: it is small, or another transaction is just about to insert or delete it.

    The blobs found are safe from deletion until the transaction ends.
    """
    digests = {content: hashlib.sha256(content).hexdigest() for content in contents if len(content) >= SHARED_FROM}
    if not digests:
        return {}
    by_digest = {digest: content for content, digest in digests.items()}
    found = _known(connection, sorted(by_digest))
    missing = _ours_to_insert(connection, sorted(by_digest.keys() - found.keys()))
    new = conflict_insert(Blob, connection.dialect.name).on_conflict_do_nothing().returning(Blob.sha256, Blob.id)
    for group in _groups([{"sha256": digest, "content": by_digest[digest]} for digest in missing]):
        found.update((row.sha256, row.id) for row in connection.execute(new, group))
    return {content: found[digest] for content, digest in digests.items() if digest in found}


def _known(connection: Connection, digests: Sequence[str], *, kept: bool = True) -> dict[str, int]:
    """Those that are there. `kept`: whoever deletes the last other user leaves them alone (KEY SHARE), and those that
    somebody deletes already are left out."""
    found: dict[str, int] = {}
    for start in range(0, len(digests), _LOOKED_UP):
        known = select(Blob.sha256, Blob.id).where(Blob.sha256.in_(digests[start : start + _LOOKED_UP]))
        if kept:
            known = known.with_for_update(read=True, key_share=True, skip_locked=True)
        found.update((row.sha256, row.id) for row in connection.execute(known))
    return found


def _ours_to_insert(connection: Connection, digests: Sequence[str]) -> Sequence[str]:
    """Those that nobody else is inserting or deleting: on a conflict PostgreSQL would wait until that transaction ends,
    and two that insert in different orders would wait for each other. On SQLite only one transaction writes."""
    if not digests or connection.dialect.name == "sqlite":
        return digests
    buckets = sorted({_bucket(digest) for digest in digests})
    locks = (func.pg_try_advisory_xact_lock(_LOCK, bucket) for bucket in buckets)
    taken = dict(zip(buckets, connection.execute(select(*locks)).one(), strict=True))
    ours = [digest for digest in digests if taken[_bucket(digest)]]
    there = _known(connection, ours, kept=False)  # to be deleted, or come just now; nobody else can insert any more
    return [digest for digest in ours if digest not in there]


def _bucket(digest: str) -> int:
    return int(digest[:4], 16) % _BUCKETS


def _groups(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if group and size + len(row["content"]) > GROUP:
            yield group
            group, size = [], 0
        group.append(row)
        size += len(row["content"])
    if group:
        yield group


@event.listens_for(Attachment, "before_insert")
def _share_all(mapper: Mapper[Attachment], connection: Connection, file: Attachment) -> None:  # noqa: ARG001  # the signature is the library's
    """For files that are inserted by a session: all of its new ones when the first is, since the others follow."""
    session = object_session(file)
    if session and not file.placed:
        new = [one for one in session.new if isinstance(one, Attachment)]
        ids = share(connection, {one.content for one in new})
        for one in new:
            # What it was given it remembers: after a rollback it may be inserted once more, into another blob.
            blob = ids.get(one.content)
            one.blob_id, one.inline, one.placed = blob, None if blob else one.content, True
    file.placed = False  # should it ever be inserted again
