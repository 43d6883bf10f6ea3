"""Plans of the decoder's loop: how records of one schema, or JSON objects with the same fields, become events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from sidecar.decoding.envelope.extractor import HeaderLayout
from sidecar.decoding.fast_path import Build, EventPlan, compile_plan, selector
from sidecar.decoding.formats.schema_format import FieldSelection
from sidecar.decoding.record_key import KeyReader
from sidecar.decoding.schema import BoundSchema
from sidecar.domain.model import Event, UnreadBody

FRAME_BYTES = 5
"""The first byte and the schema id, before a body or in a header."""


class AvroPlan(Struct, frozen=True):
    """The way to decode records that begin with one schema id, under one sequence of header names."""

    decode: Callable[[bytes, int], Any]
    """Decodes what `build` needs: a tuple, or a fault."""
    build: Build | None = None
    """Builds the event; None where the general decoder is needed: the id is not good, or events are not plain."""
    content: UnreadBody | None = None
    """Reads the body on demand; None where `decode` gives all of it."""


def build_avro_plan(headings: HeaderLayout, schema: BoundSchema, keys: KeyReader) -> AvroPlan:
    """Plan the decoding of plain events of a schema: of their bodies, what the envelope needs."""
    plan, decode = compile_plan(headings, schema.fields, schema, keys), schema.fast_decode
    start = FRAME_BYTES if headings.value_schema < 0 else 0
    decode_whole = selector(decode, plan.selection)
    project = schema.project(plan.selection, decode_whole)
    if project is None:
        return AvroPlan(decode_whole, plan.build)
    return AvroPlan(project, plan.build, UnreadBody(lambda value: decode(value, start), schema.fields))


def _no_avro(data: bytes, start: int) -> Any:
    raise AssertionError("called without an Avro schema")


NO_AVRO_PLAN = AvroPlan(_no_avro)


def _no_json(*_: Any) -> Event | None:
    raise AssertionError("called without a plan")


NO_JSON_PLAN = EventPlan(_no_json, FieldSelection((), -1))
"""Placeholder for a plan that was not made yet."""
