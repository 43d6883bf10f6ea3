"""General path to decode a record: every framing, every kind of event, every kind of fault.

`EventDecoder` has a fast path for common records. For a record that both can decode they give the same result.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sidecar.decoding.envelope import cloudevents, debezium
from sidecar.decoding.envelope.extractor import EnvelopeExtractor, EnvelopeSource, HeaderLayout, record_type
from sidecar.decoding.envelope.transport import unwrap_message
from sidecar.decoding.origin_headers import read_origin
from sidecar.decoding.payload import (
    Payload,
    convert_types,
    digest,
    flat_body,
    header_text,
    read_inner_payload,
    read_payload,
    resolve_for,
    unquote_fields,
)
from sidecar.decoding.record_key import key_identity
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.decoding.schema_lookup import SchemaLookup, SchemaNotCached
from sidecar.decoding.trace_context import TraceContext, read_trace_context
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Decoded, Event, Headers, Record, Rejection

PLAIN_ENVELOPE_FIELDS = frozenset(("eventId", "eventType"))
"""Fields that identify a plain envelope: a body with one of these and a map `data` is an envelope around the data."""
OPAQUE_CONTENT_TYPE = "application/octet-stream"
_DATA = frozenset(("data",))


class EventShape(Struct):
    """Form of an event in a body: the places of its envelope fields, and the part that a schema describes."""

    source: EnvelopeSource
    validated_value: Any
    """Value that is checked against the subject's schema."""
    path: str = ""
    """Path of that value in the body."""
    envelope_fields: frozenset[str] = frozenset()
    """Fields of the envelope. A schema with all of these fields describes `wrapper`, the envelope itself, instead."""
    wrapper: Any = None
    wrapper_path: str = ""
    trace: TraceContext | None = None
    data: Payload | None = None
    """Binary data inside of the body."""
    rejection: Rejection | None = None
    version: str | None = None
    """Schema version that the body names."""


def examine(
    record: Record, headings: HeaderLayout, envelope: EnvelopeExtractor, catalog: SchemaCache, now: int, unchecked: bool
) -> Decoded:
    """Decode one record. Raises SchemaNotCached if a schema must be fetched first, unless `unchecked`."""
    return _GeneralDecoder(record, headings, envelope, catalog, now, unchecked).finish()


