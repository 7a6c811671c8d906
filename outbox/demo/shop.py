"""The application of the demo: a shop whose orders and emails are committed in the same transactions."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from outbox.db.models import Attachment, Email

ASSETS = Path(__file__).parent / "assets"
TEMPLATES = Path(__file__).parent / "templates"

UNKNOWN_RECIPIENT = "nobody@example.org"
"""The demo's server refuses it for good."""

GREYLISTED_RECIPIENT = "grace@example.org"
"""The demo's server accepts it at the second attempt only."""


class _Base(DeclarativeBase):
    """The shop's own tables, in the same database as the outbox."""


class Order(_Base):
    """An order; its confirmation is an email."""

    __tablename__ = "shop_order"

    number: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]


class PaymentDeclinedError(Exception):
    """What makes a transaction of the shop roll back."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An email of the demo, and what has to become of it."""

    tag: str
    told: str
    status: str | None
    attempts: int = 1


EXPECTED = (
    Expected("welcome", "a new customer is welcomed", "sent"),
    Expected("password-reset", "a customer forgot the password", "sent"),
    Expected("order", "an order is confirmed, with PDF and logo", "sent"),
    Expected("rolled-back", "a payment is declined, the transaction rolls back", None),
    Expected("unknown-recipient", "the server knows no such recipient", "failed"),
    Expected("greylisted", "the server says “not now” at first", "sent", attempts=2),
)
"""In the order in which the shop enqueues them; a status of None stands for no row at all."""


class Shop:
    """Does what applications do. Each method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sessions = async_sessionmaker(engine)

    async def open(self) -> None:
        """Create the shop's own table."""
        async with self._engine.begin() as connection:
            await connection.run_sync(_Base.metadata.create_all)

    async def do_business(self) -> None:
        """Everything in EXPECTED, in its order."""
        await self.register("welcome", "Ada Lovelace <ada@example.org>", "Ada")
        await self.forget_password()
        await self.order("order", "A-1001", "Ada Lovelace <ada@example.org>")
        with suppress(PaymentDeclinedError):  # afterwards neither the order nor its email exists
            await self.order("rolled-back", "A-1002", "Charles <charles@example.org>", declined=True)
        await self.register("unknown-recipient", UNKNOWN_RECIPIENT, "Nobody")
        await self.register("greylisted", f"Grace Hopper <{GREYLISTED_RECIPIENT}>", "Grace")

    async def register(self, tag: str, to: str, name: str) -> None:
        """A new customer."""
        async with self._sessions.begin() as session:
            session.add(Email(to=to, template="welcome", context={"name": name, "product": "Example Shop"}, tag=tag))

    async def forget_password(self) -> None:
        """A customer who needs a new password; the token must not stay in the table."""
        async with self._sessions.begin() as session:
            session.add(
                Email(
                    to="Ada Lovelace <ada@example.org>",
                    template="password_reset",
                    context={
                        "name": "Ada",
                        "token": "k3v-9pq-7xz",
                        "link": "https://shop.example.org/reset/k3v-9pq-7xz",
                        "minutes": 30,
                    },
                    priority=0,
                    sensitive=True,
                    tag="password-reset",
                )
            )

    async def order(self, tag: str, number: str, to: str, *, declined: bool = False) -> None:
        """An order and its confirmation: both, or neither. Raises PaymentDeclinedError where it is declined."""
        async with self._sessions.begin() as session:
            session.add(Order(number=number, customer=to))
            session.add(
                Email(
                    to=to,
                    template="order_confirmation",
                    context={
                        "name": "Ada",
                        "order_number": number,
                        "items": [{"name": "Analytical Engine, small", "quantity": 1, "price": "1400.00"}],
                        "total": "1400.00",
                        "delivery_date": "2026-12-03",
                    },
                    attachments=[
                        Attachment.from_path(ASSETS / "order.pdf"),
                        Attachment.from_path(ASSETS / "logo.png", cid="logo"),
                    ],
                    tag=tag,
                )
            )
            await session.flush()
            if declined:
                raise PaymentDeclinedError

    async def orders(self) -> int:
        """How many orders there are."""
        async with self._sessions() as session:
            return (await session.scalars(select(func.count()).select_from(Order))).one()
