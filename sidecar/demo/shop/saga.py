"""The shop as a table: its services, and what each does when an event arrives.

An order is a saga. Payment takes the money, stock puts the goods aside, shipping brings them; where one of them fails,
those before it undo their part (refund, release) and the order is cancelled."""

from __future__ import annotations

from enum import Enum, StrEnum, auto
from typing import NamedTuple

from sidecar.demo.shop.orders import Fate


class Tracing(StrEnum):
    """How a service passes its trace on."""

    W3C = "w3c"
    B3 = "b3"
    CLOUDEVENTS = "cloudevents"
    NONE = "none"


class Layout(Enum):
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


class Service(NamedTuple):
    """Who publishes where, and in what shape."""

    name: str
    stream: str
    layout: Layout
    tracing: Tracing
    aggregate: str
    """What its events are about: `order`, `payment`, …"""


class Step(NamedTuple):
    """One reaction: where `on` arrives, `service` publishes `emits`."""

    service: str
    on: str
    emits: str
    fates: frozenset[Fate] = frozenset(Fate)
    """Orders of which this happens."""
    after: tuple[int, int] = (5, 30)
    """Milliseconds of work, at least and at most."""
    each_line: bool = False
    """Once for each line of the order."""


SERVICES = {
    service.name: service
    for service in (
        Service("orders", "orders", Layout.AVRO_BY_TYPE, Tracing.W3C, "order"),
        Service("payment", "payments", Layout.JSON, Tracing.W3C, "payment"),
        Service("stock", "stock", Layout.AVRO_ID_IN_HEADER, Tracing.B3, "order"),
        Service("scanner", "scans", Layout.AVRO_BY_STREAM, Tracing.W3C, "order"),
        Service("shipping", "shipping", Layout.CLOUDEVENTS, Tracing.CLOUDEVENTS, "parcel"),
        Service("invoicing", "invoices", Layout.OUTBOX, Tracing.W3C, "invoice"),
        Service("notifications", "notifications", Layout.JSON, Tracing.NONE, "customer"),
        Service("loyalty", "loyalty", Layout.FLAT, Tracing.W3C, "customer"),
    )
}
STREAMS = tuple(service.stream for service in SERVICES.values())

PLACED = "OrderPlaced"
"""The event that no event causes: a customer's click."""

_PAID = frozenset((Fate.FINE, Fate.SHORT, Fate.RETURNED))
_IN_STOCK = frozenset((Fate.FINE, Fate.RETURNED))
_FINE = frozenset((Fate.FINE,))
_REFUSED = frozenset((Fate.REFUSED,))
_SHORT = frozenset((Fate.SHORT,))
_RETURNED = frozenset((Fate.RETURNED,))

STEPS = (
    Step("payment", "OrderPlaced", "PaymentAuthorized", _PAID, after=(30, 120)),
    Step("payment", "OrderPlaced", "PaymentRefused", _REFUSED, after=(30, 120)),
    Step("orders", "PaymentRefused", "OrderCancelled"),
    Step("stock", "PaymentAuthorized", "StockReserved", _IN_STOCK),
    Step("stock", "PaymentAuthorized", "StockShort", _SHORT),
    Step("payment", "StockShort", "PaymentRefunded"),
    Step("orders", "StockShort", "OrderCancelled"),
    Step("orders", "StockReserved", "OrderConfirmed"),
    Step("scanner", "StockReserved", "ItemScanned", after=(40, 250), each_line=True),
    Step("invoicing", "OrderConfirmed", "InvoiceIssued", after=(20, 80)),
    Step("shipping", "OrderConfirmed", "ParcelDispatched", after=(80, 250)),
    Step("shipping", "ParcelDispatched", "ParcelDelivered", _FINE, after=(200, 600)),
    Step("shipping", "ParcelDispatched", "ParcelReturned", _RETURNED, after=(200, 600)),
    Step("orders", "ParcelDelivered", "OrderCompleted"),
    Step("loyalty", "ParcelDelivered", "PointsGranted", after=(10, 60)),
    Step("stock", "ParcelReturned", "StockReleased"),
    Step("payment", "ParcelReturned", "PaymentRefunded", after=(30, 120)),
    Step("orders", "ParcelReturned", "OrderCancelled"),
    Step("invoicing", "PaymentRefunded", "CreditNoteIssued", _RETURNED, after=(20, 80)),
    Step("notifications", "OrderConfirmed", "CustomerNotified", after=(10, 50)),
    Step("notifications", "ParcelDispatched", "CustomerNotified", after=(10, 50)),
    Step("notifications", "InvoiceIssued", "CustomerNotified", after=(10, 50)),
    Step("notifications", "OrderCancelled", "CustomerNotified", after=(10, 50)),
)

_PUBLISHERS = {PLACED: "orders"} | {step.emits: step.service for step in STEPS}


def publisher(event_type: str) -> Service:
    """Who publishes events of this type."""
    return SERVICES[_PUBLISHERS[event_type]]


def steps_of(service: str, event_type: str) -> list[Step]:
    """What `service` does where an event of this type arrives."""
    return [step for step in STEPS if step.service == service and step.on == event_type]


def inputs(service: str) -> list[str]:
    """The streams that a service reads, each once."""
    return list(dict.fromkeys(publisher(step.on).stream for step in STEPS if step.service == service))
