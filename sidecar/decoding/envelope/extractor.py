"""Where the words of an event stand in a record: the configured places first, then the built-in ones of the contract.

A place is `body:PATH` (dotted, list indexes as numbers: `body:data.items.0.sku` or `body:data.items[0].sku`),
`header:NAME` (names compare without case; of a repeated name the last counts) or `key`. The first place that holds
something counts; null and empty text are nothing. What a place holds but no word can be made of (a map as an id, a
time in the year 9000) is passed over at a built-in place, since that place is our guess. At a configured place it is
an `envelope.invalid` rejection, and so it is where the word is required and no other place gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from sys import intern
from typing import Any

from msgspec import Struct

from sidecar.config import schema as config
from sidecar.decoding import trace_context, wire_format
from sidecar.decoding.envelope.coercion import to_micros, to_text
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
"""The words that are looked for, as the configuration and `Event` name them."""

LOW_CARDINALITY_FIELDS = frozenset(("type", "version", "aggregate_type", "producer"))
"""Words with few values, of which one copy is kept for all events."""

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
        "header:ce_correlationid",
        "body:correlationId",
        "body:correlation_id",
        "body:metadata.correlationId",
    ),
    "causation_id": (
        "header:causation-id",
        "header:x-causation-id",
        "header:causationId",
        "header:ce_causationid",
        "body:causationId",
        "body:causation_id",
        "body:metadata.causationId",
    ),
    "producer": ("header:ce_source", "header:producer", "header:x-producer", "body:producer"),
}
"""The contract's built-in places, in order. The Avro record's name, the last place of a type, comes with the schema."""

REPLAY_OF_HEADER = "tracecar.replay-of"
_CONTENT_TYPE = "content-type"
_KEY_SCHEMA_ID = "__key_schema_id"
KEY_SOURCE = -1
"""Index of a source that is the key."""
BODY_SOURCE = -2
"""Index of a source in the body."""


class FieldLocation(Struct, frozen=True):
    """One place where a word may stand."""

    written: str
    """As the configuration writes it."""
    configured: bool
    header: str | None = None
    """The lower-case name, where it is a header."""
    steps: tuple[str, ...] = ()
    """The path, where it is in the body. Neither: the key."""

    @property
    def simple(self) -> bool:
        """A built-in place that is one field of the body."""
        return len(self.steps) == 1 and not self.configured


Sources = tuple[tuple[int, FieldLocation], ...]
"""Places of one word that a record can have, each with the header's index, or -1 for the key, or -2 for the body."""


class HeaderLayout(Struct, frozen=True):
    """What one sequence of header names means, worked out once."""

    sources: Mapping[str, Sources]
    """By word, in order."""
    schema: tuple[tuple[str, int], ...]
    """The headers that frame the value, by lower-case name, with their indexes."""
    traceparent: int
    """Index of `traceparent`, -1 where there is none."""
    traced: bool
    """There are headers of any trace format."""
    replay_of: int
    content_type: int
    data_schema: int
    """Index of CloudEvents' `ce_dataschema`."""
    key_framed: bool

    @property
    def names_version(self) -> bool:
        """A header or a configured place may name a schema's version."""
        return any(at >= 0 or place.configured for at, place in self.sources["version"])

    def within(self, word: str, fields: Collection[str]) -> Sources:
        """The places of a word that a record whose body has these fields can have."""
        return tuple(
            (at, place)
            for at, place in self.sources[word]
            if not place.steps or place.steps[0] in fields or ".".join(place.steps) in fields
        )


class EnvelopeSource(Struct):
    """What a record offers to find words in."""

    headers: Headers
    body: Any
    """The whole body, which configured paths start from."""
    inner: Any
    """What the built-in paths start from: the body without wrappers that say nothing of the event."""
    key: str | None
    own: Mapping[str, Any] = {}
    """Words under a format's own names: looked at after the configured places, before the built-in ones."""
    late: Mapping[str, Any] = {}
    """Words that a format implies: looked at after all places but the key."""


