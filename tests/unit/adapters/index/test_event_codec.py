"""Packed events keep every field, and the shared index keeps the order of its stored fields."""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict, replace

from sidecar.adapters.index.event_codec import PACKED_FIELDS
from sidecar.adapters.index.memory import packed_events
from sidecar.adapters.index.redis.key_layout import pack_event, unpack_event
from sidecar.domain.event_bounds import bound_event
from sidecar.domain.model import Event, Rejection, SchemaRef, TraceOrigin
from sidecar.domain.position import Partition, Position

LOG = Partition("kafka", "orders", 3)
SCHEMA = SchemaRef("orders-value", 2, 7, "guid")
EVENT = Event(
    position=LOG.at(4711),
    key="key",
    appended_at=1,
    observed_at=2,
    event_id="event",
    type="OrderCreated",
    version="4",
    occurred_at=3,
    aggregate_id="order-1",
    aggregate_type="Order",
    trace_id=5 << 64 | 6,
    span_id=(1 << 64) - 1,
    parent_span_id=8,
    trace_origin=TraceOrigin.W3C,
    correlation_id="correlation",
    causation_id="cause",
    producer="shop",
    schema=SCHEMA,
    unchecked=True,
    rejection=Rejection("schema.mismatch", "expected int", "data.qty"),
    replay_of="letter",
    digest=9,
    hop_of="kafka://orders/0/1",
)
STORED = [
    1,
    2,
    3,
    "event",
    "OrderCreated",
    "4",
    "key",
    "order-1",
    "Order",
    (5 << 64 | 6).to_bytes(16, "big"),
    (1 << 64) - 1,
    8,
    "w3c",
    "correlation",
    "cause",
    "shop",
    ["orders-value", 2, 7, "guid"],
    True,
    {"code": "schema.mismatch", "message": "expected int", "path": "data.qty"},
    "letter",
    9,
]
"""The fields that the first release stored for EVENT. Members of different versions share an index, so this list only
grows."""


def test_every_field_but_the_position_is_packed():
    assert set(PACKED_FIELDS) == set(Event.__struct_fields__) - {"position"}
    assert all(value is not None for value in asdict(EVENT).values())


def test_the_shared_index_keeps_its_stored_order():
    assert msgspec.msgpack.decode(pack_event(EVENT))[: len(STORED)] == STORED
    assert unpack_event(pack_event(EVENT), LOG, 4711) == EVENT


def test_entries_of_older_and_newer_versions_are_readable():
    older = msgspec.msgpack.encode(STORED[:-2])
    newer = msgspec.msgpack.encode([*msgspec.msgpack.decode(pack_event(EVENT)), "a field of tomorrow"])
    assert unpack_event(older, LOG, 4711) == replace(EVENT, replay_of=None, digest=0, hop_of=None)
    assert unpack_event(newer, LOG, 4711) == EVENT


def test_a_packed_event_in_memory_is_restored():
    schemas = packed_events.SchemaTable()
    trace = STORED[9]
    data = packed_events.pack(0, 4711, 0, 1, None, None, None, 17, None, None, trace, schemas.packable(SCHEMA), EVENT)
    packed = packed_events.unpack(data)
    assert packed.before_correlation == 17
    assert packed_events.unpack_head(data).offset == 4711
    assert packed_events.restore_event(packed, LOG, schemas) == EVENT


def test_any_bounded_event_can_be_packed():
    event = Event(Position("redis", "s", 0, 1), "\ud800" * 9, 1 << 80, -(1 << 80), trace_id=-1, span_id=1 << 64)
    event.trace_origin = TraceOrigin.B3
    event.type = "x" * 10_000
    bounded = bound_event(event)
    assert unpack_event(pack_event(bounded), Partition("redis", "s", 0), 1) == bounded
    assert (bounded.trace_id, bounded.trace_origin, bounded.span_id) == (None, None, None)
    assert bounded.appended_at == (1 << 63) - 1
    assert len(bounded.type or "") <= 512
