"""Acceptors: what they accept is what the check of every type accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.decoding.formats.avro import json_validator, schema_parser
from sidecar.decoding.formats.avro.json_acceptor import compile_acceptor
from sidecar.decoding.formats.avro.json_validator import _CheckCompiler
from tests.support.avro_strategies import schemas
from tests.support.bench_events import SCHEMA
from tests.unit.decoding.avro.test_projection import record_of, with_own_names

TEXTS = ("", "A", "B", "x", "\u00e9", "2026-02-30", "2026-01-01T00:00:00Z", "NaN", "1", "\ud800")
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from((0, 1, -1, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**70))
    | st.sampled_from((0.0, 3.0, 1.5, 1e300))
    | st.sampled_from(TEXTS)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("f0", "f1", "a")), inner)
)


def accepted(declared: Any, value: Any) -> bool:
    """Assert that the acceptor accepts nothing that the checks reject. True if it accepts."""
    root, checks = schema_parser.parse(json.dumps(declared)), _CheckCompiler()
    check, accepts = checks.of(root), compile_acceptor(root, checks.of)
    if accepts is None or not accepts(value):
        return False
    assert check(value) is None, value
    return True


def value_for(draw: st.DrawFn, declared: Any) -> Any:
    """A value that fits the schema, more or less."""
    if draw(st.integers(0, 20)) == 0:
        return draw(anything)
    match declared:
        case list():
            return value_for(draw, draw(st.sampled_from(declared))) if declared else None
        case {"type": "record", "fields": fields}:
            return {each["name"]: value_for(draw, each["type"]) for each in fields if draw(st.integers(0, 9))}
        case {"type": "array", "items": items}:
            return [value_for(draw, items) for _ in range(draw(st.integers(0, 2)))]
        case {"type": "map", "values": values}:
            return {key: value_for(draw, values) for key in draw(st.lists(st.sampled_from("abc"), max_size=2))}
        case {"type": "enum", "symbols": symbols}:
            return draw(st.sampled_from(symbols))
        case {"type": type}:
            return value_for(draw, type)
        case "string" | "bytes":
            return draw(st.sampled_from(TEXTS))
        case "null":
            return None
        case "boolean":
            return draw(st.booleans())
    return draw(st.sampled_from((0, -5, 7, 1.5)))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(schemas(depth=2), min_size=1, max_size=4), st.data())
def test_what_is_accepted_is_right_by_every_check(types: list[Any], data: st.DataObject) -> None:
    declared = with_own_names(record_of(*types))
    for _ in range(8):
        accepted(declared, data.draw(st.composite(value_for)(declared)))


ALIAS = {"type": "record", "name": "A", "fields": [{"name": "f0", "aliases": ["g"], "type": ["null", "string"]}]}
ITEM = {"type": "record", "name": "I", "fields": [{"name": "n", "type": "int"}]}


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        (record_of("string", "long", "double"), {"f0": "a", "f1": 1, "f2": 1}, True),
        (record_of("string", "long", "double"), {"f0": "a", "f1": 1, "f2": 1.5, "more": {}}, True),
        (record_of("string"), {}, False),
        (record_of(["null", "string"]), {}, True),
        (record_of(["null", "string"]), {"f0": {"string": "a"}}, False),
        (record_of("int"), {"f0": 2**31}, False),
        (record_of("int"), {"f0": True}, False),
        (record_of("double"), {"f0": "NaN"}, False),
        (record_of(["null", ITEM]), {"f0": {"n": 1}}, True),
        (record_of(["null", ITEM]), {"f0": None}, True),
        (record_of(["null", ITEM]), {"f0": {"n": "x"}}, False),
        (record_of({"type": "array", "items": ITEM}), {"f0": [{"n": 1}, {"n": 2}]}, True),
        (record_of({"type": "map", "values": "string"}), {"f0": {"a": "b"}}, True),
        (record_of({"type": "map", "values": "string"}), {"f0": {"a": 1}}, False),
        (record_of({"type": "enum", "name": "E", "symbols": ["A"]}), {"f0": "A"}, True),
        (record_of({"type": "enum", "name": "E", "symbols": ["A"]}), {"f0": ["A"]}, False),
        (record_of({"type": "long", "logicalType": "timestamp-millis"}), {"f0": "2026-01-01T00:00:00Z"}, True),
        (record_of({"type": "long", "logicalType": "timestamp-millis"}), {"f0": "2026-02-30T00:00:00Z"}, False),
        (ALIAS, {"f0": "a"}, True),
        (ALIAS, {"g": 1}, False),
    ],
)
def test_the_plainest_form_is_accepted(declared: Any, value: Any, expected: bool) -> None:
    assert accepted(declared, value) == expected


def test_the_bench_s_events_need_no_other_check(monkeypatch: pytest.MonkeyPatch) -> None:
    root = schema_parser.parse(json.dumps(SCHEMA))
    order = {"orderId": "o", "customerId": "c", "status": "NEW", "currency": "EUR", "total": 1, "channel": "web"}
    event = {"eventId": "e", "eventType": "t", "timestamp": 1, "aggregateId": "o", "eventVersion": 1}
    items = [{"sku": "s", "name": "n", "qty": 1, "price": 2.5}]
    assert accepted(SCHEMA, {**event, "data": {**order, "items": items}})
    assert json_validator.compile_check(root, False)({**event, "data": {**order, "items": items}}) is None


def test_no_code_is_generated_for_what_cannot_be_told_at_once() -> None:
    chain = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
    maps = [{"type": "map", "values": "int"}, {"type": "array", "items": "int"}]
    for declared in (chain, record_of(maps), record_of(*["string"] * 300)):
        root = schema_parser.parse(json.dumps(declared))
        assert compile_acceptor(root, _CheckCompiler().of) is None
