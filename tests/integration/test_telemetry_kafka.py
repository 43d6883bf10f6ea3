"""Telemetry with a real Kafka: spans of its records, and sidecars that share the work."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporters.tracing.span_ids import span_id_at
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.position import Position
from tests.servers.kafka import unique
from tests.servers.otlp import Receiver, attributes
from tests.support.sidecar_process import Sidecar

pytestmark = pytest.mark.kafka
EVENTS = 400


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def seen(otlp: Receiver) -> set[tuple[bytes, str]]:
    """Return which span came from which group. After a rebalance, some come again with equal ids."""
    return {(span.span_id, attributes(span.attributes)["messaging.consumer.group.name"]) for span in otlp.spans}


def test_two_sidecars_of_a_group_and_one_of_another_send_each_event_as_the_same_span(
    kafka: EmbeddedKafka, otlp: Receiver, tmp_path: Path
) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = unique("traced")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 4)])[topic].result()
    traces = [uuid.uuid4().int for _ in range(EVENTS)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number, trace in enumerate(traces):
        body = json.dumps({"eventId": f"e{number}", "correlationId": f"c{number}"}).encode()
        header = ("traceparent", f"00-{trace:032x}-{number + 1:016x}-01".encode())
        value = None if number == 7 else body
        producer.produce(topic, value, f"k{number}".encode(), headers=[header], partition=number % 4)
    producer.flush()

    def config(group: str) -> dict[str, Any]:
        source = {
            "bootstrap_servers": kafka.bootstrap_servers,
            "topics": [topic],
            "start": "earliest",
            "group_id": group,
        }
        otlp_settings = {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc", "signals": ["traces"]}
        return {"service": "shop", "sources": {"kafka": source}, "exporters": {"otlp": otlp_settings}}

    group = unique("group")
    members = [Sidecar(tmp_path, config(name), name) for name in (f"{group}.a", f"{group}.a", f"{group}.b")]
    members[1] = Sidecar(tmp_path, config(f"{group}.a"), "second")
    for member in members:
        member.start()
    try:
        otlp.wait(lambda: len(seen(otlp)) == 2 * EVENTS, f"all spans, by both groups\n{members[0].log}", 120)
    finally:
        for member in members:
            member.stop()
    spans = otlp.spans
    # Each is sent twice, by two groups, with equal ids: a backend stores one span.
    assert len({(span.trace_id, span.span_id) for span in spans}) == EVENTS
    for number in (0, 7, EVENTS - 1):
        position = Position("kafka", topic, number % 4, number // 4)
        same = [span for span in spans if int.from_bytes(span.span_id) == span_id_at(position)]
        assert {int.from_bytes(span.trace_id) for span in same} == {traces[number]}
        assert {int.from_bytes(span.parent_span_id) for span in same} == {number + 1}
        assert len({(span.start_time_unix_nano, span.end_time_unix_nano) for span in same}) == 1
        words = attributes(same[0].attributes)
        assert words["messaging.kafka.offset"] == number // 4
        assert words["messaging.destination.partition.id"] == str(number % 4)
        assert words["messaging.kafka.message.key"] == f"k{number}"
        assert words.get("messaging.kafka.message.tombstone", False) is (number == 7)
        groups = {attributes(span.attributes)["messaging.consumer.group.name"] for span in same}
        assert groups == {f"{group}.a", f"{group}.b"}
