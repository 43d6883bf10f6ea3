"""Creates orders and their outcomes, as a function of the seed and the order number."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_NUMBER = 1001


class OrderOutcome(StrEnum):
    """The outcome of an order."""

    FINE = "fine"
    REFUSED = "refused"
    """The bank refuses the payment."""
    SHORT = "short"
    """The goods are out of stock: payment is refunded and the order canceled."""
    RETURNED = "returned"
    """The parcel comes back: stock is released and payment refunded."""
    LOST = "lost"
    """The carrier loses the parcel, and no event says so: the order never ends."""


OUTCOMES = (
    (OrderOutcome.FINE, 80),
    (OrderOutcome.REFUSED, 8),
    (OrderOutcome.SHORT, 7),
    (OrderOutcome.RETURNED, 4),
    (OrderOutcome.LOST, 1),
)
"""Outcomes with their percentages."""

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
    """A line item of an order."""

    sku: str
    name: str
    qty: int
    price: float


@dataclass(frozen=True, slots=True)
class Order:
    """An order."""

    number: int
    customer: str
    address: str
    lines: tuple[OrderLine, ...]
    channel: str
    method: str
    outcome: OrderOutcome

    @property
    def id(self) -> str:
        """Id of the order."""
        return f"order-{self.number}"

    @property
    def total(self) -> float:
        """Sum of the lines."""
        return round(sum(line.qty * line.price for line in self.lines), 2)


def create_random(seed: int, *about: object) -> random.Random:
    """Create a generator that gives the same numbers for the same subject, in any order of calls."""
    return random.Random("/".join(map(str, (seed, *about))))


def create_order(seed: int, number: int, *, loses_parcels: bool = True) -> Order:
    """Create the order with this number. `loses_parcels`: False if the carrier delivers the parcels that it loses."""
    roll = create_random(seed, "order", number)
    lines = tuple(
        OrderLine(sku, name, roll.choice((1, 1, 1, 2, 4)), price)
        for sku, name, price in roll.sample(GOODS, roll.choice((1, 2, 2, 3)))
    )
    order = Order(
        number=number,
        customer=f"customer-{roll.randrange(100, 180)}",
        address=f"{roll.choice(STREETS)} {roll.randrange(1, 120)}",
        lines=lines,
        channel=roll.choice(("web", "web", "app", "store")),
        method=roll.choice(("CARD", "CARD", "TRANSFER", "WALLET")),
        outcome=roll.choices([fate for fate, _ in OUTCOMES], [share for _, share in OUTCOMES])[0],
    )
    return (
        replace(order, outcome=OrderOutcome.FINE) if order.outcome is OrderOutcome.LOST and not loses_parcels else order
    )


def parse_order_number(order_id: str) -> int:
    """Return the number in `order-1042`. Raises ValueError for other texts."""
    return int(order_id.removeprefix("order-"))
