"""Property: no record raises in the decoder, and fast and general path agree."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.domain.broker_traits import is_time_observed
from sidecar.domain.model import Record
from tests.support.decoding import NOW, ORDER, ORDER_CREATED, Court, avro, confluent, order, record

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CHANGE = {"before": None, "after": {"id": 1}, "source": {"table": "t", "ts_ms": 1}, "op": "c"}
CLOUDEVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"total": 1}, "data_base64": "AA=="}
UNION = {
    "type": "record",
    "name": "Loose",
    "fields": [
        {"name": name, "type": ["null", "string", "long", "double", "boolean", {"type": "map", "values": "string"}]}
        for name in ("eventId", "event_id", "eventType", "timestamp", "aggregateId", "correlationId", "producer")
    ],
}
STREAMS = {"orders": ORDER_CREATED, "loose": UNION, "data": ORDER}
IDS: dict[str, int] = {}


@pytest.fixture(scope="module", params=["built in", "configured", "required"], name="it")
def _it(request):
    places = {
        "built in": {},
        "configured": {
            "event_id": ["body:metadata.uid", "header:x-id"],
            "occurred_at": ["body:when"],
            "type": ["body:kind"],
            "aggregate_id": ["key"],
        },
        "required": {"required": ["event_id", "occurred_at", "aggregate_id"]},
    }[request.param]
    it = Court(**places)
    for stream, schema in STREAMS.items():
        IDS[stream] = it.id_of(f"{stream}-value", schema)
    yield it
    it.close()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "2026-01-01T00:00:00Z", 1_767_225_600, 1_767_225_600_000, "1767225600000", "x" * 600])
)
names = st.sampled_from(
    [
        "eventId",
        "event_id",
        "eventType",
        "event_type",
        "timestamp",
        "occurredAt",
        "aggregateId",
        "aggregate_id",
        "aggregateType",
        "correlationId",
        "causation_id",
        "producer",
        "eventVersion",
        "metadata",
        "metadata.correlationId",
        "data",
        "payload",
        "schema",
        "when",
        "kind",
        "specversion",
        "id",
        "source",
        "type",
        "op",
        "after",
        "before",
        "data_base64",
        "dataschema",
        "traceparent",
    ]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=8), inner, max_size=4)
)
bodies = st.dictionaries(names, values, max_size=8) | st.sampled_from([order(), CHANGE, CLOUDEVENT]).flatmap(
    lambda body: st.dictionaries(names, values, max_size=3).map(lambda changes: {**body, **changes})
)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "traceparent",
                "TraceParent",
                "b3",
                "uber-trace-id",
                "ce_id",
                "ce_type",
                "CE_Time",
                "ce_subject",
                "event-id",
                "event-version",
                "x-id",
                "correlation-id",
                "x-producer",
                "id",
                "eventType",
                "content-type",
                "ce_dataschema",
                "tracecar.replay-of",
                "__key_schema_id",
            ]
        )
        | st.text(max_size=8),
        st.none()
        | st.binary(max_size=30)
        | st.sampled_from(
            [TRACEPARENT, b"1", b"2", b"application/json", b"application/cloudevents+json", b"2026-01-01", b"\xff", b""]
        ),
    ),
    max_size=4,
).map(tuple)
schema_headers = st.tuples(
    st.sampled_from(
        ["__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId", "apicurio.value.encoding"]
    ),
    st.sampled_from([b"\0\0\0\0\1", (1).to_bytes(8, "big"), b"JSON", b"\1" + b"x" * 16]) | st.binary(max_size=20),
)
loose = st.fixed_dictionaries(
    {
        field["name"]: st.none()
        | st.text(max_size=20)
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=True)
        | st.booleans()
        | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
        for field in UNION["fields"]
    }
)


@st.composite
def valued(draw):
    """Draw the bytes of a value, valid or nearly valid, and a stream for it."""
    stream = draw(st.sampled_from([*STREAMS, "free"]))
    value = draw(
        st.one_of(
            bodies.map(lambda body: json.dumps(body).encode("utf-8", "surrogatepass")),
            loose.map(lambda body: confluent(IDS["loose"], avro(UNION, body))),
            st.just(confluent(IDS["orders"], avro(ORDER_CREATED, order()))),
        )
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.binary(max_size=3)) + value[at + draw(st.integers(0, 3)) :]
    return stream, value


def well_formed(decoded, record: Record) -> None:
    event = decoded.event
    assert decoded.record is record
    assert event.position == record.position
    assert event.appended_at == record.timestamp or is_time_observed(event.position.system, event.position.offset)
    assert event.observed_at == NOW
    assert (event.trace_id is None) == (event.trace_origin is None)
    assert not (event.unchecked and event.rejection is not None)
    for word in ("event_id", "type", "version", "aggregate_id", "aggregate_type", "correlation_id", "causation_id"):
        text = getattr(event, word)
        assert text is None or (isinstance(text, str) and 0 < len(text) <= 512)
    assert event.key is None or len(event.key) <= 512
    if event.rejection is not None:
        assert len(event.rejection.message) <= 2_000
        assert "raises" not in event.rejection.message  # no unexpected error


def look(decoded) -> None:
    """Decode the body, so that its value is compared."""
    assert decoded.has_body == (decoded.body is not None)


def judged(it: Court, record: Record):
    decoded = it.one(record)
    well_formed(decoded, record)
    look(decoded)
    return decoded


@st.composite
def framed(draw):
    """Draw a stream with a value and headers; the schema's id may be in a header."""
    stream, value = draw(valued())
    named = draw(headers)
    if value and value[0] == 0 and draw(st.booleans()):
        at = draw(st.integers(0, len(named)))
        named, value = (*named[:at], ("__value_schema_id", value[:5]), *named[at:]), value[5:]
    return stream, (value, named)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fast_path_and_general_path_agree(it, data):
    stream, (value, named) = data.draw(framed())
    key = data.draw(st.none() | st.binary(max_size=12) | st.just(b"k" * 600))
    one = record(value, named, stream=stream, key=key)
    it.judge._envelope.keys._streams.clear()  # the text of a key depends on the keys before it
    short = judged(it, one)
    it.judge._envelope.keys._streams.clear()
    layout = it.judge._layout(tuple(name for name, _ in named))
    careful = it.look_up(lambda: it.judge._decode_slowly(one, layout, NOW, False, it.catalog))
    # Compared as text, because an Avro body may contain NaN, which equals nothing.
    assert repr(short) == repr(careful)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_records_do_not_tell_upon_one_another(it, data):
    drawn = data.draw(st.lists(framed(), min_size=2, max_size=6))
    records = [record(value, named, stream=stream, offset=n) for n, (stream, (value, named)) in enumerate(drawn)]
    together = it.all(records)
    for one in together:
        look(one)
    assert repr(together) == repr([judged(it, one) for one in records])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    value=st.none() | st.binary(max_size=60),
    named=st.lists(schema_headers, max_size=2).map(tuple),
    more=headers,
    key=st.none() | st.binary(max_size=20),
    stream=st.sampled_from([*STREAMS, "free"]),
    system=st.sampled_from(["kafka", "redis"]),
    timestamp=st.integers(-(2**63), 2**63 - 1),
)
def test_any_bytes_are_decoded_or_rejected(it, value, named, more, key, stream, system, timestamp):
    judged(it, record(value, named + more, stream=stream, key=key, system=system, timestamp=timestamp))


