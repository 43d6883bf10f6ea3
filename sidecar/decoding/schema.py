"""A registered schema, ready for work: compiled once, then used for every event that was written with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

from sidecar.decoding.formats.avro import json_validator, payload_limits, schema_parser
from sidecar.decoding.formats.avro.fastavro_schema import DecimalTooLong, reading_schema
from sidecar.domain.json_path import PathFault
from sidecar.domain.model import Rejection, SchemaRef
from sidecar.domain.ports.registry import RegisteredSchema

MAX_REFERENCES = 500
"""Schemas that one schema may need, directly or not; what lies beyond is not read."""


class CompiledSchema:
    """What depends on a schema's text alone, so that all subjects that share the text share it.

    A registered text may be anything. One that cannot be understood, or whose kind is not Avro, is `unusable`: its
    events are unchecked, for that the text is bad is no fault of theirs."""

    __slots__ = ("check", "fields", "kind", "name", "safe", "schema", "unusable", "walk")

    def __init__(self, registered: RegisteredSchema) -> None:
        self.kind = registered.kind
        self.name: str | None = None
        self.fields: frozenset[str] = frozenset()
        self.unusable: str | None = None
        """Why it cannot be worked with, as a sentence; None for an Avro schema that can."""
        self.schema: Any = None
        if registered.kind != "AVRO":
            self.unusable = f"its kind is {registered.kind[:80]}, not AVRO"
            return
        try:
            root = parsed(registered)
        except schema_parser.UnusableSchema as error:
            self.unusable = f"it is no usable Avro schema: {error}"[:1_000]
            return
        self.schema = reading_schema(root)
        self.walk = payload_limits.compile_walk(root)
        survey = payload_limits.survey(root)
        self.safe = survey.safe
        self.check = json_validator.compile_check(root, survey.recursive)
        if isinstance(root, schema_parser.AvroRecord):
            self.name = root.name
            self.fields = frozenset(each.name for each in root.fields)


class BoundSchema:
    """A registered schema under the name it was asked for by."""

    __slots__ = ("_check", "decode", "fields", "kind", "name", "ref", "unusable")

    def __init__(
        self, registered: RegisteredSchema, ref: SchemaRef | None = None, compiled: CompiledSchema | None = None
    ) -> None:
        """`compiled` where the same text was compiled before."""
        compiled = compiled or CompiledSchema(registered)
        self.ref = ref or registered.ref
        self.kind = compiled.kind
        """`AVRO`, `JSON` or `PROTOBUF`."""
        self.name = compiled.name
        """Full name of the Avro record; None where it is none."""
        self.fields = compiled.fields
        """Names of the record's own fields."""
        self.unusable = compiled.unusable
        """Why events cannot be checked with it (they are unchecked then), as a sentence; None where they can."""
        self.decode: Callable[[bytes, int], Any | Rejection]
        """`decode(data, start)`: the value, which must take everything from `start` to the end, or why there is none
        (`decode.truncated`, `.trailing_bytes`, `.malformed`, `.limit`). Never raises, whatever the bytes. Call it, and
        `check`, only where `unusable` is None."""
        if compiled.unusable is None:
            self.decode = _decoder(compiled, self.label)
            self._check = compiled.check

    def check(self, value: Any) -> Rejection | None:
        """Whether a decoded JSON value is what this schema describes, in the ways that people write JSON (see
        `json_check`): None, or a `schema.mismatch` with the exact path. Never raises."""
        fault = self._check(value)
        return None if fault is None else _rejection(fault, self.label)

    @property
    def label(self) -> str:
        """`orders-value v3`, as far as is known."""
        ref = self.ref
        if ref.subject is not None:
            return ref.subject if ref.version is None else f"{ref.subject} v{ref.version}"
        if ref.id is not None:
            return f"schema id {ref.id}"
        return f"schema {ref.guid}" if ref.guid else f"schema {self.name or 'without name'}"


def parsed(registered: RegisteredSchema) -> schema_parser.Type:
    """The Avro type that a registered schema declares, its references resolved. Raises avro.Unusable."""
    *references, text = texts(registered)
    return schema_parser.parse(text, references)


def texts(registered: RegisteredSchema) -> tuple[str, ...]:
    """All that a schema consists of: the texts that it refers to, dependencies first and each once, then its own."""
    found: list[str] = []
    _gather(registered.references, set(), found)
    return (*found, registered.text)


def _gather(references: Sequence[RegisteredSchema], seen: set[str], into: list[str]) -> None:
    for reference in references:
        if reference.text not in seen and len(seen) < MAX_REFERENCES:
            seen.add(reference.text)
            _gather(reference.references, seen, into)
            into.append(reference.text)


def _decoder(compiled: CompiledSchema, label: str) -> Callable[[bytes, int], Any | Rejection]:
    schema, walk, safe, limit = compiled.schema, compiled.walk, compiled.safe, payload_limits.WALK_ABOVE

    def decode(data: bytes, start: int) -> Any | Rejection:
        if len(data) > limit:
            fault = payload_limits.find_fault(walk, data, start)
            if fault is not None:
                return _rejection(fault, label)
        stream = BytesIO(data)
        stream.seek(start)
        try:
            value = schemaless_reader(stream, schema, None)
        except Exception as error:  # a reader of hostile bytes raises whatever it meets
            return _explained(walk, data, start, error, label)
        return value if stream.tell() == len(data) else _explained(walk, data, start, None, label)

    def decode_walked(data: bytes, start: int) -> Any | Rejection:
        fault = payload_limits.find_fault(walk, data, start)
        return _rejection(fault, label) if fault is not None else decode(data, start)

    return decode if safe else decode_walked


def _explained(walk: payload_limits.Walk, data: bytes, start: int, error: Exception | None, label: str) -> Rejection:
    """The rejection for bytes that the reader would not take: the walk knows where and why."""
    fault = payload_limits.find_fault(walk, data, start)
    if fault is None and isinstance(error, DecimalTooLong):
        fault = PathFault("decode.limit", "expected shorter decimals")
    if fault is None:
        fault = PathFault("decode.malformed", f"expected Avro, found what the reader refuses ({type(error).__name__})")
    return _rejection(fault, label)


def _rejection(fault: PathFault, label: str) -> Rejection:
    path = fault.path
    return Rejection(fault.code, f"{path or 'the event'}: {fault.message} ({label[:200]})"[:2_000], path)
