"""`resolve`: what is to become of an email of which nobody knows whether it went out."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from outbox.cli.access import MAX_ID, migrated_database, settings_of
from outbox.core.status import Status

if TYPE_CHECKING:
    from outbox.settings import Settings


def resolve(
    context: typer.Context,
    id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="Id of an email.", show_default=False)],
    sent: Annotated[bool, typer.Option("--sent", help="It went out: finish it.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="Send it once more, at the risk of a second copy.")] = False,
) -> None:
    """Decide about an email in doubt: it was sent, or it is sent once more to those who are in doubt."""
    if sent == resend:
        raise typer.BadParameter("give either --sent or --resend", ctx=context)
    settings = settings_of(context)
    if resend:
        asyncio.run(_resend(settings, id))
        typer.echo(f"email {id} is pending again")
        return
    status = asyncio.run(_declare_sent(settings, id))
    others = "" if status == Status.SENT else f": not everybody has got it, see `outbox show {id}`"
    typer.echo(f"email {id} is {status}{others}")


async def _declare_sent(settings: "Settings", id: int) -> Status:
    from outbox.db.resolve import declare_sent

    async with migrated_database(settings) as engine:
        return await declare_sent(engine, id)


async def _resend(settings: "Settings", id: int) -> None:
    from outbox.db.resolve import resend

    async with migrated_database(settings) as engine:
        await resend(engine, id)
