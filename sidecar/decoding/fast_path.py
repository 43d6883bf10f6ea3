"""Fast path from a decoded body to its event, compiled once for each schema and sequence of header names.

A plan is a function for events of one schema (or of JSON with one set of fields) under one sequence of header names. It
knows the field of each part of the envelope, so an event costs a few look-ups by name and no search. It leaves events
that it cannot build to `slow_path`, which gives the same result for those that it can.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Collection
from sys import intern
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from msgspec import Struct

from sidecar.decoding.envelope import cloudevents, debezium
from sidecar.decoding.envelope.coercion import MAX_ID_CHARACTERS, to_micros, to_text
from sidecar.decoding.envelope.extractor import (
    ENVELOPE_FIELDS,
    KEY_SOURCE_INDEX,
    LOW_CARDINALITY_FIELDS,
    EnvelopeSource,
    HeaderLayout,
    Sources,
    find_field,
    record_type,
)
from sidecar.decoding.formats.schema_format import FieldSelection
from sidecar.decoding.payload import read_json
from sidecar.decoding.record_key import AMBIGUOUS_WIDTHS, JSON_KEY_STARTS, KeyReader, key_identity
from sidecar.decoding.schema import BoundSchema
from sidecar.decoding.trace_context import DIGITS_TO_ZERO, TRACEPARENT_SHAPE, read_trace_context
from sidecar.domain.model import Event, Headers, Record, Rejection, TraceOrigin, UnreadBody

_SIMPLE = ("event_id", "type", "version", "occurred_at", "aggregate_id")
"""Envelope fields that are read straight from the body if only one field of it can hold them."""
_F = ord("f")
_NUMBERS = {number: str(number) for number in range(1_000)}

_Single: TypeAlias = tuple[str, Callable[[Any], Any], int, str]
"""An envelope field, its conversion, the index of its header, and its field in the body where that is below 0."""
_Several: TypeAlias = tuple[str, Sources]

Build = Callable[[Record, bytes, Headers, tuple[Any, ...], int], Event | None]
"""Function that builds the event of a record from its value, headers, the selected fields of its body, and the current
time in microseconds. The caller validates the body. Returns None if the general decoder is needed."""


def is_plain(headings: HeaderLayout, fields: Collection[str]) -> bool:
    """Check that no header or field needs the general decoder.

    The general decoder handles replay headers and schema headers other than Confluent's, copies of other records,
    CloudEvents in structured mode, Debezium's events, and bodies that Connect wrapped.
    """
    names = set(fields)
    shaped = names >= cloudevents.FIELDS or names >= debezium.FIELDS or names == debezium.CONVERTED
    shaped = shaped or headings.wrapped or headings.row or not names.isdisjoint(debezium.ROW_FIELDS)
    named = headings.schema and headings.value_schema < 0
    return not (shaped or named or headings.key_framed or headings.forwarded or headings.replay_of >= 0)


class EventPlan(Struct, frozen=True):
    """The way to build the events of one schema, or of JSON with one set of fields."""

    build: Build
    selection: FieldSelection
    """The fields of the body whose values `build` takes."""
    content: UnreadBody | None = None
    """Reads the body of a JSON event on demand, so that the bodies of a batch are not in memory together."""


def compile_plan(
    headings: HeaderLayout, fields: Collection[str], schema: BoundSchema | None, keys: KeyReader
) -> EventPlan:
    """Compile the plan for plain events with these fields in their body. `schema` is None for JSON."""
    places = _find_places(headings, fields)
    content = UnreadBody(read_json, frozenset(fields)) if schema is None else None
    return EventPlan(_compile_build(headings, places, schema, keys), places.selection(fields), content)


def selector(decode: Callable[[bytes, int], Any], selection: FieldSelection) -> Callable[[bytes, int], Any]:
    """Return a decoder that decodes a payload whole, and gives the values of a selection."""

    def decode_and_select(data: bytes, start: int) -> Any:
        body = decode(data, start)
        return select(body, selection) if body.__class__ is dict else body

    return decode_and_select


def select(body: dict[Any, Any], selection: FieldSelection) -> tuple[Any, ...]:
    """Return the values of a selection from a decoded body, and the body in place of the others."""
    event_id, type, version, time, aggregate_id = selection.fields
    get = body.get
    occurred_at = get(time)
    if occurred_at is not None:
        occurred_at = to_micros(occurred_at)
    return get(event_id), get(type), get(version), occurred_at, get(aggregate_id), body


def _compile_build(headings: HeaderLayout, places: _Places, schema: BoundSchema | None, keys: KeyReader) -> Build:
    single, several = places.single, places.several
    ref, default_type = (schema.ref, record_type(schema.name)) if schema is not None else (None, None)
    traced, traceparent_at = headings.traced, headings.traceparent
    w3c, zero, shape, from_bytes = TraceOrigin.W3C, DIGITS_TO_ZERO, TRACEPARENT_SHAPE, int.from_bytes
    numbers, longest, repeated = _NUMBERS, MAX_ID_CHARACTERS, LOW_CARDINALITY_FIELDS
    key_text, ambiguous, json_starts = keys.text, AMBIGUOUS_WIDTHS, JSON_KEY_STARTS

    # This runs for every event: one more call or step shows in the throughput, so it is one long function.
    def build(record: Record, value: bytes, headers: Headers, values: tuple[Any, ...], now: int) -> Event | None:
        raw_key = record.key
        if raw_key is None:
            key = None
        elif raw_key and raw_key[0] and len(raw_key) < longest and len(raw_key) not in ambiguous:
            try:
                key = raw_key.decode()
                if not key.isprintable():
                    key = key_text(record.position.stream, raw_key)
            except UnicodeDecodeError:
                key = key_text(record.position.stream, raw_key)
        else:
            key = key_text(record.position.stream, raw_key)

        event_id, type, version, occurred_at, aggregate_id, others = values
        if event_id.__class__ is not str or not 0 < len(event_id) <= longest:
            event_id = to_text(event_id)
        if type.__class__ is not str or not 0 < len(type) <= longest:
            type = to_text(type)
        type = default_type if type is None else intern(type)
        if version is not None:
            version = (numbers.get(version) if version.__class__ is int else None) or to_text(version)
        if aggregate_id.__class__ is not str or not 0 < len(aggregate_id) <= longest:
            aggregate_id = to_text(aggregate_id)
            if aggregate_id is None and key:
                aggregate_id = key if len(key) < longest and key[0] not in json_starts else key_identity(raw_key, key)
        if aggregate_id == key:
            aggregate_id = key  # one copy of what is most often the same

        trace_id: int | None = None
        span_id: int | None = None
        parent_span_id: int | None = None
        origin: TraceOrigin | None = None
        if traced:
            # The common traceparent is read here; `trace_context` reads all others.
            stated = headers[traceparent_at][1] if traceparent_at >= 0 else None
            if stated is not None and len(stated) == 55 and stated.translate(zero) == shape and stated[0] != _F:
                trace_id = from_bytes(unhexlify(stated[3:35]))
                span_id = from_bytes(unhexlify(stated[36:52]))
                origin = w3c
            if not (trace_id and span_id):
                trace_id = span_id = origin = None
                context = read_trace_context(headers)
                if context is not None:
                    trace_id, origin = context.trace_id, context.origin
                    span_id, parent_span_id = context.span_id, context.parent_span_id

        event = Event(
            record.position,
            key,
            record.timestamp,
            now,
            event_id,
            type,
            version,
            occurred_at,
            aggregate_id,
            None,
            trace_id,
            span_id,
            parent_span_id,
            origin,
            None,
            None,
            None,
            ref,
            False,
            None,
            None,
            crc32(value),
        )
        for word, take, at, field in single:
            value_there = headers[at][1] if at >= 0 else others.get(field)
            if value_there is not None:
                value_there = take(value_there)
                if value_there is not None or word != "type":
                    interned = value_there is not None and word in repeated
                    setattr(event, word, intern(value_there) if interned else value_there)
        return event if not several or _fill(event, several, headers, others, raw_key) else None

    return build


class _Places(NamedTuple):
    """The places of all envelope fields in a record."""

    simple: tuple[str | None, ...]
    """Field in the body of each of `_SIMPLE`; None where it has none or may have another place."""
    single: tuple[_Single, ...]
    """The envelope fields with one other place."""
    several: tuple[_Several, ...]
    """Those with several, with all of these."""

    def selection(self, fields: Collection[str]) -> FieldSelection:
        """Return the fields of the body that are looked at."""
        others = {field for _, _, at, field in self.single if at < 0}
        for _, sources in self.several:
            others |= {path for _, place in sources if place.steps for path in (place.steps[0], ".".join(place.steps))}
        time_at = _SIMPLE.index("occurred_at")
        return FieldSelection(self.simple, time_at, tuple(sorted(others.intersection(fields))))


def _find_places(headings: HeaderLayout, fields: Collection[str]) -> _Places:
    simple: dict[str, str] = {}
    single: list[_Single] = []
    several: list[_Several] = []
    for word in ENVELOPE_FIELDS:
        sources = headings.within(word, fields)
        if sources and sources[-1][0] == KEY_SOURCE_INDEX and not sources[-1][1].configured and word in _SIMPLE:
            others = sources[:-1]  # the key is what an aggregate falls back upon anyway
        else:
            others = sources
        at, place = others[0] if len(others) == 1 else (KEY_SOURCE_INDEX, None)
        if place is not None and place.simple and word in _SIMPLE:
            simple[word] = place.steps[0]
        elif place is not None and not place.configured and len(sources) == 1 and (at >= 0 or place.simple):
            single.append((word, to_micros if word == "occurred_at" else to_text, at, "".join(place.steps)))
        elif others:
            several.append((word, sources))
    return _Places(tuple(map(simple.get, _SIMPLE)), tuple(single), tuple(several))


def _fill(event: Event, several: tuple[_Several, ...], headers: Headers, body: Any, raw_key: bytes | None) -> bool:
    """Set the envelope fields that have several places. Returns False where a configured place is unusable."""
    source = EnvelopeSource(headers, body, body, key_identity(raw_key, event.key))
    for word, sources in several:
        value = find_field(word, sources, source)
        if value.__class__ is Rejection:
            return False
        if value is not None or word != "type":
            setattr(event, word, intern(value) if word in LOW_CARDINALITY_FIELDS and value is not None else value)
    return True