class _GeneralDecoder:
    """Decodes one record: its event, the payload read from its value, and the shape of that."""

    def __init__(
        self,
        record: Record,
        headings: HeaderLayout,
        envelope: EnvelopeExtractor,
        catalog: SchemaCache,
        now: int,
        unchecked: bool,
    ) -> None:
        self.original = record
        message = unwrap_message(record) if headings.wrapped else None
        self.implied: dict[str, Any] = {}
        if message is not None:
            record, self.implied = message.record, message.implied
            headings = envelope.headings([name for name, _ in record.headers])
        self.record, self.headings, self.envelope = record, headings, envelope
        self.catalog, self.unchecked = catalog, unchecked
        self.stream = own = record.position.stream
        origin = read_origin(record.headers, record.position) if headings.forwarded else None
        self.streams = (own,) if origin is None or origin.stream == own else (own, origin.stream)
        self.event = Event(
            record.position,
            envelope.keys.text(record.position.stream, record.key, headings.key_framed),
            record.timestamp,
            now,
            replay_of=header_text(record.headers, headings.replay_of),
            digest=digest(self.original),
            hop_of=None if origin is None or origin.position is None else str(origin.position),
        )
        self.flat = record.value is None and traits_of(record.position.system).bodyless_entries
        self.tombstone = record.value is None and not self.flat
        self.schema_outage = False
        self.read = self._read()
        self.shape = self._shape()
        self.invalid = envelope.fill(self.event, headings, self.shape.source)

    def finish(self) -> Decoded:
        """Finish the event. Raises SchemaNotCached, unless `unchecked`."""
        event = self.event
        if self.record.defect is not None:
            event.rejection = self.record.defect
            return Decoded(self.original, event)
        event.rejection = self.read.rejection or self.shape.rejection
        schema = self._by_id() if self.read.names_schema else self._by_subject()
        if schema is not None:
            event.schema = schema.ref
            event.type = event.type or record_type(self.read.record_name or schema.name)
        elif self.read.record_name is not None:
            event.type = event.type or record_type(self.read.record_name)
        self._trace()
        self._reject(self.invalid)
        if event.rejection is None and not self.tombstone and not self._lacks_schema(schema):
            event.rejection = self.envelope.missing(event, self.headings, self.shape.source)
        if event.rejection is not None:
            event.unchecked = False
        wrapped_value = self.record.value if self.original.value is None else None
        return Decoded(self.original, event, self.read.body, wrapped_value)

    def _lacks_schema(self, schema: BoundSchema | None) -> bool:
        """Test whether the body could not be read, or its type not be known, because its schema cannot be used now.

        Then an empty envelope says nothing about the event."""
        unusable = schema is not None and schema.unusable is not None
        return self.schema_outage or (unusable and self.read.body is None)

    def _reject(self, rejection: Rejection | None) -> None:
        """Reject the event, unless it is rejected already."""
        self.event.rejection = self.event.rejection or rejection

    def _read(self) -> Payload:
        if self.flat:
            return Payload(body=flat_body(self.record.headers))
        if self.tombstone:
            return Payload()
        return read_payload(self.record, self.streams, self.headings, self.catalog, unchecked=self.unchecked)

    # --- which schema, and does the event fit it ---

    def _by_id(self) -> BoundSchema | None:
        """Use the schema that the value names. Binary Avro was checked by being read; JSON is checked now."""
        read, schema = self.read, self.read.schema
        if read.unknown_guess is not None and self._is_bare(read.unknown_guess):
            return self._by_subject()
        if read.outage or (schema is not None and schema.unusable is not None):
            self.event.unchecked = True
            self.schema_outage = read.outage
        elif schema is not None and not read.checked and self.event.rejection is None:
            self._reject(find_mismatch(self.shape, schema))
        return schema

    def _is_bare(self, value: bytes) -> bool:
        """Test whether a value whose first bytes look like an unknown schema id is bare Avro of the stream's subject.

        If so, it is read as such from here on."""
        lookup = self._subject()
        schema = lookup.schema if lookup is not None else None
        if schema is None or schema.unusable is not None or schema.decode(value, 0).__class__ is Rejection:
            return False
        self.read = Payload(raw=value)
        self.shape = self._shape()
        self.event.rejection = self.shape.rejection
        return True

    def _by_subject(self) -> BoundSchema | None:
        """Use the schema of the stream's subject, because the value names none. A tombstone has nothing to check."""
        lookup = self._subject()
        if lookup is None:
            self.event.unchecked = True
            return None
        schema = lookup.schema
        if self.tombstone:
            return schema
        self._reject(lookup.rejection)
        if schema is None or schema.unusable is not None or self.read.self_described or self.read.opaque:
            self.event.unchecked = True
            return schema if schema is not None and schema.unusable is not None else None
        if lookup.rejection is None:
            self._check(schema)
        return schema

    def _subject(self) -> SchemaLookup | None:
        try:
            for stream in self.streams:
                lookup = self.catalog.for_stream(stream, self.event.type, self._version())
                if lookup is not None and lookup.schema is not None:
                    break
            return lookup
        except SchemaNotCached:
            if not self.unchecked:
                raise
            self.schema_outage = True
            return None

    def _version(self) -> str | None:
        return self.envelope.named_version(self.headings, self.shape.source) or self.shape.version

    def _check(self, schema: BoundSchema) -> None:
        """Check the event by its subject's schema. Before that rejects it, the schema is confirmed to be current."""
        read, before = self.read, (self.event.rejection, self.event.type)
        if read.raw is not None:
            self._read_bare(read.raw, schema)
        elif read.problem is not None:
            self._reject(read.problem)
        elif self.flat:
            read.body, rejection = convert_types(read.body, schema)
            self._reject(rejection)
        else:
            self._reject(find_mismatch(self.shape, schema))
        if self.event.rejection is before[0]:
            return
        try:
            for stream in self.streams:
                self.catalog.confirm(stream, before[1])
        except SchemaNotCached:
            if not self.unchecked:
                raise
            self.schema_outage = self.event.unchecked = True
            self.event.rejection = before[0]

    def _read_bare(self, raw: bytes, schema: BoundSchema) -> None:
        """Read a value without any framing on a stream with a registered subject: bare Avro, or an unknown encoding."""
        body = schema.decode(raw, 0)
        if body.__class__ is Rejection:
            message = (
                "expected a schema id before the value, JSON, or bare Avro, found none of these: as bare Avro, "
                f"{body.message}"
            )
            self._reject(Rejection("decode.malformed", message[:2000], body.path))
            return
        self.read.body = body if self.shape.data is None else {**self.read.body, "data": body}
        self.read.raw = None
        self.read.record_name = schema.record_name(raw, 0)
        self.shape = self._shape()
        self.invalid = self.envelope.fill(self.event, self.headings, self.shape.source)

    # --- which kind of event ---

    def _shape(self) -> EventShape:
        """Find the shape of the event. May put into `read` the binary data inside of the body."""
        inner, path = debezium.unwrap(self.read.body)
        if self.flat:
            inner = unquote_fields(inner)
        key = key_identity(self.record.key, self.event.key)
        source = EnvelopeSource(self.record.headers, self.read.body, inner, key, late=self.implied)
        if self.tombstone:
            source.late = self.envelope.tombstone_fields(self.stream, self.record.headers)
        if inner.__class__ is not dict:
            return EventShape(source, inner, path)
        if cloudevents.is_structured(inner) or says_cloudevent(self.headings, self.record.headers):
            return self._cloudevent(source, path)
        if debezium.is_change(inner):
            source.late = debezium.implied_fields(inner, self.record.key)
            self.envelope.remember_table(self.stream, source.late.get("aggregate_type"))
            return EventShape(source, inner.get("after"), join(path, "after"), debezium.FIELDS, inner, path)
        if self.headings.row or not debezium.ROW_FIELDS.isdisjoint(inner):
            source.late = debezium.implied_row_fields(inner, self.record.headers, self.stream)
            self.envelope.remember_table(self.stream, source.late.get("aggregate_type"))
        shape = EventShape(source, inner, path)
        if inner.get("data").__class__ is dict and not PLAIN_ENVELOPE_FIELDS.isdisjoint(inner):
            shape = EventShape(source, inner["data"], join(path, "data"), _DATA, inner, path)
        if self.headings.data_schema >= 0:
            _, shape.version = cloudevents.parse_data_schema(self.record.headers[self.headings.data_schema][1])
        return shape

    def _cloudevent(self, source: EnvelopeSource, path: str) -> EventShape:
        body, read = source.inner, self.read
        source.own = cloudevents.read_attributes(body, self.envelope.hidden_attributes)
        source.late = debezium.cloudevent_fields(body)
        self.envelope.remember_table(self.stream, source.late.get("aggregate_type"))
        shape = EventShape(
            source, body.get("data"), join(path, "data"), cloudevents.FIELDS, body, path, cloudevents.read_trace(body)
        )
        if read.names_schema:
            return shape
        named, shape.version = cloudevents.parse_data_schema(body.get("dataschema"))
        try:
            binary = cloudevents.read_binary_data(body)
        except ValueError:
            message = "data_base64: expected base64, found other text"
            shape.rejection = Rejection("decode.malformed", message, join(path, "data_base64"))
            return shape
        if binary is not None:
            opaque = says_opaque(body.get("datacontenttype"))
            shape.data = read_inner_payload(binary, self.streams, self.catalog, unchecked=self.unchecked, opaque=opaque)
            shape.validated_value = shape.data.body
            self.read = shape.data
            self.read.body = read.body if shape.validated_value is None or path else {**body, "data": shape.data.body}
        elif named is not None:
            try:
                lookup = resolve_for(self.catalog, self.streams, (named,))
                self.read = Payload(read.body, lookup.schema, lookup.rejection, names_schema=True)
            except SchemaNotCached:
                if not self.unchecked:
                    raise
                self.read = Payload(read.body, outage=True, names_schema=True)
        return shape

    def _trace(self) -> None:
        context = (read_trace_context(self.record.headers) if self.headings.traced else None) or self.shape.trace
        if context is not None:
            event = self.event
            event.trace_id, event.trace_origin = context.trace_id, context.origin
            event.span_id, event.parent_span_id = context.span_id, context.parent_span_id


