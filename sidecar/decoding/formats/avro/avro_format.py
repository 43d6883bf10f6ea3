"""Avro as a schema format: compiles a schema once, then decodes, checks and encodes the events written with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import fastavro
from fastavro import schemaless_reader

from sidecar.decoding.formats.avro import json_validator, payload_limits, schema_parser
from sidecar.decoding.formats.avro.container_file import ContainerReader, ContainerSchema
from sidecar.decoding.formats.avro.datum_editor import edit_datum, encode_edited_datum
from sidecar.decoding.formats.avro.datum_tree import DatumNode, read_datum, read_long
from sidecar.decoding.formats.avro.deprecation import list_deprecated_fields
from sidecar.decoding.formats.avro.fastavro_schema import DecimalTooLong, reading_schema
from sidecar.decoding.formats.avro.json_encoder import conform
from sidecar.decoding.formats.avro.outline import outline_text
from sidecar.decoding.formats.avro.projection import compile_projection
from sidecar.decoding.formats.avro.read_resolution import find_read_fault, find_write_fault
from sidecar.decoding.formats.avro.schema_survey import SchemaSurvey, survey
from sidecar.decoding.formats.schema_format import (
    CompiledSchema,
    EditedPayload,
    FieldSelection,
    OutlineLine,
    SelfDescribedValue,
    UnusableSchema,
    ValueEdit,
    schema_texts,
)
from sidecar.domain.json_path import PathFault
from sidecar.domain.large_records import LARGE_RECORD_BYTES, refuse_on_event_loop
from sidecar.domain.ports.registry import RegisteredSchema

KIND = "AVRO"
MAX_WALKED_STEP_BYTES = 8 << 10
"""Size above which a payload that must be walked is left to a thread."""


class AvroFormat:
    """Avro as a `SchemaFormat`."""

    def __init__(self) -> None:
        self._container_reader = ContainerReader(_compile_container_schema)

    def compile(self, schema: RegisteredSchema) -> AvroSchema:
        """Compile an Avro schema. Raises UnusableSchema."""
        try:
            return AvroSchema(schema_texts(schema))
        except UnusableSchema as error:
            raise UnusableSchema(f"not a usable Avro schema: {error}"[:1_000]) from None

    def outline(self, text: str) -> list[OutlineLine]:
        """List the fields with their types and defaults; for a text that is not JSON, its lines."""
        return outline_text(text)

    def read_self_described(self, data: bytes) -> SelfDescribedValue | None:
        """Decode an Avro object container file."""
        return self._container_reader.read(data)

    def edit_self_described(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload | None:
        """Edit an Avro object container file."""
        return self._container_reader.edit(data, edits)


class AvroSchema:
    """An Avro schema as a `CompiledSchema`."""

    __slots__ = ("_costs", "_projections", "_root", "_texts", "check", "decode", "fields", "name")

    decode: Callable[[bytes, int], Any]
    check: Callable[[Any], PathFault | None]

    def __init__(self, texts: tuple[str, ...]) -> None:
        """Compile the last of the texts, which may refer to types of the others. Raises UnusableSchema."""
        *references, text = texts
        self._texts = texts
        self._root = root = schema_parser.parse(text, references)
        self._costs = costs = survey(root)
        self._projections: dict[FieldSelection, Callable[..., Any] | None] = {}
        """One for each way to find an envelope in the body, of which there are few."""
        self.decode = _compile_decode(root, costs)
        self.check = json_validator.compile_check(root, costs.recursive)
        self.name: str | None = None
        self.fields: frozenset[str] = frozenset()
        if isinstance(root, schema_parser.AvroRecord):
            self.name, self.fields = root.name, frozenset(field.name for field in root.fields)

    def project(self, selection: FieldSelection, decode: Callable[[bytes, int], Any]) -> Callable[..., Any] | None:
        """Compile a decoder for some of the record's own fields. None where payloads may have to be walked first."""
        if not self._costs.safe:
            return None
        if selection not in self._projections:
            self._projections[selection] = compile_projection(self._root, selection, decode, self._costs.walk_above)
        return self._projections[selection]

    def record_name(self, data: bytes, start: int) -> str | None:
        """Return the name of the record in the payload; in a union, that of its branch."""
        root = self._root
        if isinstance(root, schema_parser.AvroUnion):
            root = root.branches[read_long(data, start)[0]]
        return root.name if isinstance(root, schema_parser.AvroRecord) else None

    def encode(self, value: Any) -> bytes:
        """Encode a value in binary Avro. Raises PathFault."""
        datum = conform(value, self._root)
        try:
            named: dict[str, Any] = {}
            *references, own = [json.loads(text) for text in self._texts]
            for reference in references:
                fastavro.parse_schema(reference, named_schemas=named)
            out = BytesIO()
            fastavro.schemaless_writer(out, fastavro.parse_schema(own, named_schemas=named), datum)
            return out.getvalue()
        except Exception as error:  # a writer can raise anything for a schema that anyone may have written
            message = f"the body cannot be encoded with the schema: {type(error).__name__}"
            raise PathFault("schema.mismatch", message) from error

    def edit(self, data: bytes, edits: Sequence[ValueEdit]) -> EditedPayload:
        """Edit values of a payload. Raises PathFault."""
        if isinstance(self.decode(data, 0), PathFault):
            raise PathFault("decode.malformed", "expected a payload in the encoding of its schema")
        return edit_datum(self._root, data, edits)

    def encode_edited(self, value: Any, data: bytes, original: CompiledSchema, edits: Sequence[ValueEdit]) -> bytes:
        """Encode an edited value of a payload that another schema wrote. Raises PathFault."""
        if not isinstance(original, AvroSchema):
            return self.encode(value)
        return encode_edited_datum(value, self._root, original._root, data, edits)

    def deprecated_fields(self) -> frozenset[str]:
        """Return the fields that a property or the documentation marks as deprecated."""
        return list_deprecated_fields(self._texts[-1])

    def find_read_fault(self, value: Any, original: CompiledSchema) -> PathFault | None:
        """Check a reader with this schema against an event of another one."""
        node = _encode_node(value, original)
        return node if isinstance(node, PathFault) else find_read_fault(node, self._root)

    def find_write_fault(self, value: Any, original: CompiledSchema) -> PathFault | None:
        """Check a reader with another schema against an event that this one writes."""
        node = _encode_node(value, original)
        if isinstance(node, PathFault) or not isinstance(original, AvroSchema):
            return node if isinstance(node, PathFault) else None
        return find_write_fault(node, self._root, original._root)


