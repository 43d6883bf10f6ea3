"""Extractor of an event's fields from a record: configured locations first, then the built-in ones.

A location is `body:PATH` (dotted, list indexes as numbers: `body:data.items.0.sku` or `body:data.items[0].sku`),
`header:NAME` (names compare without case; of a repeated name the last value counts) or `key`. The first location with a
value counts; null and empty text are no values. At a built-in location, a value of a wrong form (a map as an id, a time
in the year 9000) is skipped, because the location is a guess. At a configured location it is an `envelope.invalid`
rejection, and also if the field is required and no other location has it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from sys import intern
from typing import Any

from msgspec import Struct

from sidecar.config import schema as config
from sidecar.decoding import trace_context, wire_format
from sidecar.decoding.envelope import cloudevents, debezium
from sidecar.decoding.envelope.coercion import to_micros, to_text
from sidecar.decoding.envelope.transport import TRANSPORT_FIELDS
from sidecar.decoding.origin_headers import states_origin
from sidecar.decoding.record_key import KeyReader
from sidecar.domain.json_path import JsonPath
from sidecar.domain.model import Event, Headers, Rejection

ENVELOPE_FIELDS = (
    "event_id",
    "type",
    "version",
    "occurred_at",
    "aggregate_id",
    "aggregate_type",
    "correlation_id",
    "causation_id",
    "producer",
)
"""Fields to extract, by their names in the configuration and in `Event`."""

LOW_CARDINALITY_FIELDS = frozenset(("type", "version", "aggregate_type", "producer"))
"""Fields with few different values. All events share one copy of each value."""

BUILT_IN_LOCATIONS: Mapping[str, tuple[str, ...]] = {
    "event_id": ("header:ce_id", "header:event-id", "header:id", "body:eventId", "body:event_id"),
    "type": ("header:ce_type", "header:event-type", "header:eventType", "body:eventType", "body:event_type"),
    "version": ("header:event-version", "body:eventVersion", "body:event_version"),
    "occurred_at": ("header:ce_time", "body:timestamp", "body:occurredAt", "body:occurred_at"),
    "aggregate_id": (
        "header:aggregate-id",
        "header:aggregateId",
        "body:aggregateId",
        "body:aggregate_id",
        "header:ce_subject",
        "key",
    ),
    "aggregate_type": (
        "header:aggregate-type",
        "header:aggregateType",
        "body:aggregateType",
        "body:aggregate_type",
    ),
    "correlation_id": (
        "header:correlation-id",
        "header:x-correlation-id",
        "header:correlationId",
        "header:correlation_id",
        "header:ce_correlationid",
        "body:correlationId",
        "body:correlation_id",
        "body:metadata.correlationId",
    ),
    "causation_id": (
        "header:causation-id",
        "header:x-causation-id",
        "header:causationId",
        "header:causation_id",
        "header:ce_causationid",
        "body:causationId",
        "body:causation_id",
        "body:metadata.causationId",
    ),
    "producer": ("header:ce_source", "header:producer", "header:x-producer", "body:producer"),
}
"""Built-in locations, in order. The last location of a type, the name of the Avro record, comes from the schema."""

REPLAY_OF_HEADER = "tracecar.replay-of"
_CONTENT_TYPE = "content-type"
_KEY_SCHEMA_ID = "__key_schema_id"
KEY_SOURCE_INDEX = -1
"""Header index that stands in for the key."""
BODY_SOURCE_INDEX = -2
"""Header index that stands in for the body."""
_MAX_TABLES = 10_000
"""Streams of change events whose table is remembered for their tombstones."""


class FieldLocation(Struct, frozen=True):
    """One place where a field may be."""

    written: str
    """Text of the location, as in the configuration."""
    configured: bool
    header: str | None = None
    """Lower-case name of the header, for a header."""
    steps: tuple[str, ...] = ()
    """Path in the body. Without a header and a path, the location is the key."""

    @property
    def simple(self) -> bool:
        """Name in the body, for a built-in location that is a single field of the body."""
        return len(self.steps) == 1 and not self.configured


Sources = tuple[tuple[int, FieldLocation], ...]
"""Locations of one field in a record, each with the index of its header, KEY_SOURCE_INDEX or BODY_SOURCE_INDEX."""


class HeaderLayout(Struct, frozen=True):
    """Meaning of one sequence of header names, determined once."""

    sources: Mapping[str, Sources]
    """Locations by field, in order."""
    schema: tuple[tuple[str, int], ...]
    """Headers that name the value's schema, by lower-case name, with their indexes."""
    traceparent: int
    """Index of `traceparent`; -1 if there is none."""
    traced: bool
    """True if a header carries trace context."""
    replay_of: int
    content_type: int
    data_schema: int
    """Index of CloudEvents' `ce_dataschema`."""
    key_framed: bool
    forwarded: bool
    """True if a header names the record that this one is a copy of."""
    value_schema: int = -1
    """Index of `__value_schema_id` where no other header concerns the value's schema; else -1."""
    wrapped: bool = False
    """True if a framework may have wrapped headers and body into a field (see `transport`)."""
    row: bool = False
    """True if there is a header of Debezium's `ExtractNewRecordState`."""

    @property
    def names_version(self) -> bool:
        """True if a header or a configured location may name a schema's version."""
        return any(at >= 0 or place.configured for at, place in self.sources["version"])

    def within(self, word: str, fields: Collection[str]) -> Sources:
        """Return the locations of a field that are possible in a record whose body has these fields."""
        return tuple(
            (at, place)
            for at, place in self.sources[word]
            if not place.steps or place.steps[0] in fields or ".".join(place.steps) in fields
        )


