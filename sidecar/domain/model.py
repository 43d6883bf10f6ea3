"""The domain model: records, events, rejections and dead letters as plain types. It imports only positions.

A broker stores a `Record`. Decoding gives `Decoded`: the record, its `Event` (identity, times, trace, causes) and its
body. A record that fails has an event with a `Rejection`, and is published as an `Outgoing` dead letter. Reading a
dead-letter stream gives `DeadLetter`s.

Times are integers since 1970 in UTC: milliseconds where the broker keeps milliseconds, else microseconds; each field
names its unit. Trace ids are 128-bit integers and span ids 64-bit integers; API, logs and exporters write them as
lower-case hex.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

from msgspec import Struct

from sidecar.domain.position import Position

Headers = tuple[tuple[str, bytes | None], ...]
"""Header names and values in order. Names may repeat, and a value may be null."""


class Record(Struct, frozen=True, gc=False):
    """A record exactly as the broker stores it."""

    position: Position
    key: bytes | None
    value: bytes | None
    """None: a tombstone; for a Redis entry without a body field, the headers are the body."""
    headers: Headers
    """Headers in order; for Redis, the fields of the entry without the body field."""
    timestamp: int
    """Milliseconds since 1970, from the broker; for Redis, those of the entry id. Not validated: may be negative or
    huge."""
    value_at: int = 0
    """Redis only: number of fields before the body field, needed to write the entry again unchanged."""
    defect: Rejection | None = None
    """Reason why the broker adapter was not able to read the whole record; value and headers are missing then. Such a
    record is rejected."""


class Rejection(Struct, frozen=True, gc=False):
    """The reason why a record failed. A value, not an exception, because bad data is ordinary."""

    code: str
    """One of the codes in the compatibility page, such as `schema.mismatch`."""
    message: str
    """A sentence for people: what was expected and what was found. At most 2,000 characters."""
    path: str | None = None
    """Path in the body, such as `data.items[2].qty`."""

    @property
    def stage(self) -> str:
        """The step that failed: the code up to its dot."""
        return self.code.partition(".")[0]


class SchemaRef(Struct, frozen=True, gc=False):
    """The registered schema that an event was written or checked with."""

    subject: str | None
    version: int | None
    id: int | None
    guid: str | None = None


class TraceOrigin(StrEnum):
    """The header format in which an event's trace id was found."""

    W3C = "w3c"
    B3 = "b3"
    JAEGER = "jaeger"
    DATADOG = "datadog"
    XRAY = "xray"
    CLOUDEVENTS = "cloudevents"
    DERIVED = "derived"


class Event(Struct, gc=False):
    """A decoded record without its payload: its identity, its times, and what it belongs to.

    A rejected record has an event too, with every field that could be found, so that nothing is hidden.
    """

    position: Position
    key: str | None
    """Key as text. A binary key is written as a number, a UUID or hex (see `sidecar.decoding.record_key`)."""
    appended_at: int
    """Broker's timestamp in milliseconds."""
    observed_at: int
    """Time in microseconds at which this sidecar read the record."""
    event_id: str | None = None
    type: str | None = None
    version: str | None = None
    occurred_at: int | None = None
    """Time in microseconds that the producer states."""
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    trace_id: int | None = None
    """Trace id in the record's headers. None: there is none, and one is derived on request."""
    span_id: int | None = None
    """Span that sent the record."""
    parent_span_id: int | None = None
    """Parent of that span; only B3 and Jaeger headers carry it."""
    trace_origin: TraceOrigin | None = None
    """None if `trace_id` is None."""
    correlation_id: str | None = None
    causation_id: str | None = None
    producer: str | None = None
    schema: SchemaRef | None = None
    unchecked: bool = False
    """True if the event was not validated, because no schema is registered or the registry was unreachable."""
    rejection: Rejection | None = None
    replay_of: str | None = None
    """Id of the dead letter of which this record is a replay."""
    digest: int = 0
    """CRC-32 of the value's bytes, which shows whether a duplicate has the same content."""
    hop_of: str | None = None
    """Position of the original of this copy, as a framework's headers state it (on a retry topic, for example)."""


class UnreadBody:
    """A body that was verified and is not decoded: it is read from its record's value on demand."""

    __slots__ = ("fields", "read")

    def __init__(self, read: Callable[[bytes], Any], fields: Collection[str]) -> None:
        """Describe the bodies of one schema.

        Args:
            read: Decodes the body in a record's value.
            fields: The body is an object with these fields.
        """
        self.read, self.fields = read, fields