class EnvelopeExtractor:
    """The places of every word, as configured, and the finding of words in records."""

    def __init__(self, configured: config.EnvelopeConfig) -> None:
        """Raises ValueError for a place that is none; the configuration's own check says so earlier, with its path."""
        self.required: tuple[str, ...] = tuple(configured.required)
        self.places: dict[str, tuple[FieldLocation, ...]] = {
            word: tuple(
                [parse_location(written, configured=True) for written in getattr(configured, word)]
                + [parse_location(written, configured=False) for written in BUILT_IN_LOCATIONS[word]]
            )
            for word in ENVELOPE_FIELDS
        }

    def headings(self, names: Sequence[str]) -> HeaderLayout:
        """Work out what these header names, in this order, mean."""
        index = {name.lower(): at for at, name in enumerate(names)}
        sources: dict[str, Sources] = {}
        for word, places in self.places.items():
            found: list[tuple[int, FieldLocation]] = []
            for place in places:
                if place.header is None:
                    found.append((BODY_SOURCE if place.steps else KEY_SOURCE, place))
                elif place.header in index:
                    found.append((index[place.header], place))
            sources[word] = tuple(found)
        return HeaderLayout(
            sources=sources,
            schema=tuple((name, index[name]) for name in sorted(wire_format.HEADERS & index.keys())),
            traceparent=index.get("traceparent", -1),
            traced=not trace_context.TRACE_HEADERS.isdisjoint(index),
            replay_of=index.get(REPLAY_OF_HEADER, -1),
            content_type=index.get(_CONTENT_TYPE, -1),
            data_schema=index.get("ce_dataschema", -1),
            key_framed=_KEY_SCHEMA_ID in index,
        )

    def fill(self, event: Event, headings: HeaderLayout, found: EnvelopeSource) -> Rejection | None:
        """Set every word of `event` that `found` gives. The rejection tells of the first configured place that holds
        what no word can be made of; that word stays empty and the others are filled all the same."""
        wrong: Rejection | None = None
        for word, sources in headings.sources.items():
            value = find_field(word, sources, found)
            if value.__class__ is Rejection:
                wrong = wrong or value
                value = None
            setattr(event, word, intern(value) if word in LOW_CARDINALITY_FIELDS and value is not None else value)
        return wrong

    def named_version(self, headings: HeaderLayout, found: EnvelopeSource) -> str | None:
        """The schema version that the record names, by header or at a configured place. The built-in places in a body
        are left out: services count their events' versions in their own ways there."""
        stated = tuple((at, place) for at, place in headings.sources["version"] if at >= 0 or place.configured)
        value = find_field("version", stated, EnvelopeSource(found.headers, found.body, found.inner, found.key))
        return value if value.__class__ is str else None

    def missing(self, event: Event, headings: HeaderLayout, found: EnvelopeSource) -> Rejection | None:
        """The first required word that `event` has not, as a rejection that says where it was looked for."""
        for word in self.required:
            if getattr(event, word) is None:
                return self._complaint(word, headings, found)
        return None

    def _complaint(self, word: str, headings: HeaderLayout, found: EnvelopeSource) -> Rejection:
        for index, place in headings.sources[word]:
            raw = _raw(index, place, found)
            if not _nothing(raw):
                return reject_unusable(word, place, raw)
        looked = ", ".join(place.written for place in self.places[word])
        return Rejection("envelope.missing", f"{word} is required, and there is none in {looked}"[:2000], word)


def parse_location(written: str, *, configured: bool) -> FieldLocation:
    """`body:PATH`, `header:NAME` or `key`. Raises ValueError where it is none of them."""
    kind, _, name = written.partition(":")
    if kind == "header" and name:
        return FieldLocation(written, configured, header=name.lower())
    if kind == "body" and name:
        return FieldLocation(written, configured, steps=tuple(map(str, JsonPath.parse(name).steps)))
    if written == "key":
        return FieldLocation(written, configured)
    raise ValueError(f"{written!r} is no place of a word; expected body:PATH, header:NAME or key")


def find_field(word: str, sources: Sources, found: EnvelopeSource) -> Any:
    """The word's value (text, or microseconds for `occurred_at`), None, or a Rejection from a configured place."""
    take: Callable[[Any], Any] = to_micros if word == "occurred_at" else to_text
    own, late = found.own.get(word), found.late.get(word)
    for index, place in sources:
        if own is not None and not place.configured:
            value = take(own)
            if value is not None:
                return value
            own = None
        if late is not None and index == KEY_SOURCE and not place.configured:
            break
        raw = _raw(index, place, found)
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
    return to_text(found.key) if word == "aggregate_id" else None


def reject_unusable(word: str, place: FieldLocation, raw: Any) -> Rejection:
    """The rejection for a place that holds something of which no such word can be made."""
    wanted = "a time between 1971 and 2200" if word == "occurred_at" else "text of at most 512 characters, or a number"
    path = ".".join(place.steps) if place.steps else place.written
    return Rejection("envelope.invalid", f"{word} at {place.written}: expected {wanted}, found {_shown(raw)}", path)


def record_type(name: str | None) -> str | None:
    """The last place of a type: the name of the Avro record that was read, without its namespace."""
    return to_text(name.rpartition(".")[2]) if name is not None else None


def value_at_path(body: Any, steps: tuple[str, ...]) -> Any:
    """What stands at a path, None where nothing does. A flat map may also have the whole path as one name."""
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


def _raw(index: int, place: FieldLocation, found: EnvelopeSource) -> Any:
    if index >= 0:
        return found.headers[index][1]
    if index == KEY_SOURCE:
        return found.key
    if place.configured:
        raw = value_at_path(found.body, place.steps)
        if raw is not None or found.inner is found.body:
            return raw
    return value_at_path(found.inner, place.steps)


def _nothing(raw: Any) -> bool:
    return raw is None or raw == "" or raw == b""


def _shown(raw: Any) -> str:
    if isinstance(raw, (str, bytes)):
        return f"{len(raw)} characters" if len(raw) > 64 else repr(raw)
    if isinstance(raw, dict):
        return "a map"
    if isinstance(raw, list):
        return "a list"
    if isinstance(raw, int) and not -(1 << 128) < raw < 1 << 128:
        return "a number of more than 38 digits"
    return repr(raw)[:100]
