"""Content of spans, read back with the official classes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Read

from exporters import semantic_conventions, zipkin
from exporters.otlp.protobuf_writer import varint
from exporters.otlp.span_encoder import OtlpSpanEncoder
from exporters.tracing.span_ids import span_id, span_id_at
from exporters.tracing.span_mapper import VARYING, DeadLetterTarget, SpanMapper, SpanParent, span_times
from sidecar.adapters.brokers.redis.traits import parse_entry_id
from sidecar.domain.model import Event, Rejection, SchemaRef
from sidecar.domain.position import Position
from tests.servers.otlp import attributes

NOW = 1_767_225_600_000
TRACE, SENDER = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


def event(offset: int = 7, stream: str = "orders", system: str = "kafka", **words: Any) -> Event:
    words = {"key": "order-1", "appended_at": NOW, "observed_at": NOW * 1000} | words
    return Event(position=Position(system, stream, 0, offset), **words)


def mapper(**servers: tuple[str, int]) -> SpanMapper:
    letters = {name: DeadLetterTarget("tracecar.shop", lambda stream: f"{stream}.dlt") for name in ("kafka", "redis")}
    return SpanMapper(letters, servers)


def read(span: Any, environ: dict[str, str] | None = None) -> Read:
    encoder = OtlpSpanEncoder(semantic_conventions.read_spelling(environ or {}))
    (found,) = ScopeSpans.FromString(encoder.encode([span])[0]).spans
    return found


def test_a_span_follows_the_messaging_conventions() -> None:
    one = event(
        event_id="e-1", type="OrderPlaced", correlation_id="c-1", aggregate_id="order-1", producer="shop",
        trace_id=TRACE, span_id=SENDER, occurred_at=(NOW - 3) * 1000,
    )  # fmt: skip
    span = read(mapper(kafka=("broker", 9092)).span(one, 351, TRACE))
    assert span.name == "receive orders"
    assert span.kind == Read.SPAN_KIND_CLIENT
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (f"{TRACE:032x}", f"{SENDER:016x}")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == ((NOW - 3) * 1_000_000, NOW * 1_000_000)
    assert attributes(span.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "tracecar.shop",
        "messaging.message.id": "e-1",
        "messaging.message.conversation_id": "c-1",
        "messaging.message.body.size": 351,
        "messaging.kafka.offset": 7,
        "messaging.kafka.message.key": "order-1",
        "server.address": "broker",
        "server.port": 9092,
        "tracecar.position": "kafka://orders/0/7",
        "tracecar.event.type": "OrderPlaced",
        "tracecar.aggregate.id": "order-1",
        "tracecar.producer": "shop",
    }
    (link,) = span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == (f"{TRACE:032x}", f"{SENDER:016x}")
    assert attributes(link.attributes) == {"tracecar.link": "creation"}


def test_a_redis_entry_has_no_partition_or_offset_and_its_id_where_the_event_has_none() -> None:
    found = attributes(read(mapper().span(event(parse_entry_id("1700-3"), system="redis"), 9, TRACE)).attributes)
    assert found["messaging.message.id"] == "1700-3"
    assert found["tracecar.position"] == "redis://orders/1700-3"
    assert not [name for name in found if "kafka" in name or "partition" in name]


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, ["messaging.kafka.offset", "messaging.system"]),
        ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http, messaging"}, ["kafka.offset", "messaging.system.name"]),
        (
            {"OTEL_SEMCONV_STABILITY_OPT_IN": "messaging/dup,messaging"},
            ["kafka.offset", "messaging.kafka.offset", "messaging.system", "messaging.system.name"],
        ),
    ],
)
def test_names_are_those_that_the_environment_opts_in_to(environ: dict[str, str], names: list[str]) -> None:
    span = mapper().span(event(rejection=Rejection("decode.truncated", "no")), None, TRACE)
    found = attributes(read(span, environ).attributes)
    assert sorted(name for name in found if name.endswith(("kafka.offset", "messaging.system", "system.name"))) == names
    tagged = zipkin.ZipkinSpanEncoder(semantic_conventions.read_spelling(environ)).to_json(span)["tags"]
    assert set(names) <= set(tagged)


def test_the_cause_is_the_parent_and_the_sender_stays_linked() -> None:
    one = event(trace_id=TRACE, span_id=SENDER)
    above = span_id_at(Position("kafka", "payments", 0, 3))
    span = read(mapper().span(one, 1, TRACE, parent=SpanParent(TRACE, above, inferred=True)))
    assert int(span.parent_span_id.hex(), 16) == above
    assert [attributes(link.attributes)["tracecar.link"] for link in span.links] == ["creation"]
    assert attributes(span.attributes)["tracecar.parent.inferred"] is True


def test_a_cause_in_another_trace_is_linked_and_no_parent() -> None:
    span = read(mapper().span(event(), 1, TRACE, parent=SpanParent(99, span_id_at(event(3, "payments").position))))
    assert span.parent_span_id == b""
    (link,) = span.links
    assert (int(link.trace_id.hex(), 16), attributes(link.attributes)["tracecar.link"]) == (99, "cause")


def test_a_rejection_is_an_error_with_its_code_and_dead_letter() -> None:
    rejection = Rejection("schema.mismatch", "qty: expected int, found text", "items[0].qty")
    one = event(rejection=rejection, schema=SchemaRef("orders-value", 3, 1))
    span = read(mapper().span(one, 5, TRACE))
    assert span.status.code == 2
    assert span.status.message == "schema.mismatch: qty: expected int, found text"
    assert attributes(span.attributes)["error.type"] == "schema.mismatch"
    assert [note.name for note in span.events] == ["tracecar.rejection", "tracecar.dead_letter"]
    assert attributes(span.events[0].attributes) == {
        "tracecar.code": "schema.mismatch",
        "tracecar.stage": "schema",
        "tracecar.message": "qty: expected int, found text",
        "tracecar.path": "items[0].qty",
        "tracecar.schema": "orders-value v3",
    }
    assert attributes(span.events[1].attributes) == {
        "tracecar.dead_letter.id": "tracecar.shop@kafka://orders/0/7",
        "tracecar.dead_letter.stream": "orders.dlt",
    }


def test_a_replay_links_to_its_first_life() -> None:
    one = event(90, trace_id=TRACE, replay_of="tracecar.shop@kafka://orders/0/7")
    span = read(mapper().span(one, 5, TRACE))
    (link,) = span.links
    assert int(link.span_id.hex(), 16) == span_id_at(event(7).position)
    assert (link.trace_id.hex(), attributes(link.attributes)["tracecar.link"]) == (f"{TRACE:032x}", "replay_of")
    assert [note.name for note in span.events] == ["tracecar.replay"]
    foreign = read(mapper().span(event(90, replay_of="@kafka://orders.DLT/0/7"), 5, TRACE))
    assert not foreign.links


def test_a_duplicate_links_to_the_first() -> None:
    span = read(mapper().span(event(8, event_id="e"), 5, TRACE, first=event(7, event_id="e", trace_id=9)))
    assert attributes(span.attributes)["tracecar.duplicate"] is True
    (link,) = span.links
    assert (int(link.trace_id.hex(), 16), int(link.span_id.hex(), 16)) == (9, span_id_at(event(7).position))


def test_a_tombstone_is_marked() -> None:
    found = attributes(read(mapper().span(event(), None, TRACE)).attributes)
    assert found["messaging.kafka.message.tombstone"] is True
    assert "messaging.message.body.size" not in found


def test_a_span_id_follows_from_the_position_alone() -> None:
    assert span_id_at(Position("kafka", "orders", 0, 4711)) == 0xAE98739EA225AAFA
    ids = {
        span_id_at(Position(system, stream, number, offset))
        for system, stream, number in (("kafka", "orders", 0), ("kafka", "orders", 1), ("kafka", "stock", 0))
        for offset in range(5_000)
    } | {span_id_at(Position("redis", "orders", 0, ms << 64 | seq)) for ms in range(50) for seq in range(100)}
    assert len(ids) == 20_000
    assert all(0 < id < 1 << 64 for id in ids)
    assert mapper().span(event(7), 1, TRACE).span_id == mapper().span(event(7), 1, TRACE).span_id
    assert span_id(0, 0) == 1


@pytest.mark.parametrize(
    ("appended", "occurred", "expected"),
    [
        (NOW, None, (NOW * 1_000_000, NOW * 1_000_000)),
        (NOW, (NOW - 5) * 1000, ((NOW - 5) * 1_000_000, NOW * 1_000_000)),
        (NOW, (NOW + 5) * 1000, (NOW * 1_000_000, NOW * 1_000_000)),
        (NOW, 0, (NOW * 1_000_000, NOW * 1_000_000)),
        (-1, None, (NOW * 1_000_000, NOW * 1_000_000)),
        (1 << 62, 1 << 62, (NOW * 1_000_000, NOW * 1_000_000)),
    ],
)
def test_clocks_that_cannot_be_believed_stretch_no_span(
    appended: int, occurred: int | None, expected: tuple[int, int]
) -> None:
    assert span_times(event(appended_at=appended, occurred_at=occurred)) == expected


@given(st.integers(0, (1 << 64) - 1))
def test_varints(number: int) -> None:
    from google.protobuf.internal.encoder import _VarintBytes

    assert varint(number) == _VarintBytes(number)


texts = st.one_of(st.none(), st.text(max_size=40), st.integers(200, 3000).map(lambda n: "ü" * n), st.just("\ud800x"))


@settings(deadline=None, max_examples=150)
@given(
    words=st.fixed_dictionaries(
        dict.fromkeys(("key", "event_id", "type", "correlation_id", "aggregate_id", "producer"), texts)
    ),
    offset=st.integers(0, (1 << 63) - 1),
    size=st.one_of(st.none(), st.integers(0, 1 << 31)),
    stream=st.text(min_size=1, max_size=30),
    message=st.text(max_size=3000),
)
def test_the_span_of_any_event_is_readable_and_bounded(
    words: dict[str, Any], offset: int, size: int | None, stream: str, message: str
) -> None:
    one = event(offset, stream, rejection=Rejection("decode.malformed", message, message[:50]), **words)
    dice = random.Random(offset)
    span = mapper().span(one, size, dice.getrandbits(128) or 1)
    data = ENCODER.encode([span])[0]
    (found,) = ScopeSpans.FromString(data).spans
    assert len(data) < 30_000
    kept = attributes(found.attributes)
    for name, word in (("messaging.message.id", "event_id"), ("tracecar.producer", "producer")):
        if words[word] is not None:
            whole = words[word].encode("utf-8", "backslashreplace")
            assert whole.startswith(kept[name].encode())
            assert len(whole) <= 1024 or len(kept[name].encode()) > 1020
    import json

    plain = json.loads(zipkin.ZipkinSpanEncoder({}).encode([span])[0])
    assert plain["id"] == found.span_id.hex()


ENCODER = OtlpSpanEncoder({})


@settings(deadline=None, max_examples=150)
@given(
    words=st.fixed_dictionaries(
        dict.fromkeys(
            ("key", "event_id", "type", "correlation_id", "aggregate_id", "producer"),
            st.one_of(st.none(), st.text("aZ-7", max_size=130), st.just("ü"), st.just("x" * 1_100)),
        )
    ),
    place=st.sampled_from([("orders", "kafka", 7), ("orders", "redis", 5 << 64 | 3), ("s" * 200, "kafka", 1 << 40)]),
    size=st.one_of(st.none(), st.integers(0, 1 << 31)),
)
def test_a_span_has_equal_content_for_any_time_and_protocol(
    words: dict[str, Any], place: tuple[str, str, int], size: int | None
) -> None:
    stream, system, offset = place
    one = event(offset, stream, system, trace_id=TRACE, span_id=SENDER, **words)
    parent = SpanParent(TRACE, 5, inferred=True)
    span = mapper().span(one, size, TRACE, parent=parent)
    (said,) = ScopeSpans.FromString(ENCODER.encode([span])[0]).spans
    begun = mapper().begin(one, size, mapper().place(one.position))
    ENCODER.begin([begun])
    mapper().finish(begun, TRACE, parent, None)
    (later,) = ScopeSpans.FromString(ENCODER.encode([begun])[0]).spans
    assert later == said
    expected = {name: value for name, value in zip(VARYING, span.values, strict=True) if value is not None}
    found = attributes(said.attributes)
    assert {name: found[name] for name in expected} == {
        name: value[:1_024].encode()[:1_024].decode() if isinstance(value, str) else value
        for name, value in expected.items()
    }
    assert not set(VARYING) & (set(found) - set(expected))