class Decoded(Struct, gc=False):
    """A record after decoding and validation: its event, and its body for those who look at it."""

    record: Record
    event: Event
    content: Any = None
    """The body, or how to read it (UnreadBody)."""
    wrapped_value: bytes | None = None
    """The value inside a message that a framework wrapped into a field of a Redis entry."""

    @property
    def value(self) -> bytes | None:
        """The bytes of the body."""
        return self.record.value if self.record.value is not None else self.wrapped_value

    @property
    def body(self) -> Any:
        """The decoded value: JSON types, and bytes, Decimal, datetime, date, time and UUID from Avro's logical types.

        None for a record without a value or with one that could not be decoded. The first access may decode it.
        """
        content = self.content
        if content.__class__ is UnreadBody:
            content = self.content = content.read(self.value or b"")
        return content

    @property
    def has_body(self) -> bool:
        """The value could be decoded to something."""
        return self.content is not None

    def has_field(self, name: str) -> bool:
        """Test whether the body is an object with this field, without decoding it."""
        content = self.content
        if content.__class__ is UnreadBody:
            return name in content.fields
        return content.__class__ is dict and name in content


class Outgoing(Struct, frozen=True, gc=False):
    """A record to publish."""

    stream: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """Target partition. None, or a number that the stream does not have: the key decides."""
    timestamp: int | None = None
    """Milliseconds. None: the broker's clock."""
    value_at: int = 0
    """Redis only: number of headers to write before the body field."""
    origin: Position | None = None
    """Position of the rejected record, for a dead letter. If that record is already committed (Redis), the commit does
    not publish the dead letter again."""


class RootCause(Struct, frozen=True):
    """The innermost exception behind a failure."""

    type: str
    """Name of its class."""
    message: str | None = None


class DeadLetter(Struct, gc=False):
    """A dead letter, Tracecar's or another framework's, with the facts that its headers state.

    The event id, type, trace id and aggregate id of a foreign dead letter come from decoding the record inside.
    """

    id: str
    """`GROUP@POSITION` of the origin; for a foreign dead letter without such an id, `@` and its own position."""
    position: Position
    origin: Position | None
    """Position of the record that failed. None if the headers do not state it."""
    origin_timestamp: int | None
    """Timestamp of the origin in milliseconds. Together with `origin` it identifies one record, even after the topic
    was deleted and created again."""
    stream: str
    """Stream on which the record failed."""
    group: str | None
    """Consumer group that could not process it."""
    code: str
    message: str
    path: str | None
    event_id: str | None
    type: str | None
    trace_id: str | None
    """Lower-case hex, as the record states it. Never derived."""
    aggregate_id: str | None
    failed_at: int | None
    """Time of the failure in microseconds."""
    attempts: int | None
    """Number of attempts to process the record. None if the framework does not state it."""
    dialect: str
    schema: SchemaRef | None = None
    service: str | None = None
    omitted: tuple[str, ...] = ()
    """Parts of the record that the dead letter lacks: `body`, `headers`, `key`. The origin still has them."""
    reserialized: bool = False
    """True if the framework may have serialized key or value again: the origin's bytes can differ."""
    replay_of: str | None = None
    """Id of the dead letter of the earlier failure, if the record was a replay."""
    replay_id: str | None = None
    """Id of the replay that published the record."""
    replays: int = 0
    """Number of replays of the record before this failure."""
    state: str = "open"
    """open | replaying | replayed | returned | parked | discarded, once the ledger was read."""
    record: Record | None = None
    """The original record, restored from the dead letter."""
    written: Record | None = None
    """Dead letter itself, as its stream stores it."""
    appended_at: int = 0
    """Dead letter's own broker timestamp in milliseconds."""
    cause: str | None = None
    """Fingerprint of the cause. Set only if redaction removed the text from which it is computed."""
    stacktrace: str | None = None
    root_cause: RootCause | None = None

    @property
    def stage(self) -> str:
        """The step that failed: the code up to its dot."""
        return self.code.partition(".")[0]

    def lighten(self) -> None:
        """Drop records and stack trace, so that a list of many dead letters holds only the facts in memory."""
        self.record = self.written = self.stacktrace = None
