"""One record, judged with care: every framing, every shape of event, every kind of trouble.

`Judge` has a short way for what is common; this is the whole way, and where both can go they say the same."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sidecar.decoding.envelope import cloudevents, debezium
from sidecar.decoding.envelope.extractor import EnvelopeExtractor, EnvelopeSource, HeaderLayout, record_type
from sidecar.decoding.payload import (
    Payload,
    contents,
    digest,
    flat_body,
    header_text,
    inner_contents,
    resolve,
    typed,
)
from sidecar.decoding.record_key import MAX_KEY_CHARACTERS, key_text
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.schema_cache import SchemaCache, SchemaLookup, SchemaNotCached
from sidecar.decoding.trace_context import TraceContext, read_trace_context
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Decoded, Event, Headers, Record, Rejection

ENVELOPE_WORDS = frozenset(("eventId", "eventType"))
"""A body with one of these and a map `data` is the plain envelope around what happened."""
_DATA = frozenset(("data",))


class EventShape(Struct):
    """What kind of event a body is: where its words stand, and which part of it a schema is about."""

    found: EnvelopeSource
    matter: Any
    """What is checked against the subject's schema."""
    at: str = ""
    """Where in the body that stands."""
    whole: frozenset[str] = frozenset()
    """A schema with all of these fields describes `wrapper` instead: the envelope itself."""
    wrapper: Any = None
    wrapper_at: str = ""
    trace: TraceContext | None = None
    data: Payload | None = None
    """What binary data inside of the body turned out to be."""
    rejection: Rejection | None = None
    version: str | None = None
    """The schema version that the body names."""


def examine(
    record: Record, headings: HeaderLayout, envelope: EnvelopeExtractor, catalog: SchemaCache, now: int, unchecked: bool
) -> Decoded:
    """Judge one record. Raises NeedsSchema, unless `unchecked`, where a schema must be fetched first."""
    return _GeneralDecoder(record, headings, envelope, catalog, now, unchecked).decoded()


