"""`purge`: delete emails that have ended, or only their content."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import migrated_database, settings_of
from outbox.cli.output import complain
from outbox.cli.progress import work_through
from outbox.core.duration import parse_duration
from outbox.core.errors import INTERRUPTED
from outbox.core.retention import ENDED, Rule
from outbox.core.status import FINAL, Status

if TYPE_CHECKING:
    from datetime import datetime

    from outbox.db.store import Store
    from outbox.settings import Settings

AGE = typer.Option("--older-than", parser=parse_duration, metavar="DURATION", help="Ended so long ago, e.g. 30d.")


def purge(
    context: typer.Context,
    older_than: Annotated[float, AGE],
    content: Annotated[
        bool, typer.Option("--content", help="Erase bodies, context and attachments only; keep the facts.")
    ] = False,
    status: Annotated[
        Status | None, typer.Option(help="Only this status (default: all that have ended, but for in_doubt).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
) -> None:
    """Delete emails that have ended, a few at a time, while mail flows. After Ctrl-C the same command goes on."""
    if status and status not in FINAL:
        raise typer.BadParameter(f"{status} emails have not ended; one of: {', '.join(sorted(FINAL))}", ctx=context)
    rules = [Rule(one, older_than, content) for one in ([status] if status else ENDED)]
    found: Counter[Status] = Counter()
    complete = asyncio.run(_purge(settings_of(context), rules, found, dry_run=dry_run))
    verb = "without content now" if content else "deleted"
    text, its = f"{found.total():,} emails", "their"
    if found.total() == 1:
        text, its = "1 email", "its"
    counts = ", ".join(f"{number:,} {one}" for one, number in found.items() if number)
    if not complete:
        complain(f"interrupted: {text} {verb} so far; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
    if dry_run:
        verb = f"would have {its} content erased" if content else "would be deleted"
    typer.echo(f"{text} {verb}{f' ({counts})' if counts else ''}")


async def _purge(settings: "Settings", rules: Sequence[Rule], found: Counter[Status], *, dry_run: bool) -> bool:
    """Count in `found` what was done, or would be; whether it came to its end."""
    from outbox.db import purge
    from outbox.db.store import open_store

    async with migrated_database(settings) as engine:
        store = open_store(engine)
        try:
            end = await purge.until(store, rules[0].age)
            counts = {rule.status: await purge.count(store, rule, end) for rule in rules} if dry_run else {}
            found.update(counts)
            return dry_run or await _delete(store, rules, end, found)
        finally:
            await store.close()


async def _delete(store: "Store", rules: Sequence[Rule], end: "datetime", found: Counter[Status]) -> bool:
    from outbox.db import purge

    now = rules[0].status

    async def batches() -> AsyncIterator[int]:
        nonlocal now
        for rule in rules:
            now = rule.status
            async for done in purge.purge(store, rule, end):
                yield done

    async def total() -> int:
        return sum([await purge.count(store, rule, end) for rule in rules])

    def tally(done: int) -> None:
        found[now] += done

    return await work_through("purging", batches(), total, tally)
