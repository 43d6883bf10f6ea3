"""Publish an order a second in Confluent-framed Avro. Every fifth one has an amount that its schema does not allow.

It uses what Tracecar's image has: aiokafka and fastavro.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import struct
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

import fastavro
from aiokafka import AIOKafkaProducer

FIELDS = [
    {"name": "eventId", "type": "string"},
    {"name": "eventType", "type": "string"},
    {"name": "occurredAt", "type": "string"},
    {"name": "aggregateId", "type": "string"},
    {"name": "correlationId", "type": "string"},
    {"name": "amount", "type": "double"},
]
SCHEMA: dict[str, Any] = {"type": "record", "name": "OrderPlaced", "namespace": "example", "fields": FIELDS}
WRONG: dict[str, Any] = {**SCHEMA, "fields": [*FIELDS[:-1], {"name": "amount", "type": "string"}]}


def register(subject: str, schema: dict[str, Any]) -> int:
    """Register a schema and return its id."""
    request = urllib.request.Request(
        f"{os.environ['REGISTRY_URL']}/subjects/{subject}/versions",
        json.dumps({"schema": json.dumps(schema)}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.load(answer)["id"])


def encode(schema: Any, schema_id: int, event: dict[str, Any]) -> bytes:
    """Encode an event in Confluent's wire format: a zero byte, the schema id, the Avro body."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, event)
    return struct.pack(">bI", 0, schema_id) + body.getvalue()


async def main() -> None:
    """Publish until the process is stopped."""
    schema_id = register("orders-value", SCHEMA)
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["BOOTSTRAP_SERVERS"])
    await producer.start()
    try:
        number = 0
        while True:
            number += 1
            order = f"order-{number}"
            event = {
                "eventId": str(uuid.uuid4()),
                "eventType": "OrderPlaced",
                "occurredAt": datetime.now(UTC).isoformat(),
                "aggregateId": order,
                "correlationId": order,
                "amount": 9.5 * number,
            }
            schema = SCHEMA
            if number % 5 == 0:
                event["amount"] = "9.50 EUR"
                schema = WRONG  # the bytes of a producer that changed the field without registering it
            await producer.send_and_wait("orders", encode(schema, schema_id, event), key=order.encode())
            await asyncio.sleep(1)
    finally:
        await producer.stop()


asyncio.run(main())
