"""An event as one packed value: a MessagePack array, about a fifth of what the Event with its texts takes.

An array's first elements are what walking needs: where the event lies, when it was appended, and, for each table of its
segment, the slot of the event that was there before it under the same key (a chain, newest first).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.model import Event, Rejection, SchemaRef, TraceOrigin
from sidecar.domain.position import Partition

LONGEST_TEXT = 512
"""Characters of an id or name that are kept whole; a longer one is cut, and told apart from others by its hash."""
LONGEST_MESSAGE = 2_000
MOST_SCHEMAS = 4_096
LONGEST = 4_096
"""Bytes of a packed event beyond which its texts are looked at one by one."""

_TEXTS = (
    "key",
    "event_id",
    "type",
    "version",
    "aggregate_id",
    "aggregate_type",
    "correlation_id",
    "causation_id",
    "producer",
    "replay_of",
)
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1


class EventHead(Struct, array_like=True, frozen=True, gc=False):
    """The first elements of a packed event: enough to order and to find it."""

    place: int
    """The number of its partition."""
    offset: int
    offset_high: int
    """What an offset has beyond 64 bits: the milliseconds of a Redis entry id."""
    appended_at: int


class PackedEvent(Struct, array_like=True, frozen=True, gc=False):
    """All of a packed event, in the order in which `MemoryIndex.add` packs it."""

    place: int
    offset: int
    offset_high: int
    appended_at: int
    before_id: int | None
    before_trace: int | None
    before_aggregate: int | None
    before_correlation: int | None
    before_caused: int | None
    before_derived: int | None
    observed_at: int
    occurred_at: int | None
    event_id: str | None
    type: str | None
    version: str | None
    key: str | None
    aggregate_id: str | None
    aggregate_type: str | None
    trace: bytes | None
    """Big-endian."""
    span_id: int | None
    parent_span_id: int | None
    trace_origin: TraceOrigin | None
    correlation_id: str | None
    causation_id: str | None
    producer: str | None
    schema: int | SchemaRef | None
    """Its number in `SchemaTable`."""
    unchecked: bool
    rejection: Rejection | None
    replay_of: str | None
    digest: int


pack = msgspec.msgpack.Encoder().encode
head = msgspec.msgpack.Decoder(EventHead).decode
unpack = msgspec.msgpack.Decoder(PackedEvent).decode


class SchemaTable:
    """Schemas by number. What is beyond the bound has none, and is packed whole."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}
        """Numbers by identity of the schema: events of one schema share the object."""
        self._numbers: dict[SchemaRef, int] = {}
        self._schemas: list[SchemaRef] = []
        self._alive: list[SchemaRef] = []

    def number(self, schema: SchemaRef | None) -> int | SchemaRef | None:
        """What to pack of a schema."""
        if schema is None:
            return None
        number = self._numbers.get(schema)
        if number is None:
            if len(self._schemas) >= MOST_SCHEMAS:
                return schema
            number = self._numbers[schema] = len(self._schemas)
            self._schemas.append(schema)
        if len(self._alive) < MOST_SCHEMAS:
            self.known[id(schema)] = number
            self._alive.append(schema)
        return number

    def of(self, packed: int | SchemaRef | None) -> SchemaRef | None:
        return self._schemas[packed] if isinstance(packed, int) else packed


def event_of(packed: PackedEvent, log: Partition, schemas: SchemaTable) -> Event:
    """The event again."""
    trace = packed.trace
    return Event(
        position=log.at(packed.offset_high << 64 | packed.offset),
        key=packed.key,
        appended_at=packed.appended_at,
        observed_at=packed.observed_at,
        event_id=packed.event_id,
        type=packed.type,
        version=packed.version,
        occurred_at=packed.occurred_at,
        aggregate_id=packed.aggregate_id,
        aggregate_type=packed.aggregate_type,
        trace_id=None if trace is None else int.from_bytes(trace, "big"),
        span_id=packed.span_id,
        parent_span_id=packed.parent_span_id,
        trace_origin=packed.trace_origin,
        correlation_id=packed.correlation_id,
        causation_id=packed.causation_id,
        producer=packed.producer,
        schema=schemas.of(packed.schema),
        unchecked=packed.unchecked,
        rejection=packed.rejection,
        replay_of=packed.replay_of,
        digest=packed.digest,
    )


def bounded(text: str) -> str:
    """A text as the index keeps it: not longer than `LONGEST_TEXT`, and without what UTF-8 cannot write."""
    if len(text) > LONGEST_TEXT:
        rest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        text = f"{text[: LONGEST_TEXT - 36]}...{rest}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def kept(event: Event) -> Event:
    """An event that can be packed, whatever this one holds: texts bounded, numbers within what their field can hold."""
    texts = {name: bounded(text) for name in _TEXTS if (text := getattr(event, name)) is not None}
    rejection, schema = event.rejection, event.schema
    if rejection is not None:
        rejection = Rejection(
            bounded(rejection.code),
            rejection.message[:LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode("utf-8"),
            None if rejection.path is None else bounded(rejection.path),
        )
    if schema is not None:
        subject, guid = schema.subject, schema.guid
        schema = SchemaRef(
            None if subject is None else bounded(subject),
            _within(schema.version),
            _within(schema.id),
            None if guid is None else bounded(guid),
        )
    trace_id = event.trace_id if event.trace_id is not None and 0 <= event.trace_id < 1 << 128 else None
    return replace(
        event,
        **texts,
        appended_at=_within(event.appended_at) or 0,
        observed_at=_within(event.observed_at) or 0,
        occurred_at=_within(event.occurred_at),
        trace_id=trace_id,
        trace_origin=event.trace_origin if trace_id is not None else None,
        span_id=_span(event.span_id),
        parent_span_id=_span(event.parent_span_id),
        digest=_within(event.digest) or 0,
        rejection=rejection,
        schema=schema,
    )


def _within(number: int | None) -> int | None:
    return None if number is None else min(max(number, _SMALLEST), _LARGEST)


def _span(number: int | None) -> int | None:
    return number if number is not None and 0 <= number < 1 << 64 else None