class EnvelopeSource(Struct):
    """Parts of a record from which fields are extracted."""

    headers: Headers
    body: Any
    """The whole body, where configured paths start."""
    inner: Any
    """The body without wrappers that are no part of the event, where built-in paths start."""
    key: str | None
    own: Mapping[str, Any] = {}
    """Fields under a format's own names, used after the configured locations and before the built-in ones."""
    late: Mapping[str, Any] = {}
    """Fields that a format implies, used after all locations but the key."""


class EnvelopeExtractor:
    """Extracts the fields of events, at configured and built-in locations."""

    def __init__(self, configured: config.EnvelopeConfig, hides: Callable[[str], bool] = lambda place: False) -> None:
        """Parse the configured locations. `hides` tells whether a location is redacted.

        Raises ValueError; the configuration's validation reports it with the key's path.
        """
        self.keys = KeyReader()
        self.hidden_attributes = frozenset(name for name in cloudevents.ATTRIBUTES.values() if hides(f"body:{name}"))
        """CloudEvents attributes that are redacted in structured mode. In other events, fields with these names are no
        CloudEvents attributes."""
        self._tables: dict[str, str] = {}
        self.required: tuple[str, ...] = tuple(configured.required)
        self.places: dict[str, tuple[FieldLocation, ...]] = {
            word: tuple(
                [parse_location(written, configured=True) for written in getattr(configured, word)]
                + [parse_location(written, configured=False) for written in BUILT_IN_LOCATIONS[word]]
            )
            for word in ENVELOPE_FIELDS
        }

    def headings(self, names: Sequence[str]) -> HeaderLayout:
        """Determine the meaning of these header names, in this order."""
        index = {name.lower(): at for at, name in enumerate(names)}
        sources: dict[str, Sources] = {}
        for word, places in self.places.items():
            locations: list[tuple[int, FieldLocation]] = []
            for place in places:
                if place.header is None:
                    locations.append((BODY_SOURCE_INDEX if place.steps else KEY_SOURCE_INDEX, place))
                elif place.header in index:
                    locations.append((index[place.header], place))
            sources[word] = tuple(locations)
        schema = tuple((name, index[name]) for name in sorted(wire_format.HEADERS & index.keys()))
        return HeaderLayout(
            sources=sources,
            schema=schema,
            value_schema=schema[0][1] if [name for name, _ in schema] == [wire_format.VALUE_SCHEMA_ID] else -1,
            traceparent=index.get("traceparent", -1),
            traced=not trace_context.TRACE_HEADERS.isdisjoint(index),
            replay_of=index.get(REPLAY_OF_HEADER, -1),
            content_type=index.get(_CONTENT_TYPE, -1),
            data_schema=index.get("ce_dataschema", -1),
            key_framed=_KEY_SCHEMA_ID in index,
            forwarded=states_origin(index.keys()),
            wrapped=not TRANSPORT_FIELDS.isdisjoint(names),
            row=not debezium.ROW_HEADERS.isdisjoint(names),
        )

    def fill(self, event: Event, headings: HeaderLayout, source: EnvelopeSource) -> Rejection | None:
        """Set every field of `event` that `source` has.

        Returns the rejection of the first configured location with an unusable value. Its field stays None; the others
        are set nevertheless.
        """
        wrong: Rejection | None = None
        for word, sources in headings.sources.items():
            value = find_field(word, sources, source)
            if value.__class__ is Rejection:
                wrong = wrong or value
                value = None
            setattr(event, word, intern(value) if word in LOW_CARDINALITY_FIELDS and value is not None else value)
        return wrong

    def named_version(self, headings: HeaderLayout, source: EnvelopeSource) -> str | None:
        """Return the schema version that the record names in a header or at a configured location.

        Built-in locations in the body do not count, because services number their events' versions there in their own
        ways.
        """
        stated = tuple((at, place) for at, place in headings.sources["version"] if at >= 0 or place.configured)
        value = find_field("version", stated, EnvelopeSource(source.headers, source.body, source.inner, source.key))
        return value if value.__class__ is str else None

    def missing(self, event: Event, headings: HeaderLayout, source: EnvelopeSource) -> Rejection | None:
        """Return a rejection for the first required field that `event` lacks, with the searched locations."""
        for word in self.required:
            if getattr(event, word) is None:
                return self._complaint(word, headings, source)
        return None

    def remember_table(self, stream: str, table: object) -> None:
        """Remember the table of a stream's change events, for the stream's tombstones."""
        if table.__class__ is str and (stream in self._tables or len(self._tables) < _MAX_TABLES):
            self._tables[stream] = str(table)

    def tombstone_fields(self, stream: str, headers: Headers) -> dict[str, Any]:
        """Return the fields that a tombstone implies: the aggregate type of the deleted row."""
        table = debezium.table_of_stream(stream, headers) or self._tables.get(stream)
        return {} if table is None else {"aggregate_type": table}

    def _complaint(self, word: str, headings: HeaderLayout, source: EnvelopeSource) -> Rejection:
        for index, place in headings.sources[word]:
            raw = _raw(index, place, source)
            if not _nothing(raw):
                return reject_unusable(word, place, raw)
        looked = ", ".join(place.written for place in self.places[word])
        return Rejection("envelope.missing", f"{word} is required, and there is none in {looked}"[:2000], word)


