"""Projections: selected fields equal those of the full decoder, and every payload gets the same verdict."""

from __future__ import annotations

import json
from functools import lru_cache
from io import BytesIO
from random import Random
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.decoding.envelope.coercion import to_micros
from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.avro_format import AvroSchema
from sidecar.decoding.formats.avro.projection import compile_projection
from sidecar.decoding.formats.schema_format import FieldSelection
from sidecar.domain.json_path import PathFault
from tests.support.avro_payloads import encoded
from tests.support.avro_strategies import payloads, schemas
from tests.support.bench_events import SCHEMA, bench_events
from tests.unit.decoding.avro.test_decoding_fuzz import NoEnd, value_of

GAVE_UP = object()
MAX_BYTES = 100_000


def selection_of(fields: list[str], time: str | None = None) -> FieldSelection:
    """Select half of the fields as values, and half of them for the dict."""
    first = [name for number, name in enumerate(fields) if name == time or number % 2 == 0]
    others = tuple(name for name in fields if name not in first)
    return FieldSelection((None, *first), first.index(time) + 1 if time in first else -1, others)


def select(body: Any, selection: FieldSelection) -> tuple[Any, ...]:
    values = [None if name is None else body[name] for name in selection.fields]
    if selection.time_at >= 0:
        values[selection.time_at] = to_micros(values[selection.time_at])
    return (*values, {name: body[name] for name in selection.others})


def projection_of(declared: Any, fields: list[str]) -> Any:
    """Run the projection. Returns GAVE_UP if the full decoder has to decide."""
    root = schema_parser.parse(json.dumps(declared))
    return compile_projection(root, selection_of(fields), lambda data, start: GAVE_UP, MAX_BYTES)


def record_of(*types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": each} for number, each in enumerate(types)]
    return {"type": "record", "name": "Root", "fields": fields}


@lru_cache(maxsize=4)
def compiled(text: str) -> AvroSchema:
    return AvroSchema((text,))


def check_agreement(declared: Any, fields: list[str], payload: bytes, time: str | None = None) -> bool:
    """Assert that projection and full decoder agree. Returns True if the projection did not give up."""
    schema, selection, gave_up = compiled(json.dumps(declared)), selection_of(fields, time), []

    def decode_whole(data: bytes, start: int) -> Any:
        gave_up.append(data)
        body = schema.decode(data, start)
        return body if isinstance(body, PathFault) else select(body, selection)

    if not schema._costs.safe:
        return False
    project = compile_projection(schema._root, selection, decode_whole, MAX_BYTES)
    full = schema.decode(b"\x00" + payload, 1)
    if project is None:
        return False
    part = project(b"\x00" + payload, 1)
    if isinstance(full, PathFault):
        assert isinstance(part, PathFault)
        assert (part.code, part.path, part.message) == (full.code, full.path, full.message)
        return False
    assert repr(part) == repr(select(full, selection))
    return not gave_up


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(schemas(depth=2), min_size=1, max_size=5),
    st.sets(st.integers(0, 4)),
    st.lists(payloads(), min_size=3, max_size=3),
    st.randoms(use_true_random=False),
)
def test_projection_and_full_decoder_agree_on_every_input(
    types: list[Any], wanted: set[int], many: list[bytes], random: Random
) -> None:
    declared = with_own_names(record_of(*types))
    fields = [f"f{number}" for number in sorted(wanted) if number < len(types)]
    time = fields[0] if fields else None
    for payload in many:
        check_agreement(declared, fields, payload, time)
    try:
        out = BytesIO()
        schemaless_writer(out, parse_schema(declared), value_of(schema_parser.parse(json.dumps(declared)), random))
    except (NoEnd, ValueError, TypeError, AttributeError, OverflowError):
        return  # fastavro's writer expects other values for logical types
    payload = out.getvalue()
    check_agreement(declared, fields, payload, time)
    for _ in range(20):
        at = random.randint(0, len(payload))
        damaged = payload[:at] + random.randbytes(random.randint(0, 3)) + payload[at + random.randint(0, 3) :]
        check_agreement(declared, fields, damaged, time)


