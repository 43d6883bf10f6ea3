"""Order events in bulk, for the benchmark and for your own measurements.

An event is Avro in Confluent framing, about 350 bytes, with a `traceparent` and a UUID as its id. Five events make a
flow. Equal seeds give equal bytes.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro

EVENTS_PER_FLOW = 5
FIRST_TIMESTAMP = 1_767_225_600_000
"""2026-01-01T00:00:00Z in milliseconds; each event is one millisecond later than the one before."""

ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "name", "type": "string"},
        {"name": "qty", "type": "int"},
        {"name": "price", "type": "double"},
    ],
}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "orderId", "type": "string"},
        {"name": "customerId", "type": "string"},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SHIPPED", "DONE"]}},
        {"name": "currency", "type": "string"},
        {"name": "total", "type": "double"},
        {"name": "channel", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "items", "type": {"type": "array", "items": ITEM}},
    ],
}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "OrderEvent",
    "namespace": "bench",
    "fields": [
        {"name": "eventId", "type": "string"},
        {"name": "eventType", "type": "string"},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "aggregateId", "type": "string"},
        {"name": "eventVersion", "type": "int"},
        {"name": "data", "type": ORDER},
    ],
}
"""The writer's schema of every event: register it (as JSON) and pass its id to `bench_events`."""

STEPS = (
    ("OrderPlaced", "NEW"),
    ("PaymentTaken", "PAID"),
    ("StockReserved", "PAID"),
    ("ParcelShipped", "SHIPPED"),
    ("OrderClosed", "DONE"),
)
NAMES = ("Walnut desk, 160 x 80 cm", "Reading lamp, brass", "Office chair, dark green", "Notebook, dotted, A5")

Load = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value and headers, as aiokafka's `send` takes them."""


def bench_events(count: int, broken_ratio: float = 0.0, seed: int = 1, schema_id: int = 1) -> list[Load]:
    """Build `count` order events, five to a flow.

    A share of `broken_ratio`, spread evenly, cannot be decoded: their bytes end too early or too late. It takes about
    10 µs an event.
    """
    dice = random.Random(seed)
    write = _writer(schema_id)
    breaks = (lambda value: value[: len(value) // 2], lambda value: value + b"\x00\x07\x0b")
    every = round(1 / broken_ratio) if broken_ratio > 0 else 0
    events: list[Load] = []
    for flow in range(-(-count // EVENTS_PER_FLOW)):
        trace, order = f"{dice.getrandbits(128) | 1:032x}", _order(dice, flow)
        for event_type, order["status"] in STEPS:
            number = len(events)
            if number == count:
                break
            value = write(_event(dice, number, event_type, order))
            if every and number % every == every - 1:
                value = breaks[number // every % 2](value)
            traceparent = f"00-{trace}-{dice.getrandbits(64) | 1:016x}-01".encode()
            events.append((order["orderId"].encode(), value, [("traceparent", traceparent)]))
    return events


def _writer(schema_id: int) -> Callable[[dict[str, Any]], bytes]:
    schema, head = fastavro.parse_schema(SCHEMA), b"\x00" + schema_id.to_bytes(4, "big")

    def write(event: dict[str, Any]) -> bytes:
        buffer = BytesIO()
        buffer.write(head)
        fastavro.schemaless_writer(buffer, schema, event)
        return buffer.getvalue()

    return write


def _order(dice: random.Random, number: int) -> dict[str, Any]:
    names = dice.sample(NAMES, 2)
    items: list[dict[str, Any]] = [
        {"sku": f"SKU-{dice.randrange(10**6):06d}", "name": name, "qty": dice.randint(1, 9), "price": 24.95}
        for name in names
    ]
    return {
        "orderId": f"order-{number:012d}",
        "customerId": f"customer-{dice.randrange(10**9):012d}",
        "status": "NEW",
        "currency": "EUR",
        "total": round(sum(item["qty"] * item["price"] for item in items), 2),
        "channel": "web-storefront",
        "note": "Please leave the parcel with the neighbor on the ground floor; the bell does not work at the moment.",
        "items": items,
    }


def _event(dice: random.Random, number: int, event_type: str, order: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventId": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "eventType": event_type,
        "timestamp": FIRST_TIMESTAMP + number,
        "aggregateId": order["orderId"],
        "eventVersion": 1,
        "data": order,
    }
