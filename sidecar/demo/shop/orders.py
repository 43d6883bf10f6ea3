"""What a customer ordered and what becomes of the order: a function of the seed and the order's number alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

FIRST_NUMBER = 1001


class OrderOutcome(StrEnum):
    """How an order goes."""

    FINE = "fine"
    REFUSED = "refused"
    """The bank refuses the payment."""
    SHORT = "short"
    """Paid for, and out of stock: refunded and cancelled."""
    RETURNED = "returned"
    """Shipped, and nobody there to take it: stock and payment go back."""


FATES = ((OrderOutcome.FINE, 80), (OrderOutcome.REFUSED, 8), (OrderOutcome.SHORT, 7), (OrderOutcome.RETURNED, 5))
"""Each with how many of a hundred orders."""

GOODS = (
    ("DESK-160", "Walnut desk", 489.00),
    ("LAMP-BRS", "Reading lamp, brass", 79.90),
    ("CHAIR-GR", "Office chair, green", 249.50),
    ("NOTE-A5", "Notebook, dotted", 6.95),
    ("PEN-FINE", "Pen, fine", 3.20),
    ("SHELF-3", "Shelf of three boards", 119.00),
    ("PAD-FELT", "Desk pad of felt", 34.00),
)
STREETS = ("Harbour Street", "Mill Lane", "Rue des Lilas", "Lindenallee", "Via Roma", "Čapkova")


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One thing that was ordered."""

    sku: str
    name: str
    qty: int
    price: float


@dataclass(frozen=True, slots=True)
class Order:
    """One order, from beginning to end."""

    number: int
    customer: str
    address: str
    lines: tuple[OrderLine, ...]
    channel: str
    method: str
    fate: OrderOutcome

    @property
    def id(self) -> str:
        return f"order-{self.number}"

    @property
    def total(self) -> float:
        return round(sum(line.qty * line.price for line in self.lines), 2)


def dice(seed: int, *about: object) -> random.Random:
    """Chance that is the same for the same question, whoever asks it and in whatever order."""
    return random.Random("/".join(map(str, (seed, *about))))


def order_of(seed: int, number: int) -> Order:
    """The order with this number."""
    roll = dice(seed, "order", number)
    lines = tuple(
        OrderLine(sku, name, roll.choice((1, 1, 1, 2, 4)), price)
        for sku, name, price in roll.sample(GOODS, roll.choice((1, 2, 2, 3)))
    )
    return Order(
        number=number,
        customer=f"customer-{roll.randrange(100, 180)}",
        address=f"{roll.choice(STREETS)} {roll.randrange(1, 120)}",
        lines=lines,
        channel=roll.choice(("web", "web", "app", "store")),
        method=roll.choice(("CARD", "CARD", "TRANSFER", "WALLET")),
        fate=roll.choices([fate for fate, _ in FATES], [share for _, share in FATES])[0],
    )


def number_of(order_id: str) -> int:
    """The number in `order-1042`. Raises ValueError where it is no order id."""
    return int(order_id.removeprefix("order-"))