def with_own_names(declared: Any, count: list[int] | None = None) -> Any:
    """Rename every named type of the schema, because drawn schemas share names; recursion is removed."""
    count = count if count is not None else [0]
    match declared:
        case list():
            return [with_own_names(each, count) for each in declared]
        case str() if declared.startswith("n"):
            return "null" if declared == "null" else "string"
        case dict():
            renamed = dict(declared)
            if "name" in renamed and "type" in renamed and declared.get("type") in ("record", "enum", "fixed"):
                count[0] += 1
                renamed["name"] = f"T{count[0]}"
            for part in ("items", "values", "type"):
                if part in renamed:
                    renamed[part] = with_own_names(renamed[part], count)
            if "fields" in renamed:
                renamed["fields"] = [
                    {**each, "type": with_own_names(each["type"], count)} for each in declared["fields"]
                ]
            return renamed
    return declared


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", "text"),
        ("string", "x" * 63),
        ("string", "x" * 64),
        ("string", "x" * 20_000),
        ("string", "Grüße \u20ac \U0001f600"),
        ("string", "ü" * 100),
        ("long", -(2**62) + 1),
        ("long", 63),
        ("int", -64),
        ("boolean", True),
        ("boolean", False),
        ("double", 0.1),
        ("float", 0.5),
        ("bytes", b"\xff\x00" * 10),
        ("bytes", b"\xff" * 100),
        ("null", None),
        (["null", "string"], None),
        (["null", "string"], "a"),
        (["string", "null", "double"], 1.5),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B"),
        ({"type": "fixed", "name": "F", "size": 3}, b"\xffab"),
        ({"type": "array", "items": "string"}, ["a", "b" * 70, "ü"]),
        ({"type": "array", "items": "double"}, [0.5, 1.5]),
        ({"type": "array", "items": "string"}, []),
        ({"type": "array", "items": "long"}, list(range(200))),
        ({"type": "map", "values": "long"}, {"a": 1, "ü": 1_000_000}),
        ({"type": "array", "items": {"type": "array", "items": ["null", "string"]}}, [[None, "a"], [], ["b" * 99]]),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_767_225_600_000),
        ({"type": "long", "logicalType": "timestamp-micros"}, 2**60),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, b"\x04\xd2"),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, bytes(range(16))),
        ({"type": "int", "logicalType": "date"}, 20_000),
    ],
)  # fmt: skip
def test_every_type_is_read_and_stepped_over_without_the_full_decoder(type: Any, value: Any) -> None:
    declared = record_of("string", type, "long", type if isinstance(type, str | list) else "string", "null")
    last = value if isinstance(type, str | list) else "end"
    plain = json.loads(json.dumps(declared).replace('"logicalType"', '"plain"'))
    payload = encoded(plain, {"f0": "first", "f1": value, "f2": 7, "f3": last, "f4": None})
    for fields in ([], ["f1"], ["f0", "f2"], ["f0", "f1", "f2", "f3"]):
        assert check_agreement(declared, fields, payload)
        assert check_agreement(declared, fields, payload, "f1") or str(type).count("timestamp")
    for at in range(len(payload) if len(payload) < 1_000 else 0):
        check_agreement(declared, ["f0", "f1"], payload[:at])
        check_agreement(declared, ["f0"], payload[:at] + bytes([payload[at] ^ 0x80]) + payload[at + 1 :])


def test_sized_blocks_are_skipped() -> None:
    declared = record_of({"type": "array", "items": "string"}, "string", "null")
    payload = b"\x03\x08\x02a\x02b" + b"\x02\x02c" + b"\x00" + b"\x02z"
    assert check_agreement(declared, ["f0", "f1"], payload)


def test_a_count_that_no_payload_can_hold_ends_at_once() -> None:
    declared = record_of({"type": "array", "items": "double"}, "string")
    payload = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\x00" * 8
    assert not check_agreement(declared, ["f1"], payload)


def test_every_event_of_the_bench_is_read_by_its_projection() -> None:
    for _, value, _ in bench_events(100):
        assert check_agreement(SCHEMA, ["eventId", "timestamp", "eventType"], value[5:], "timestamp")


TIMESTAMPS = (
    0,
    1,
    -1,
    63,
    2**31,
    1_767_225_600_000,
    2**41,
    31_535_999_999,
    1_767_225_600_000_000,
    2**55,
    2**60,
    -(2**60),
)


@pytest.mark.parametrize(
    "logical", ["timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-millis"]
)
@pytest.mark.parametrize("optional", [False, True])
def test_a_time_of_any_size_is_given_in_microseconds(logical: str, optional: bool) -> None:
    type: Any = {"type": "long", "logicalType": logical}
    declared = record_of(["null", type] if optional else type, "string")
    for number in TIMESTAMPS:
        payload = b"\x02" * optional + encoded(record_of("long", "string"), {"f0": number, "f1": "end"})
        check_agreement(declared, ["f0", "f1"], payload, "f0")
    payload = b"\x02" * optional + encoded(record_of("long", "string"), {"f0": 1_767_225_600_000, "f1": "end"})
    gave_up = not check_agreement(declared, ["f0", "f1"], payload, "f0")
    assert gave_up == (logical == "timestamp-micros")  # a time in 1970 there


def test_large_payloads_are_left_to_the_full_decoder() -> None:
    declared = record_of("string")
    payload = encoded(declared, {"f0": "x" * MAX_BYTES})
    assert projection_of(declared, ["f0"])(payload, 0) is GAVE_UP


def test_no_code_is_generated_for_what_is_no_record_or_too_large() -> None:
    assert projection_of("string", []) is None
    assert projection_of(record_of(*["string"] * 1_000), []) is None
    deep: Any = "string"
    for _ in range(30):
        deep = {"type": "array", "items": deep}
    assert projection_of(record_of(deep), []) is None


def test_recursive_schemas_have_no_projection() -> None:
    chain = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
    assert AvroSchema((json.dumps(chain),)).project(selection_of(["next"]), lambda data, start: None) is None