def parse_location(written: str, *, configured: bool) -> FieldLocation:
    """Parse `body:PATH`, `header:NAME` or `key`. Raises ValueError."""
    kind, _, name = written.partition(":")
    if kind == "header" and name:
        return FieldLocation(written, configured, header=name.lower())
    if kind == "body" and name:
        return FieldLocation(written, configured, steps=tuple(map(str, JsonPath.parse(name).steps)))
    if written == "key":
        return FieldLocation(written, configured)
    raise ValueError(f"{written!r} is not a location of a field; expected body:PATH, header:NAME or key")


def find_field(word: str, sources: Sources, source: EnvelopeSource) -> Any:
    """Return a field's value, None, or the rejection of a configured location.

    The value is text, or microseconds for `occurred_at`.
    """
    take: Callable[[Any], Any] = to_micros if word == "occurred_at" else to_text
    own, late = source.own.get(word), source.late.get(word)
    for index, place in sources:
        if own is not None and not place.configured:
            value = take(own)
            if value is not None:
                return value
            own = None
        if late is not None and index == KEY_SOURCE_INDEX and not place.configured:
            break
        raw = _raw(index, place, source)
        if _nothing(raw):
            continue
        value = take(raw)
        if value is not None:
            return value
        if place.configured:
            return reject_unusable(word, place, raw)
    if own is not None and (value := take(own)) is not None:
        return value
    if late is not None and (value := take(late)) is not None:
        return value
    return to_text(source.key) if word == "aggregate_id" else None


def reject_unusable(word: str, place: FieldLocation, raw: Any) -> Rejection:
    """Build the rejection for a location whose value is unusable for the field."""
    wanted = "a time between 1971 and 2200" if word == "occurred_at" else "text of at most 512 characters, or a number"
    path = ".".join(place.steps) if place.steps else place.written
    return Rejection("envelope.invalid", f"{word} at {place.written}: expected {wanted}, found {_describe(raw)}", path)


def record_type(name: str | None) -> str | None:
    """Return the last possible type of an event: the name of the Avro record, without its namespace."""
    return to_text(name.rpartition(".")[2]) if name is not None else None


def value_at_path(body: Any, steps: tuple[str, ...]) -> Any:
    """Return the value at a path, or None. A flat map may also have the whole path as one name."""
    at = body
    for step in steps:
        if at.__class__ is dict:
            at = at.get(step)
        elif at.__class__ is list and step.isdecimal() and len(step) < 9 and int(step) < len(at):
            at = at[int(step)]
        else:
            at = None
        if at is None:
            return body.get(".".join(steps)) if len(steps) > 1 and body.__class__ is dict else None
    return at


def _raw(index: int, place: FieldLocation, source: EnvelopeSource) -> Any:
    if index >= 0:
        return source.headers[index][1]
    if index == KEY_SOURCE_INDEX:
        return source.key
    if place.configured:
        raw = value_at_path(source.body, place.steps)
        if raw is not None or source.inner is source.body:
            return raw
    return value_at_path(source.inner, place.steps)


def _nothing(raw: Any) -> bool:
    return raw is None or raw == "" or raw == b""


def _describe(raw: Any) -> str:
    if isinstance(raw, (str, bytes)):
        return f"{len(raw)} characters" if len(raw) > 64 else repr(raw)
    if isinstance(raw, dict):
        return "a map"
    if isinstance(raw, list):
        return "a list"
    if isinstance(raw, int) and not -(1 << 128) < raw < 1 << 128:
        return "a number of more than 38 digits"
    return repr(raw)[:100]