def _encode_node(value: Any, schema: CompiledSchema) -> DatumNode | PathFault:
    """Encode a value with the schema that wrote it, as a tree."""
    if not isinstance(schema, AvroSchema):
        return PathFault("schema.mismatch", "the event is of another schema language")
    try:
        return read_datum(schema._root, schema.encode(value), 0)[0]
    except PathFault as fault:
        again = PathFault(fault.code, "the event cannot be written again with its own schema")
        return again.within("." + fault.path) if fault.path else again


def parse_registered(schema: RegisteredSchema) -> schema_parser.Type:
    """Parse a registered Avro schema, its references resolved. Raises UnusableSchema."""
    *references, text = schema_texts(schema)
    return schema_parser.parse(text, references)


def _compile_container_schema(text: str) -> ContainerSchema:
    """Compile the schema of a container file. Raises UnusableSchema."""
    root = schema_parser.parse(text)
    records = schema_parser.AvroArray(root)
    return ContainerSchema(root, _compile_decode(records, survey(records)))


def _compile_decode(root: schema_parser.Type, costs: SchemaSurvey) -> Callable[[bytes, int], Any]:
    """Make the `decode` of a schema. A payload that could cost much is walked before fastavro, in C, reads it."""
    schema, walk = reading_schema(root), payload_limits.compile_walk(root)
    walk_above = costs.walk_above if costs.safe else -1

    def read_payload(data: bytes, start: int) -> Any:
        if len(data) > walk_above:
            if len(data) - start > MAX_WALKED_STEP_BYTES:
                refuse_on_event_loop()
            fault = payload_limits.find_fault(walk, data, start)
            if fault is not None:
                return fault
        stream = BytesIO(data)
        stream.seek(start)
        source: Any = stream if len(data) <= LARGE_RECORD_BYTES else _InterruptibleStream(stream)
        try:
            value = schemaless_reader(source, schema, None)
        except Exception as error:  # a reader of hostile bytes can raise anything
            return payload_limits.explain_fault(walk, data, start) or _describe(error)
        end = stream.tell()
        if end == len(data):
            return value
        return payload_limits.explain_fault(walk, data, start) or payload_limits.trailing_bytes(data, start, end)

    last: tuple[bytes, int, PathFault | None] = (b"", -1, None)

    def decode(data: bytes, start: int) -> Any:
        nonlocal last
        known, known_start, fault = last
        if data is known and start == known_start and fault is not None:
            return fault.copy()  # the general path looks at what the fast path refused
        value = read_payload(data, start)
        if value.__class__ is PathFault and len(data) <= LARGE_RECORD_BYTES:
            last = (data, start, value.copy())
        return value

    return decode


class _InterruptibleStream:
    """A stream whose reads run Python code, where other threads get their turns; fastavro itself gives them none."""

    def __init__(self, stream: BytesIO) -> None:
        read = stream.read

        def read_in_python(size: int) -> bytes:
            return read(size)

        self.read = read_in_python


def _describe(error: Exception) -> PathFault:
    """Describe an error of the reader that no walk explains."""
    if isinstance(error, DecimalTooLong):
        return PathFault("decode.limit", "expected shorter decimals")
    if isinstance(error, EOFError):
        return PathFault("decode.truncated", "expected more bytes at the end")
    return PathFault("decode.malformed", f"expected Avro, found bytes that the reader refuses ({type(error).__name__})")
