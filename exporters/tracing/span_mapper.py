"""Mapper from an event to a span, without clock, server or queue.

The span describes no work of the service. It says that a record was read from a stream, which producer the record
names, and how long it took from its creation to its append. It lasts from the time at which the event occurred,
according to its producer (if plausible), to the append time. Both are in the record, so a record always gives the same
span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from exporters import semantic_conventions as names
from exporters.tracing.span_ids import span_id, span_id_base
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.correlation.duplicates import parse_origin
from sidecar.domain.model import Event
from sidecar.domain.position import Partition, Position

OPERATION = "receive"
MAX_APPEND_DELAY_MS = 3_600_000
"""Longest plausible time from occurrence to append; beyond it, one of the two clocks is wrong."""
MAX_TIMESTAMP_MS = 4_102_444_800_000
"""Latest plausible append time, in the year 2100."""

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
"""Attributes that differ from span to span, in the order of `ExportSpan.values`."""

_INFERRED: Attributes = ((names.PARENT_INFERRED, True),)


class PartitionAttributes(Struct, frozen=True):
    """Attributes that all spans of a partition share."""

    log: Partition
    name: str
    """Name of the spans, such as `receive orders`."""
    attributes: Attributes
    prefix: str
    """Text of its positions up to and including the last slash."""
    base: int
    """Base of its span ids (`span_id_base`)."""
    counted: bool
    """True if its offsets count records."""
    format_offset: Callable[[int], str]

    def entry(self, offset: int) -> str:
        """Format an offset as positions do after the last slash."""
        return self.format_offset(offset)


class SpanLink(Struct, frozen=True, gc=False):
    """A link to another span."""

    trace_id: int
    span_id: int
    kind: str
    """`creation`: the span that sent the record. `replay_of`: the record that was replayed. `duplicate_of`: the first
    event with this event id. `cause`: the causing event, if its span is in another trace. `start`: the span in which a
    chain of CloudEvents started, if it is in another trace."""


class SpanEvent(Struct, frozen=True, gc=False):
    """A span event: something that happened to the event."""

    name: str
    attributes: Attributes


class ExportSpan(Struct, gc=False):
    """The span of an event, as backends receive it."""

    place: PartitionAttributes
    event: Event
    """Event, redacted."""
    size: int | None
    """Size of the record's value in bytes."""
    span_id: int
    start: int
    """Start time in nanoseconds since 1970."""
    end: int
    trace_id: int = 0
    """0 until the flow is known."""
    parent_id: int | None = None
    written: bytes | None = None
    """The fields above without trace and parent, encoded as OTLP when the event arrived. By the time its flow is quiet,
    its texts have left the processor's caches, and reading them again would take longer than everything else."""
    further_links: Sequence[SpanLink] = ()
    """Links other than the one to the sender's span."""
    further: Attributes = ()
    notes: tuple[SpanEvent, ...] = ()
    error: str | None = None
    """Description of the failure, or None."""

    @property
    def links(self) -> Sequence[SpanLink]:
        trace_id, sender = self.event.trace_id, self.event.span_id
        if trace_id is None or sender is None:
            return self.further_links
        return [SpanLink(trace_id, sender, "creation"), *self.further_links]

    @property
    def values(self) -> tuple[str | int | None, ...]:
        """Values of the attributes in `VARYING`."""
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
    """The parent of a span, according to its flow."""

    trace_id: int
    span_id: int
    inferred: bool = False


class DeadLetterTarget(Struct, frozen=True):
    """Consumer group and dead-letter stream for the rejected records of a broker."""

    group: str
    stream: Callable[[str], str] | None
    """Returns the dead-letter stream of a stream. None: no dead letters are written."""


