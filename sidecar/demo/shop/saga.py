"""The services of the shop and their reactions to events, as a table.

An order is a saga. Payment takes the money, stock reserves the goods, shipping delivers them. If a step fails, the
earlier steps are compensated (refund, release) and the order is canceled.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import NamedTuple

from sidecar.demo.shop.orders import OrderOutcome


class TracePropagation(StrEnum):
    """Format of a service's trace headers."""

    W3C = "w3c"
    B3 = "b3"
    CLOUDEVENTS = "cloudevents"
    NONE = "none"


class EventLayout(Enum):
    """Format of a service's events."""

    AVRO_BY_TYPE = auto()
    """Avro in Confluent framing, a subject for each type of event (TopicRecordNameStrategy)."""
    AVRO_BY_STREAM = auto()
    """Avro in Confluent framing, one subject for the stream (TopicNameStrategy)."""
    AVRO_ID_IN_HEADER = auto()
    """Avro with the schema id in a header."""
    JSON = auto()
    """A JSON envelope around the data."""
    CLOUDEVENTS = auto()
    """CloudEvents in binary mode, the data as JSON."""
    OUTBOX = auto()
    """Debezium's outbox router: the data as JSON, all else in headers."""
    FLAT = auto()
    """One flat map: the fields of a Redis entry; on Kafka a JSON object."""


class ShopService(NamedTuple):
    """A service, its stream and its formats."""

    name: str
    stream: str
    layout: EventLayout
    tracing: TracePropagation
    aggregate: str
    """Aggregate type of its events: `order`, `payment`, …"""


class SagaStep(NamedTuple):
    """A reaction: when `on` arrives, `service` publishes `emits`."""

    service: str
    on: str
    emits: str
    outcomes: frozenset[OrderOutcome] = frozenset(OrderOutcome)
    """Outcomes of the orders with this step."""
    after: tuple[int, int] = (5, 30)
    """Minimum and maximum of the work in milliseconds."""
    per_line: bool = False
    """True if the step happens for each line of the order."""


SERVICES = {
    service.name: service
    for service in (
        ShopService("orders", "orders", EventLayout.AVRO_BY_TYPE, TracePropagation.W3C, "order"),
        ShopService("payment", "payments", EventLayout.JSON, TracePropagation.W3C, "payment"),
        ShopService("stock", "stock", EventLayout.AVRO_ID_IN_HEADER, TracePropagation.B3, "order"),
        ShopService("scanner", "scans", EventLayout.AVRO_BY_STREAM, TracePropagation.W3C, "order"),
        ShopService("shipping", "shipping", EventLayout.CLOUDEVENTS, TracePropagation.CLOUDEVENTS, "parcel"),
        ShopService("invoicing", "invoices", EventLayout.OUTBOX, TracePropagation.W3C, "invoice"),
        ShopService("notifications", "notifications", EventLayout.JSON, TracePropagation.NONE, "customer"),
        ShopService("loyalty", "loyalty", EventLayout.FLAT, TracePropagation.W3C, "customer"),
        ShopService("crm", "crm", EventLayout.JSON, TracePropagation.NONE, "contact"),
        ShopService("billing", "billing.commands", EventLayout.AVRO_BY_STREAM, TracePropagation.W3C, "invoice"),
    )
}
STREAMS = tuple(service.stream for service in SERVICES.values())
READERS = {
    "reporting": ("orders", "stock", "scans", "invoices", "notifications", "loyalty", "billing.commands"),
}
"""Services that read streams and publish nothing, by name."""
SLOW_READERS = {"analytics": ("orders",)}
"""Readers that take longer for an event than the next one takes to arrive, so that their lag grows."""
STUCK_READERS = {"fraud-check": ("payments",)}
"""Readers that stop at an event and never acknowledge it."""

PLACED = "OrderPlaced"
"""The first event of an order, which has no cause."""

_IN_STOCK = frozenset((OrderOutcome.FINE, OrderOutcome.RETURNED, OrderOutcome.LOST))
_PAID = _IN_STOCK | {OrderOutcome.SHORT}
_FINE = frozenset((OrderOutcome.FINE,))
_REFUSED = frozenset((OrderOutcome.REFUSED,))
_SHORT = frozenset((OrderOutcome.SHORT,))
_RETURNED = frozenset((OrderOutcome.RETURNED,))

STEPS = (
    SagaStep("payment", "OrderPlaced", "PaymentAuthorized", _PAID, after=(30, 120)),
    SagaStep("payment", "OrderPlaced", "PaymentRefused", _REFUSED, after=(30, 120)),
    SagaStep("orders", "PaymentRefused", "OrderCancelled"),
    SagaStep("stock", "PaymentAuthorized", "StockReserved", _IN_STOCK),
    SagaStep("stock", "PaymentAuthorized", "StockShort", _SHORT),
    SagaStep("payment", "StockShort", "PaymentRefunded"),
    SagaStep("orders", "StockShort", "OrderCancelled"),
    SagaStep("orders", "StockReserved", "OrderConfirmed"),
    SagaStep("scanner", "StockReserved", "ItemScanned", after=(40, 250), per_line=True),
    SagaStep("invoicing", "OrderConfirmed", "InvoiceIssued", after=(20, 80)),
    SagaStep("shipping", "OrderConfirmed", "ParcelDispatched", after=(80, 250)),
    SagaStep("shipping", "ParcelDispatched", "ParcelDelivered", _FINE, after=(200, 600)),
    SagaStep("shipping", "ParcelDispatched", "ParcelReturned", _RETURNED, after=(200, 600)),
    SagaStep("orders", "ParcelDelivered", "OrderCompleted"),
    SagaStep("loyalty", "ParcelDelivered", "PointsGranted", after=(10, 60)),
    SagaStep("stock", "ParcelReturned", "StockReleased"),
    SagaStep("payment", "ParcelReturned", "PaymentRefunded", after=(30, 120)),
    SagaStep("orders", "ParcelReturned", "OrderCancelled"),
    SagaStep("invoicing", "PaymentRefunded", "CreditNoteIssued", _RETURNED, after=(20, 80)),
    SagaStep("notifications", "OrderConfirmed", "CustomerNotified", after=(10, 50)),
    SagaStep("notifications", "ParcelDispatched", "CustomerNotified", after=(10, 50)),
    SagaStep("notifications", "InvoiceIssued", "CustomerNotified", after=(10, 50)),
    SagaStep("notifications", "OrderCancelled", "CustomerNotified", after=(10, 50)),
)

_PUBLISHERS = {PLACED: "orders"} | {step.emits: step.service for step in STEPS}


def publisher_of(event_type: str) -> ShopService:
    """Return the service that publishes events of this type."""
    return SERVICES[_PUBLISHERS[event_type]]


def steps_of(service: str, event_type: str) -> list[SagaStep]:
    """Return the reactions of a service to an event type."""
    return [step for step in STEPS if step.service == service and step.on == event_type]


def input_streams(service: str) -> list[str]:
    """Return the streams that a service reads."""
    return list(dict.fromkeys(publisher_of(step.on).stream for step in STEPS if step.service == service))