HOSTILE = {
    "deep list": b"[" * 1_000_000,
    "deep map": b'{"a":' * 200_000,
    "deep but closed": b"[" * 500_000 + b"]" * 500_000,
    "deep beneath words": b'{"eventId":"1","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"eventId":' + b"9" * 1_000_000 + b"}",
    "huge exponent": b'{"eventId":1e999999,"timestamp":1e400}',
    "surrogate": b'{"eventId":"\\ud800"}',
    "invalid utf-8": b'{"eventId":"\xff\xfe"}',
    "nul": b'{"eventId":"a\\u0000b","eventType":"\\u001b[31m"}',
    "repeated names": b'{"eventId":1,"eventId":"2"}',
    "many names": json.dumps({f"n{n}": n for n in range(50_000)}).encode(),
    "one long name": json.dumps({"x" * 1_000_000: 1}).encode(),
    "one long text": json.dumps({"eventId": "x" * 1_000_000}).encode(),
    "negative time": b'{"timestamp":-1}',
    "avro bomb": confluent(1, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 3),
    "zeros": b"\0" * 100_000,
    "nested base64": b'{"specversion":"1","id":"1","source":"s","type":"t","data_base64":"' + b"W1tb" * 250_000 + b'"}',
    "wrapped text": json.dumps({"schema": None, "payload": "[" * 1_000_000}).encode(),
}


@pytest.mark.parametrize("stream", ["orders", "free"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_get_a_verdict_and_stay_text_that_can_be_sent(it, name, stream):
    event = judged(it, record(HOSTILE[name], {"event-id": "e-1", "event-type": "T"}, stream=stream)).event
    for text in (event.event_id, event.type, event.key, event.rejection and event.rejection.message):
        assert text is None or text.encode()


HOSTILE_HEADERS = {
    "one of 1 MB": (("traceparent", b"0" * 1_000_000), ("correlation-id", b"x" * 1_000_000)),
    "a long name": (("x" * 1_000_000, b"1"),),
    "very many": tuple((f"h{n}", b"x") for n in range(50_000)),
    "repeated": (("traceparent", TRACEPARENT),) * 20_000,
    "no names": (("", b"x"), ("", None)),
    "control characters": (("\x1b[31m", b"\x1b[31m"), ("event-id", b"\x00\x1b[2J")),
    "invalid utf-8": (("event-id", b"\xff\xfe\xfd"), ("x-producer", b"\xc3\x28")),
    "surrogates in a name": (("\udcff", b"x"), ("\ud800", b"y")),
    "a large tag": (("x-datadog-trace-id", b"7"), ("x-datadog-tags", b"_dd.p.tid=" * 100_000)),
    "percent signs": (("uber-trace-id", b"%3A" * 300_000),),
}


@pytest.mark.parametrize("system", ["kafka", "redis"])
@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_hostile_headers_get_a_verdict(it, name, system):
    judged(it, record(None if system == "redis" else order(), HOSTILE_HEADERS[name], system=system))


@pytest.mark.parametrize(
    "key", [b"\0" * 1_000_000, b"\xff" * 1_000_000, b"\0\0\0\0\1" + b"\xff" * 10, b"{" * 1_000_000]
)
def test_hostile_keys_get_a_verdict(it, key):
    judged(it, record(order(), key=key))
    judged(it, record(CHANGE, key=key))
