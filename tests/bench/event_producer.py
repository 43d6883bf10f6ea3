"""Filling streams with the bench's events before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from sidecar.adapters.registry.directory import schema_id
from tests.support.bench_events import SCHEMA, Load, bench_events

SUBJECT = "{stream}-value"
_PARSED = fastavro.parse_schema(SCHEMA)
CODECS = ("lz4", "zstd", "gzip", "snappy", "none")


def order_schema() -> dict[str, Any]:
    return SCHEMA


def write_schema(stream: str, directory: Path) -> None:
    (directory / (SUBJECT.format(stream=stream) + ".avsc")).write_text(json.dumps(SCHEMA))


def load(
    system: str,
    address: str,
    stream: str,
    events: int,
    *,
    broken: float = 0.0,
    partitions: int = 1,
    mixed: bool = False,
    json_only: bool = False,
) -> None:
    """Write `events` events to a new stream. `mixed`: every codec, and a third each of Confluent's prefix, the schema
    id in a header, and JSON. `json_only`: all as JSON."""
    made = bench_events(events, broken, schema_id=schema_id(json.dumps(SCHEMA)))
    if system == "redis":
        _redis(address, stream, made)
    else:
        made = list(_mixed(made)) if mixed else list(map(_as_json, made)) if json_only else made
        _kafka(address, stream, made, partitions, CODECS if mixed else ("none",))


def _mixed(made: Sequence[Load]) -> Iterator[Load]:
    for number, (key, value, headers) in enumerate(made):
        if number % 3 == 0:
            yield key, value, headers
        elif number % 3 == 1:
            yield key, value[5:], [*headers, ("__value_schema_id", value[:5])]
        else:
            yield _as_json((key, value, headers))


def _as_json(load: Load) -> Load:
    key, value, headers = load
    body = fastavro.schemaless_reader(BytesIO(value[5:]), _PARSED, None)
    return key, json.dumps(body, default=lambda moment: moment.isoformat()).encode(), headers


def _kafka(address: str, stream: str, made: Sequence[Load], partitions: int, codecs: Sequence[str]) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(stream, num_partitions=partitions, replication_factor=1)]).values():
        future.result()
    producers = [
        Producer(
            {
                "bootstrap.servers": address,
                "compression.type": codec,
                "linger.ms": 20,
                "queue.buffering.max.messages": 1_000_000,
                "partitioner": "murmur2",
            }
        )
        for codec in codecs
    ]
    for number, (key, value, headers) in enumerate(made):
        producer = producers[number // 1000 % len(producers)]
        producer.produce(stream, value=value, key=key, headers=headers)
        if number % 10_000 == 0:
            producer.poll(0)
    for producer in producers:
        producer.flush()


def _redis(address: str, stream: str, made: Sequence[Load]) -> None:
    from redis import Redis

    client = Redis.from_url(address)
    for start in range(0, len(made), 5000):
        pipe = client.pipeline(transaction=False)
        for _, value, headers in made[start : start + 5000]:
            pipe.xadd(stream, dict(headers) | {"payload": value})
        pipe.execute()
    client.close()