class _GeneralDecoder:
    """The state of one record's judging: its event, what has been read of its value, and the shape of that."""

    def __init__(
        self,
        record: Record,
        headings: HeaderLayout,
        envelope: EnvelopeExtractor,
        catalog: SchemaCache,
        now: int,
        unchecked: bool,
    ) -> None:
        self.record, self.headings, self.envelope = record, headings, envelope
        self.catalog, self.unchecked = catalog, unchecked
        self.stream = record.position.stream
        self.event = Event(
            record.position,
            key_text(record.key, headings.key_framed),
            record.timestamp,
            now,
            replay_of=header_text(record.headers, headings.replay_of),
            digest=digest(record),
        )
        self.flat = record.value is None and traits_of(record.position.system).bodyless_entries
        self.tombstone = record.value is None and not self.flat
        self.read = self._read()
        self.shape = self._shape()
        self.invalid = envelope.fill(self.event, headings, self.shape.found)

    def decoded(self) -> Decoded:
        event = self.event
        event.rejection = self.read.rejection or self.shape.rejection
        schema = self._by_id() if self.read.names_schema else self._by_subject()
        if schema is not None:
            event.schema = schema.ref
            event.type = event.type or record_type(self.read.record_name or schema.name)
        self._trace()
        self._reject(self.invalid)
        if event.rejection is None and not self.tombstone:
            event.rejection = self.envelope.missing(event, self.headings, self.shape.found)
        if event.rejection is not None:
            event.unchecked = False
        return Decoded(self.record, event, self.read.body)

    def _reject(self, rejection: Rejection | None) -> None:
        """The first rejection stays."""
        self.event.rejection = self.event.rejection or rejection

    def _read(self) -> Payload:
        if self.flat:
            return Payload(body=flat_body(self.record.headers))
        if self.tombstone:
            return Payload()
        return contents(self.record, self.headings, self.catalog, unchecked=self.unchecked)

    # --- which schema, and does the event fit it ---

    def _by_id(self) -> BoundSchema | None:
        """The value names its schema. Binary Avro was checked by being read; JSON is checked now."""
        read, schema = self.read, self.read.schema
        if read.outage or (schema is not None and schema.unusable is not None):
            self.event.unchecked = True
        elif schema is not None and not read.checked and self.event.rejection is None:
            self._reject(mismatch(self.shape, schema))
        return schema

    def _by_subject(self) -> BoundSchema | None:
        """The value names no schema, so the stream's subject says which. A tombstone has nothing that could fail."""
        resolved = self._subject()
        if resolved is None:
            self.event.unchecked = True
            return None
        schema = resolved.schema
        if self.tombstone:
            return schema
        self._reject(resolved.rejection)
        if schema is None or schema.unusable is not None:
            self.event.unchecked = True
        elif resolved.rejection is None:
            self._check(schema)
        return schema

    def _subject(self) -> SchemaLookup | None:
        version = self.envelope.named_version(self.headings, self.shape.found) or self.shape.version
        try:
            return self.catalog.for_stream(self.stream, self.event.type, version)
        except SchemaNotCached:
            if not self.unchecked:
                raise
            return None

    def _check(self, schema: BoundSchema) -> None:
        read = self.read
        if read.raw is not None:
            self._read_bare(read.raw, schema)
        elif read.problem is not None:
            self._reject(read.problem)
        elif self.flat:
            read.body, rejection = typed(read.body, schema)
            self._reject(rejection)
        else:
            self._reject(mismatch(self.shape, schema))

    def _read_bare(self, raw: bytes, schema: BoundSchema) -> None:
        """A value without any framing on a stream with a registered subject: bare Avro, or nothing that we know."""
        body = schema.decode(raw, 0)
        if body.__class__ is Rejection:
            told = (
                "expected a schema id before the value, JSON, or bare Avro, found none of these: as bare Avro, "
                f"{body.message}"
            )
            self._reject(Rejection("decode.malformed", told[:2000], body.path))
            return
        self.read.body = body if self.shape.data is None else {**self.read.body, "data": body}
        self.read.raw = None
        self.read.record_name = schema.record_name(raw, 0)
        self.shape = self._shape()
        self.invalid = self.envelope.fill(self.event, self.headings, self.shape.found)

    # --- which kind of event ---

    def _shape(self) -> EventShape:
        """The shape of the event. May put into `read` what binary data inside of the body holds."""
        inner, at = debezium.unwrap(self.read.body)
        key = self.event.key
        found = EnvelopeSource(
            self.record.headers, self.read.body, inner, key if key and len(key) < MAX_KEY_CHARACTERS else None
        )
        if inner.__class__ is not dict:
            return EventShape(found, inner, at)
        if cloudevents.is_structured(inner) or says_cloudevent(self.headings, self.record.headers):
            return self._cloudevent(found, at)
        if debezium.is_change(inner):
            found.late = debezium.implied_fields(inner, self.record.key)
            return EventShape(found, inner.get("after"), join(at, "after"), debezium.FIELDS, inner, at)
        shape = EventShape(found, inner, at)
        if inner.get("data").__class__ is dict and not ENVELOPE_WORDS.isdisjoint(inner):
            shape = EventShape(found, inner["data"], join(at, "data"), _DATA, inner, at)
        if self.headings.data_schema >= 0:
            _, shape.version = cloudevents.parse_data_schema(self.record.headers[self.headings.data_schema][1])
        return shape

    def _cloudevent(self, found: EnvelopeSource, at: str) -> EventShape:
        body, read = found.inner, self.read
        found.own = cloudevents.read_attributes(body)
        shape = EventShape(
            found, body.get("data"), join(at, "data"), cloudevents.FIELDS, body, at, cloudevents.read_trace(body)
        )
        if read.names_schema:
            return shape
        named, shape.version = cloudevents.parse_data_schema(body.get("dataschema"))
        try:
            binary = cloudevents.read_binary_data(body)
        except ValueError:
            told = "data_base64: expected base64, found what is none"
            shape.rejection = Rejection("decode.malformed", told, join(at, "data_base64"))
            return shape
        if binary is not None:
            shape.data = inner_contents(binary, self.stream, self.catalog, unchecked=self.unchecked)
            shape.matter = shape.data.body
            self.read = shape.data
            self.read.body = read.body if shape.matter is None or at else {**body, "data": shape.matter}
        elif named is not None:
            try:
                resolved = resolve(self.catalog, self.stream, (named,))
                self.read = Payload(read.body, resolved.schema, resolved.rejection, names_schema=True)
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


def mismatch(shape: EventShape, schema: BoundSchema) -> Rejection | None:
    """Check that part of the body which the schema is about. Where nothing stands there (a deletion, an event without
    data), there is nothing to check."""
    matter, at = shape.matter, shape.at
    if shape.whole and shape.whole <= schema.fields:
        matter, at = shape.wrapper, shape.wrapper_at
    if matter is None and at:
        return None
    rejection = schema.check(matter)
    if rejection is None or not at:
        return rejection
    # A check's message begins with its path, where it has one.
    dot = "." if rejection.path and rejection.path[0] != "[" else "" if rejection.path else ": "
    path = f"{at}{dot}{rejection.path}" if rejection.path else at
    return Rejection(rejection.code, f"{at}{dot}{rejection.message}"[:2000], path)


def says_cloudevent(headings: HeaderLayout, headers: Headers) -> bool:
    """The content type says that the value is a CloudEvent in structured mode."""
    value = headers[headings.content_type][1] if headings.content_type >= 0 else None
    return value is not None and value[:64].lower().startswith(cloudevents.CONTENT_TYPE)


def join(at: str, step: str) -> str:
    return f"{at}.{step}" if at else step
