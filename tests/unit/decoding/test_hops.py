"""Copies on retry topics: validated by the subject of their origin, and hops of one event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.domain.correlation.duplicates import original_of, status_of
from sidecar.domain.correlation.flows import build_flows
from sidecar.domain.model import Event
from sidecar.domain.ports.index import Flow
from sidecar.domain.position import Position
from tests.support import foreign
from tests.support.decoding import ORDER_CREATED, Court, avro, confluent, court, order, record

JOIN = frozenset(("trace", "correlation", "causation"))


@pytest.fixture
def it() -> Iterator[Court]:
    with court() as made:
        yield made


def retry_headers(topic: str = "orders", partition: int = 0, offset: int = 0) -> list[tuple[str, bytes | None]]:
    return [
        ("kafka_original-topic", topic.encode()),
        ("kafka_original-partition", partition.to_bytes(4, "big")),
        ("kafka_original-offset", offset.to_bytes(8, "big")),
        ("retry_topic-attempts", b"\0\0\0\2"),
    ]


def decoded(it: Court, value: Any, stream: str, headers: Any = (), offset: int = 0) -> Event:
    return it.one(record(value, headers, stream=stream, offset=offset, timestamp=1_767_225_600_000 + offset)).event


def test_a_hop_is_validated_by_the_subject_of_its_origin(it: Court) -> None:
    id = it.id_of("orders-value", ORDER_CREATED)
    good = confluent(id, avro(ORDER_CREATED, order()))
    event = decoded(it, good, "orders-retry-200", retry_headers(offset=7))
    assert (event.rejection, event.unchecked, event.hop_of) == (None, False, "kafka://orders/0/7")
    bad = decoded(it, confluent(id, b"\2"), "orders-retry-200", retry_headers())
    assert bad.rejection is not None
    assert bad.rejection.code == "decode.truncated"
    alone = decoded(it, good, "orders-retry-200")
    assert alone.rejection is not None
    assert alone.rejection.code == "schema.wrong_subject"


def test_json_on_a_retry_topic_is_checked_by_the_subject_of_its_origin(it: Court) -> None:
    it.register("orders-value", ORDER_CREATED)
    event = decoded(it, order(), "orders-retry", retry_headers())
    assert (event.rejection, event.unchecked) == (None, False)
    wrong = decoded(it, order(eventVersion="x"), "orders-retry", retry_headers())
    assert wrong.rejection is not None
    assert wrong.rejection.code == "schema.mismatch"


def test_an_event_that_passes_a_hops_headers_on_keeps_its_own_subject(it: Court) -> None:
    it.register("orders-value", {"type": "record", "name": "Other", "fields": []})
    id = it.id_of("payments-value", ORDER_CREATED)
    event = decoded(it, confluent(id, avro(ORDER_CREATED, order())), "payments", retry_headers())
    assert (event.rejection, event.unchecked) == (None, False)


@pytest.mark.parametrize(
    ("headers", "hop_of"),
    [
        ({"x-original-topic": "orders", "x-original-partition": "3", "x-original-offset": "12"}, "kafka://orders/3/12"),
        ({"kafka_original-topic": "orders"}, None),
        ({"kafka_original-topic": "orders", "kafka_original-partition": b"\xff" * 4}, None),
        ({"kafka_original-topic": b"", "x-original-topic": b"a" * 9_999}, None),
    ],
)
def test_origins_are_read_from_the_headers_of_several_frameworks(it: Court, headers: Any, hop_of: str | None) -> None:
    assert decoded(it, {"eventId": "e-1"}, "orders-retry", headers).hop_of == hop_of


def test_a_record_is_no_hop_of_itself(it: Court) -> None:
    assert decoded(it, {"eventId": "e-1"}, "orders", retry_headers(offset=7), offset=7).hop_of is None


def _events(it: Court) -> list[Event]:
    body = {"eventId": "e-1", "correlationId": "c"}
    return [
        decoded(it, body, "orders", offset=1),
        decoded(it, body, "orders-retry-0", retry_headers(offset=1), offset=2),
        decoded(it, body, "orders-retry-1", retry_headers(offset=1), offset=3),
        decoded(it, body, "orders", offset=4),
        decoded(it, body, "orders-retry-0", retry_headers(offset=4), offset=5),
        decoded(it, {"eventId": "e-2", "causationId": "e-1", "correlationId": "c"}, "mails", offset=6),
    ]


def test_hops_are_no_duplicates_and_duplicates_stay_duplicates(it: Court) -> None:
    events = _events(it)
    same = events[:5]
    statuses = [status_of(event, original_of(event, same)) for event in same]
    assert statuses == ["unchecked", "unchecked", "unchecked", "duplicate", "duplicate"]


def test_a_hop_whose_origin_is_gone_is_no_duplicate_of_the_next(it: Court) -> None:
    hops = _events(it)[1:3]
    assert [original_of(event, hops) for event in hops] == [None, None]


async def _indexed_flows(events: list[Event], *ids: str) -> list[Flow | None]:
    index = MemoryIndex(1_000, JOIN, 100)
    index.add(list(reversed(events)))
    return [await index.flow(id) for id in ids]


def test_flows_show_hops_of_one_event(it: Court) -> None:
    events = _events(it)
    (flow,) = build_flows(events, JOIN, 100)
    retries = ["kafka://orders-retry-0/0/2", "kafka://orders-retry-1/0/3"]
    assert [(str(node.event.position), [*map(str, node.hops)], node.status) for node in flow.nodes] == [
        ("kafka://orders/0/1", retries, "unchecked"),
        ("kafka://mails/0/6", [], "unchecked"),
        ("kafka://orders/0/4", ["kafka://orders-retry-0/0/5"], "duplicate"),
    ]
    assert flow.nodes[1].parent == Position("kafka", "orders", 0, 1)
    assert asyncio.run(_indexed_flows(events, "c", retries[0])) == [flow, flow]


def test_the_hops_that_spring_wrote_are_one_good_event(it: Court) -> None:
    ref = it.register("py.av-value", json.dumps(foreign.AV))
    events = [
        it.one(foreign.with_ids(line.record, ref)).event
        for line in foreign.load("spring-kafka-4.1.0-avro-retry.ndjson")
        if not line.record.position.stream.endswith("-dlt")
    ]
    assert len(events) == 3
    (flow,) = build_flows(events, JOIN, 100)
    (node,) = flow.nodes
    assert (node.status, node.event.position.stream, len(node.hops)) == ("ok", "py.av", 2)
