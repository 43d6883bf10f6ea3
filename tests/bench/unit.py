"""The unit of the bench's times: the bare decoding of one of its events, on the machine and in the run of the rest."""

from __future__ import annotations

import json
import statistics
import time
from io import BytesIO
from typing import Any

import fastavro

from tests.bench.event_producer import order_schema
from tests.support.bench_events import bench_events

EVENTS, ROUNDS = 20_000, 7


def decoding() -> dict[str, Any]:
    """Microseconds of processor time that fastavro takes for an event; the median of several rounds."""
    schema: Any = fastavro.parse_schema(order_schema())
    values = [value[5:] for _, value, _ in bench_events(EVENTS)]
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for value in values:
            fastavro.schemaless_reader(BytesIO(value), schema, None)
        rounds.append((time.process_time() - began) / EVENTS * 1e6)
    return {"name": "decodings", "value": statistics.median(rounds)}


if __name__ == "__main__":
    print(json.dumps(decoding()))
