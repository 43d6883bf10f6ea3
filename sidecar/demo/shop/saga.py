"""The shop as a table: its services, and what each does when an event arrives.

An order is a saga. Payment takes the money, stock puts the goods aside, shipping brings them; where one of them fails,
those before it undo their part (refund, release) and the order is cancelled."""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import NamedTuple

from sidecar.demo.shop.orders import OrderOutcome


class TracePropagation(StrEnum):
    """How a service passes its trace on."""

    W3C = "w3c"
    B3 = "b3"
    CLOUDEVENTS = "cloudevents"
    NONE = "none"


class EventLayout(Enum):
    """How a service writes its events."""

    AVRO_BY_TYPE = auto()
    """Avro in Confluent framing, a subject for each type of event (TopicRecordNameStrategy)."""
    AVRO_BY_STREAM = auto()
    """Avro in Confluent framing, one subject for the stream (TopicNameStrategy)."""
    AVRO_ID_IN_HEADER = auto()
    """Avro whose schema id stands in a header."""
    JSON = auto()
    """A JSON envelope around the data."""
    CLOUDEVENTS = auto()
    """CloudEvents in binary mode, the data as JSON."""
    OUTBOX = auto()
    """Debezium's outbox router: the data as JSON, all else in headers."""
    FLAT = auto()
    """One flat map: the fields of a Redis entry; on Kafka a JSON object."""


class ShopService(NamedTuple):
    """Who publishes where, and in what shape."""

    name: str
    stream: str
    layout: EventLayout
    tracing: TracePropagation
    aggregate: str
    """What its events are about: `order`, `payment`, …"""


class SagaStep(NamedTuple):
    """One reaction: where `on` arrives, `service` publishes `emits`."""

    service: str
    on: str
    emits: str
    fates: frozenset[OrderOutcome] = frozenset(OrderOutcome)
    """Orders of which this happens."""
    after: tuple[int, int] = (5, 30)
    """Milliseconds of work, at least and at most."""
    each_line: bool = False
    """Once for each line of the order."""


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
    )
}
STREAMS = tuple(service.stream for service in SERVICES.values())

PLACED = "OrderPlaced"
"""The event that no event causes: a customer's click."""

_PAID = frozenset((OrderOutcome.FINE, OrderOutcome.SHORT, OrderOutcome.RETURNED))
_IN_STOCK = frozenset((OrderOutcome.FINE, OrderOutcome.RETURNED))
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
    SagaStep("scanner", "StockReserved", "ItemScanned", after=(40, 250), each_line=True),
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


def publisher(event_type: str) -> ShopService:
    """Who publishes events of this type."""
    return SERVICES[_PUBLISHERS[event_type]]


def steps_of(service: str, event_type: str) -> list[SagaStep]:
    """What `service` does where an event of this type arrives."""
    return [step for step in STEPS if step.service == service and step.on == event_type]


def inputs(service: str) -> list[str]:
    """The streams that a service reads, each once."""
    return list(dict.fromkeys(publisher(step.on).stream for step in STEPS if step.service == service))