def find_mismatch(shape: EventShape, schema: BoundSchema) -> Rejection | None:
    """Check the part of the body that the schema describes.

    If that part is missing (a deletion, an event without data), there is nothing to check.
    """
    value, path = shape.validated_value, shape.path
    if shape.envelope_fields and shape.envelope_fields <= schema.fields:
        value, path = shape.wrapper, shape.wrapper_path
    if value is None and path:
        return None
    rejection = schema.check(value)
    if rejection is None or not path:
        return rejection
    # A check's message begins with its path, where it has one.
    dot = "." if rejection.path and rejection.path[0] != "[" else "" if rejection.path else ": "
    full_path = f"{path}{dot}{rejection.path}" if rejection.path else path
    return Rejection(rejection.code, f"{path}{dot}{rejection.message}"[:2000], full_path)


def says_opaque(content_type: Any) -> bool:
    """Check whether a content type declares that data is plain bytes."""
    return content_type.__class__ is str and content_type[:64].lower().startswith(OPAQUE_CONTENT_TYPE)


def says_cloudevent(headings: HeaderLayout, headers: Headers) -> bool:
    """Check whether the content type declares that the value is a CloudEvent in structured mode."""
    value = headers[headings.content_type][1] if headings.content_type >= 0 else None
    return value is not None and value[:64].lower().startswith(cloudevents.CONTENT_TYPE)


def join(path: str, step: str) -> str:
    """Append a step to a path."""
    return f"{path}.{step}" if path else step