class SpanMapper:
    """Creates spans.

    Args:
        letters: Dead-letter targets by system.
        servers: Address and port by system, for systems with a single server.
    """

    def __init__(self, letters: dict[str, DeadLetterTarget], servers: dict[str, tuple[str, int]] | None = None) -> None:
        self._letters, self._servers = letters, servers or {}
        self._places: dict[tuple[str, str, int], PartitionAttributes] = {}
        self._latest: PartitionAttributes | None = None

    def place(self, position: Position) -> PartitionAttributes:
        """Return the attributes that all spans of a position's partition share."""
        latest = self._latest
        if latest is not None:
            log = latest.log
            if position.partition == log.number and position.stream == log.stream and position.system == log.system:
                return latest
        key = (position.system, position.stream, position.partition)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._create_place(position.log)
        self._latest = place
        return place

    def span_id_at(self, position: Position) -> int:
        """Return the id of the span of a record."""
        return span_id(self.place(position).base, position.offset)

    def _create_place(self, log: Partition) -> PartitionAttributes:
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
            span_id_base(log),
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
        """Create the complete span of an event (`begin` and `finish`)."""
        span = self.begin(event, size, self.place(event.position))
        self.finish(span, trace_id, parent, first)
        return span

    def begin(
        self, event: Event, size: int | None, place: PartitionAttributes, link: SpanLink | None = None
    ) -> ExportSpan:
        """Create a span from its event alone. `size`: bytes of the record's value, None if it has none."""
        start, end = span_times(event)
        span = ExportSpan(place, event, size, span_id(place.base, event.position.offset), start, end)
        if link is not None:
            span.further_links = (link,)
        return span

    def finish(self, span: ExportSpan, trace_id: int, parent: SpanParent | None, first: Event | None) -> None:
        """Set trace, parent and links of a span.

        Args:
            span: A span from `begin`.
            trace_id: Trace of the span.
            parent: Span of the causing event. None: the parent is the sender's span, if it is in the same trace.
            first: The event that this one duplicates.
        """
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
                span.further_links = (*span.further_links, SpanLink(parent.trace_id, parent.span_id, "cause"))
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
                # A replay has the headers of the original, so it is in the same flow and trace.
                links.append(SpanLink(span.trace_id, self.span_id_at(origin), "replay_of"))
        elif first is not None:
            further.append((names.DUPLICATE, True))
            trace_id = span.trace_id if first.trace_id is None else first.trace_id
            links.append(SpanLink(trace_id, self.span_id_at(first.position), "duplicate_of"))
        span.further_links, span.further, span.notes = links, tuple(further), tuple(notes)

    def dead_letter(self, event: Event) -> Attributes | None:
        """Return id and stream of a rejected event's dead letter; None if no dead letter is written."""
        letters = self._letters.get(event.position.system)
        if letters is None or letters.stream is None:
            return None
        id = f"{letters.group}@{event.position}"
        return ((names.DEAD_LETTER_ID, id), (names.DEAD_LETTER_STREAM, letters.stream(event.position.stream)))


def rejection_attributes(event: Event) -> Attributes:
    """Return the attributes that describe a rejection."""
    rejection = event.rejection
    assert rejection is not None
    attributes: list[tuple[str, Value]] = [
        (names.CODE, rejection.code),
        (names.STAGE, rejection.stage),
        (names.MESSAGE, rejection.message),
    ]
    if rejection.path is not None:
        attributes.append((names.PATH, rejection.path))
    if event.schema is not None and event.schema.subject is not None:
        version = "" if event.schema.version is None else f" v{event.schema.version}"
        attributes.append((names.SCHEMA, f"{event.schema.subject}{version}"))
    return tuple(attributes)


def span_times(event: Event) -> tuple[int, int]:
    """Return start and end of an event's span, in nanoseconds since 1970."""
    appended, occurred = event.appended_at, event.occurred_at
    if not 0 <= appended <= MAX_TIMESTAMP_MS:
        appended = max(0, min(event.observed_at // 1000, MAX_TIMESTAMP_MS))
    end = appended * 1_000_000
    if occurred is None:
        return end, end
    took = appended * 1000 - occurred
    # A broker's clock has whole milliseconds: an event that occurred within the millisecond of its append took no time.
    return (occurred * 1000, end) if 0 <= took <= MAX_APPEND_DELAY_MS * 1000 else (end, end)


def all_attributes(span: ExportSpan) -> Sequence[tuple[str, Value]]:
    """Return the attributes of a span."""
    varying = [(name, value) for name, value in zip(VARYING, span.values, strict=True) if value is not None]
    return (*span.place.attributes, *varying, *span.further)
