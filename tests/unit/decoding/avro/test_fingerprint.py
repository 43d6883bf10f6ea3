"""Fingerprints are those of the specification and of fastavro."""

from __future__ import annotations

import json
from typing import Any

from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form
from hypothesis import HealthCheck, given, settings

from sidecar.decoding.formats.avro import schema_parser
from sidecar.decoding.formats.avro.fingerprint import canonical_form, fingerprint
from tests.support.avro_payloads import LINKED_LIST, ORDER
from tests.support.avro_strategies import schemas


def test_the_specifications_values() -> None:
    assert fingerprint(schema_parser.parse('"null"')) == 0x63DD24E7CC258F8A
    assert fingerprint(schema_parser.parse('{"type": "int", "doc": "no matter"}')) == 0x7275D51A3F395C8F


def test_canonical_forms_are_fastavros() -> None:
    for declared in (ORDER, LINKED_LIST):
        assert canonical_form(schema_parser.parse(json.dumps(declared))) == to_parsing_canonical_form(declared)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
def test_any_schema_has_fastavros_fingerprint(declared: Any) -> None:
    form = to_parsing_canonical_form(declared)
    assert canonical_form(schema_parser.parse(json.dumps(declared))) == form
    expected = int.from_bytes(bytes.fromhex(fastavro_fingerprint(form, "CRC-64-AVRO")), "little")
    assert fingerprint(schema_parser.parse(json.dumps(declared))) == expected
