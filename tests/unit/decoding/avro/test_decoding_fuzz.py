"""Property: any schema and any bytes give a value or a rejection, and no exception; values equal fastavro's."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.payload_limits import compile_walk, find_fault
from sidecar.domain.model import Rejection
from tests.support.avro_payloads import schema
from tests.support.avro_strategies import payloads, plain, schemas

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@QUICK
@given(schemas(), st.lists(payloads(), min_size=3, max_size=3))
def test_any_bytes_are_a_value_or_a_rejection(declared: Any, many: list[bytes]) -> None:
    read = schema(declared)
    walk = compile_walk(schema_parser.parse(json.dumps(declared)))
    for payload in many:
        outcome = read.decode(payload, 0)
        fault = find_fault(walk, payload, 0)
        if fault is None:
            assert not isinstance(outcome, Rejection), outcome
        if isinstance(outcome, Rejection):
            assert outcome.stage == "decode"
            assert outcome.message.isprintable()


@pytest.mark.slow
@QUICK
@given(schemas().map(plain), st.randoms(use_true_random=False))
def test_values_equal_those_of_fastavro(declared: Any, random: Random) -> None:
    parsed = parse_schema(declared)
    out = BytesIO()
    try:
        schemaless_writer(out, parsed, value_of(schema_parser.parse(json.dumps(declared)), random))
    except (NoEnd, ValueError):
        return  # a ValueError: fastavro's writer finds no branch of a union for the value
    payload = out.getvalue()
    ours = schema(declared)
    assert repr(ours.decode(b"\x00" + payload, 1)) == repr(schemaless_reader(BytesIO(payload), parsed, None))
    for _ in range(5):
        at = random.randint(0, len(payload))
        ours.decode(payload[:at] + random.randbytes(random.randint(0, 3)) + payload[at + random.randint(0, 3) :], 0)


class NoEnd(Exception):
    """Raised for a record that contains only itself and therefore has no value."""


def value_of(type: schema_parser.Type, random: Random, depth: int = 0) -> Any:
    """Build a value of a type; shallow ones below a certain depth. Raises NoEnd."""
    if depth > 40:
        raise NoEnd
    many = random.randint(0, 2) if depth < 5 else 0
    match type:
        case schema_parser.AvroPrimitive(name):
            return _PRIMITIVES[name](random)
        case schema_parser.AvroFixed(_, size):
            return random.randbytes(size)
        case schema_parser.AvroEnum(_, symbols):
            return random.choice(symbols)
        case schema_parser.AvroArray(items):
            return [value_of(items, random, depth + 1) for _ in range(many)]
        case schema_parser.AvroMap(inner):
            return {f"k\u00e9{n}": value_of(inner, random, depth + 1) for n in range(many)}
        case schema_parser.AvroUnion(branches):
            return value_of(random.choice(branches) if depth < 5 else branches[0], random, depth + 1)
        case schema_parser.AvroRecord():
            return {each.name: value_of(each.type, random, depth + 1) for each in type.fields}


_PRIMITIVES: dict[str, Callable[[Random], Any]] = {
    "null": lambda random: None,
    "boolean": lambda random: random.random() < 0.5,
    "int": lambda random: random.choice([0, -1, 2**31 - 1, -(2**31), random.randint(-1000, 1000)]),
    "long": lambda random: random.choice([0, -1, 2**63 - 1, -(2**63), random.randint(-(2**40), 2**40)]),
    "float": lambda random: random.choice([0.0, -0.5, float("nan"), float("inf")]),
    "double": lambda random: random.choice([0.1, -1e300, float("nan"), float("-inf"), random.random()]),
    "bytes": lambda random: random.randbytes(random.randint(0, 9)),
    "string": lambda random: random.choice(["", "\u00fc\u20ac\U0001f600", "\x00", "x" * random.randint(0, 200)]),
}
