"""`release`: send emails that were held."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import MAX_ID, migrated_database, settings_of
from outbox.cli.output import complain

if TYPE_CHECKING:
    from outbox.settings import Settings


def release(
    context: typer.Context,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="[ID…]", min=1, max=MAX_ID, help="Ids of held emails.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All that are held.")] = False,
) -> None:
    """Send emails that are held: by the flood guard, which lets them pass then, or by what allow_recipients was."""
    if bool(ids) == all:
        raise typer.BadParameter("give either ids or --all", ctx=context)
    released = asyncio.run(_release(settings_of(context), None if all else ids))
    noun = "email" if len(released) == 1 else "emails"
    typer.echo(f"{len(released)} {noun} released" if released else "no email was held")
    others = sorted({*(ids or ())} - {*released})
    for id in others:
        complain(f"{id}: is not held; see `outbox show {id}`")
    if others:
        raise typer.Exit(1)


async def _release(settings: "Settings", ids: list[int] | None) -> list[int]:
    from outbox.db.held import release

    async with migrated_database(settings) as engine:
        return await release(engine, ids)
