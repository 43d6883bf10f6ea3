"""From an event to the span that says what the sidecar saw of it. Pure: no clock, no server, no queue.

A span is no work of the service's: it says that a record was read from a stream, by whom it says it was written, and
how long it took from being made to lying in the stream. It lasts from when the event occurred, as its producer says
(where that is believable), to when the broker appended it; both stand in the record, so the same record always gives
the same span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from exporters import semantic_conventions as names
from exporters.tracing.span_ids import base_of, span_id
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.correlation.duplicates import parse_origin
from sidecar.domain.model import Event
from sidecar.domain.position import Partition, Position

OPERATION = "receive"
BELIEVABLE = 3_600_000
"""Milliseconds from occurring to being appended that a span shows; beyond, one of the two clocks is not believed."""
LAST_MILLISECOND = 4_102_444_800_000
"""The year 2100: what a broker says is later is not believed."""

Value = str | int | bool
Attributes = tuple[tuple[str, Value], ...]

VARYING = (
    names.POSITION,
    names.MESSAGE_ID,
    names.CONVERSATION_ID,
    names.KAFKA_KEY,
    names.KAFKA_OFFSET,
    names.BODY_SIZE,
    names.EVENT_TYPE,
    names.AGGREGATE_ID,
    names.PRODUCER,
)
"""The attributes that differ from span to span, in the order of `ExportSpan.values`."""

_INFERRED: Attributes = ((names.PARENT_INFERRED, True),)


class PartitionAttributes(Struct, frozen=True):
    """What the spans of one partition have in common."""

    log: Partition
    name: str
    """Of its spans: `receive orders`."""
    attributes: Attributes
    prefix: str
    """Of its positions, up to the last slash."""
    base: int
    """Of its span ids."""
    counted: bool
    """Its offsets count records."""
    format_offset: Callable[[int], str]

    def entry(self, offset: int) -> str:
        """How positions write an offset, after the last slash."""
        return self.format_offset(offset)


class SpanLink(Struct, frozen=True, gc=False):
    """Another span that a span has to do with."""

    trace_id: int
    span_id: int
    kind: str
    """`creation`: the span that sent the record. `replay_of`: the record's first life. `duplicate_of`: the first with
    this event id. `cause`: the causing event, where it lies in another trace."""


class SpanEvent(Struct, frozen=True, gc=False):
    """Something that happened to the event, a span event."""

    name: str
    attributes: Attributes


class ExportSpan(Struct, gc=False):
    """One event, as the backends are told about it."""

    place: PartitionAttributes
    event: Event
    """As it may be shown."""
    size: int | None
    """Bytes of the record's value."""
    span_id: int
    start: int
    """Nanoseconds since 1970."""
    end: int
    trace_id: int = 0
    """0 until its place in its flow is known."""
    parent_id: int | None = None
    written: bytes | None = None
    """The above without trace and parent as OTLP has it, where it was written when the event came. By the time that its
    flow is quiet, its words have left the processor's caches, and to gather them takes longer than all else."""
    further_links: Sequence[SpanLink] = ()
    """Besides that to the sender's span."""
    further: Attributes = ()
    notes: tuple[SpanEvent, ...] = ()
    error: str | None = None
    """What failed, a sentence; None where nothing did."""

    @property
    def links(self) -> Sequence[SpanLink]:
        trace_id, sender = self.event.trace_id, self.event.span_id
        if trace_id is None or sender is None:
            return self.further_links
        return [SpanLink(trace_id, sender, "creation"), *self.further_links]

    @property
    def values(self) -> tuple[str | int | None, ...]:
        """Of the attributes in `VARYING`."""
        event, keyed = self.event, self.place.counted
        offset = event.position.offset
        entry = self.place.entry(offset)
        return (
            self.place.prefix + entry,
            event.event_id if event.event_id is not None or keyed else entry,
            event.correlation_id,
            event.key if keyed else None,
            offset if keyed else None,
            self.size,
            event.type,
            event.aggregate_id,
            event.producer,
        )


class SpanParent(Struct, frozen=True, gc=False):
    """Whom an event's span hangs from, as far as its flow tells."""

    trace_id: int
    span_id: int
    inferred: bool = False


class DeadLetterTarget(Struct, frozen=True):
    """What becomes of rejected records of one broker."""

    group: str
    stream: Callable[[str], str] | None
    """The dead-letter stream of a stream; None where no letters are written."""


class SpanMapper:
    """Makes spans. `letters` by system; `servers` by system the address and port, where there is only one."""

    def __init__(self, letters: dict[str, DeadLetterTarget], servers: dict[str, tuple[str, int]] | None = None) -> None:
        self._letters, self._servers = letters, servers or {}
        self._places: dict[tuple[str, str, int], PartitionAttributes] = {}
        self._latest: PartitionAttributes | None = None

    def place(self, position: Position) -> PartitionAttributes:
        latest = self._latest
        if latest is not None:
            log = latest.log
            if position.partition == log.number and position.stream == log.stream and position.system == log.system:
                return latest
        key = (position.system, position.stream, position.partition)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = self._new_place(position.log)
        self._latest = found
        return found

    def span_id_at(self, position: Position) -> int:
        return span_id(self.place(position).base, position.offset)

    def _new_place(self, log: Partition) -> PartitionAttributes:
        traits = traits_of(log.system)
        attributes: list[tuple[str, Value]] = [
            (names.SYSTEM, log.system),
            (names.OPERATION_NAME, OPERATION),
            (names.OPERATION_TYPE, "receive"),
            (names.DESTINATION, log.stream),
        ]
        if traits.partitioned:
            attributes.append((names.PARTITION, str(log.number)))
        if log.system in self._letters:
            attributes.append((names.GROUP, self._letters[log.system].group))
        if log.system in self._servers:
            address, port = self._servers[log.system]
            attributes += [(names.SERVER_ADDRESS, address), (names.SERVER_PORT, port)]
        return PartitionAttributes(
            log,
            f"{OPERATION} {log.stream}",
            tuple(attributes),
            f"{log}/",
            base_of(log),
            traits.offsets_count_records,
            traits.format_offset,
        )

    def span(
        self,
        event: Event,
        size: int | None,
        trace_id: int,
        *,
        parent: SpanParent | None = None,
        first: Event | None = None,
    ) -> ExportSpan:
        """The span of an event (`begin`, `finish`)."""
        span = self.begin(event, size, self.place(event.position))
        self.finish(span, trace_id, parent, first)
        return span

    def begin(self, event: Event, size: int | None, place: PartitionAttributes) -> ExportSpan:
        """What is known of a span from its event alone. `size`: bytes of the record's value, None where it has none."""
        start, end = times(event)
        return ExportSpan(place, event, size, span_id(place.base, event.position.offset), start, end)

    def finish(self, span: ExportSpan, trace_id: int, parent: SpanParent | None, first: Event | None) -> None:
        """Give a span its place. `parent`: the event that caused it; without one it hangs from the sender's span, where
        that is in the same trace. `first`: the event that this one is a duplicate of."""
        event = span.event
        span.trace_id = trace_id
        if event.trace_id == trace_id:
            span.parent_id = event.span_id
        if parent is not None:
            if parent.trace_id == trace_id:
                span.parent_id = parent.span_id
                if parent.inferred:
                    span.further = _INFERRED
            else:
                span.further_links = (SpanLink(parent.trace_id, parent.span_id, "cause"),)
        if first is not None or event.rejection is not None or event.replay_of is not None or span.size is None:
            self._add_rare(span, event, first)

    def _add_rare(self, span: ExportSpan, event: Event, first: Event | None) -> None:
        notes, links, further = [], list(span.further_links), list(span.further)
        if span.size is None and span.place.counted:
            further.append((names.KAFKA_TOMBSTONE, True))
        if event.rejection is not None:
            further.append((names.ERROR_TYPE, event.rejection.code))
            span.error = f"{event.rejection.code}: {event.rejection.message}"
            notes.append(SpanEvent("tracecar.rejection", rejection_attributes(event)))
            if (letter := self.dead_letter(event)) is not None:
                notes.append(SpanEvent("tracecar.dead_letter", letter))
        if event.replay_of is not None:
            notes.append(SpanEvent("tracecar.replay", ((names.DEAD_LETTER_ID, event.replay_of),)))
            origin = parse_origin(event.replay_of)
            if origin is not None and origin != event.position:
                # Its headers are the first life's, so it is of the same flow and trace.
                links.append(SpanLink(span.trace_id, self.span_id_at(origin), "replay_of"))
        elif first is not None:
            further.append((names.DUPLICATE, True))
            trace_id = span.trace_id if first.trace_id is None else first.trace_id
            links.append(SpanLink(trace_id, self.span_id_at(first.position), "duplicate_of"))
        span.further_links, span.further, span.notes = links, tuple(further), tuple(notes)

    def dead_letter(self, event: Event) -> Attributes | None:
        """Where a rejected event's dead letter goes; None where none is written."""
        letters = self._letters.get(event.position.system)
        if letters is None or letters.stream is None:
            return None
        id = f"{letters.group}@{event.position}"
        return ((names.DEAD_LETTER_ID, id), (names.DEAD_LETTER_STREAM, letters.stream(event.position.stream)))


def rejection_attributes(event: Event) -> Attributes:
    """Why an event was rejected."""
    rejection = event.rejection
    assert rejection is not None
    found: list[tuple[str, Value]] = [
        (names.CODE, rejection.code),
        (names.STAGE, rejection.stage),
        (names.MESSAGE, rejection.message),
    ]
    if rejection.path is not None:
        found.append((names.PATH, rejection.path))
    if event.schema is not None and event.schema.subject is not None:
        version = "" if event.schema.version is None else f" v{event.schema.version}"
        found.append((names.SCHEMA, f"{event.schema.subject}{version}"))
    return tuple(found)


def times(event: Event) -> tuple[int, int]:
    """From when to when an event's span lasts, nanoseconds."""
    appended, occurred = event.appended_at, event.occurred_at
    if not 0 <= appended <= LAST_MILLISECOND:
        appended = max(0, min(event.observed_at // 1000, LAST_MILLISECOND))
    end = appended * 1_000_000
    if occurred is None:
        return end, end
    took = appended * 1000 - occurred
    # A broker's clock ticks in whole milliseconds: what occurred within the one it names was appended at once.
    return (occurred * 1000, end) if 0 <= took <= BELIEVABLE * 1000 else (end, end)


def all_attributes(span: ExportSpan) -> Sequence[tuple[str, Value]]:
    """The attributes of a span, as many as it has."""
    varying = [(name, value) for name, value in zip(VARYING, span.values, strict=True) if value is not None]
    return (*span.place.attributes, *varying, *span.further)
