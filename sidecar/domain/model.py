"""The domain model: records, events, rejections and dead letters as plain types. It imports only positions.

A broker stores a `Record`. Decoding gives `Decoded`: the record, its `Event` (identity, times, trace, causes) and its
body. A record that fails has an event with a `Rejection`, and is published as an `Outgoing` dead letter. Reading a
dead-letter stream gives `DeadLetter`s.

Times are integers since 1970 in UTC: milliseconds where the broker keeps milliseconds, else microseconds; each field
names its unit. Trace ids are 128-bit integers and span ids 64-bit integers; API, logs and exporters write them as
lower-case hex.
"""

from __future__ import annotations

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
    """None is a tombstone; for a Redis entry without a body field it means that the headers are the body."""
    headers: Headers
    """The headers in order; for Redis the entry's fields without the body field."""
    timestamp: int
    """Milliseconds since 1970 by the broker, for Redis those of the entry id. Not checked: may be negative or huge."""
    value_at: int = 0
    """Redis only: number of fields before the body field, needed to write the entry again unchanged."""
    defect: Rejection | None = None
    """Reason why the broker adapter could not read all of the record: value and headers are missing then. Such a
    record is rejected."""


class Rejection(Struct, frozen=True, gc=False):
    """The reason why a record failed. A value, not an exception, because bad data is ordinary."""

    code: str
    """One of the codes in the compatibility page, such as `schema.mismatch`."""
    message: str
    """A sentence for people: what was expected and what was found. At most 2,000 characters."""
    path: str | None = None
    """Place in the body, such as `data.items[2].qty`."""

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
    """The key as text. A binary key is written as a number, a UUID or hex (see `sidecar.decoding.record_key`)."""
    appended_at: int
    """Milliseconds, the broker's timestamp."""
    observed_at: int
    """Microseconds, when this sidecar read it."""
    event_id: str | None = None
    type: str | None = None
    version: str | None = None
    occurred_at: int | None = None
    """Microseconds, as the producer states it."""
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    trace_id: int | None = None
    """The trace id in the record's headers. None: there is none, and one is derived when it is asked for."""
    span_id: int | None = None
    """The span that sent the record."""
    parent_span_id: int | None = None
    """The parent of that span; only B3 and Jaeger headers carry it."""
    trace_origin: TraceOrigin | None = None
    """None where `trace_id` is None."""
    correlation_id: str | None = None
    causation_id: str | None = None
    producer: str | None = None
    schema: SchemaRef | None = None
    unchecked: bool = False
    """True: not validated, because no schema is registered or the registry could not be reached."""
    rejection: Rejection | None = None
    replay_of: str | None = None
    """Id of the dead letter that this record is a replay of."""
    digest: int = 0
    """CRC-32 of the value's bytes. Shows whether a duplicate has the same content."""
    hop_of: str | None = None
    """Position of the record that this one is a copy of, as a framework's headers say (a retry topic, for example)."""


class Decoded(Struct, gc=False):
    """A record after decoding and validation: its event, and its body while it is needed."""

    record: Record
    event: Event
    body: Any = None
    """The decoded value: JSON types, and bytes, Decimal, datetime, date, time and UUID from Avro's logical types.
    None for a record without a value or with one that could not be decoded."""


class Outgoing(Struct, frozen=True, gc=False):
    """A record to publish."""

    stream: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """Target partition. None, or a number that the stream does not have: chosen by key."""
    timestamp: int | None = None
    """Milliseconds. None: the broker's clock."""
    value_at: int = 0
    """Redis only: number of headers to write before the body field."""
    origin: Position | None = None
    """Position of the rejected record, on a dead letter. If that record is already committed (Redis), the commit does
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
    """Position of the record that failed. None where the headers do not state it."""
    origin_timestamp: int | None
    """Milliseconds. With `origin` it identifies one record, even after the topic was deleted and created again."""
    stream: str
    """The stream on which the record failed."""
    group: str | None
    """The consumer group that could not process it."""
    code: str
    message: str
    path: str | None
    event_id: str | None
    type: str | None
    trace_id: str | None
    """Lower-case hex, as the record states it. Never derived."""
    aggregate_id: str | None
    failed_at: int | None
    """Microseconds."""
    attempts: int | None
    """Number of times that the record was tried. None where the framework does not state it."""
    dialect: str
    schema: SchemaRef | None = None
    service: str | None = None
    omitted: tuple[str, ...] = ()
    """Parts of the record that the dead letter lacks: `body`, `headers`, `key`. The origin still has them."""
    reserialized: bool = False
    """The framework may have serialized key or value again: the origin's bytes can differ."""
    replay_of: str | None = None
    """Id of the dead letter of the earlier failure, where the record was a replay."""
    replay_id: str | None = None
    """Id of the replay that published the record."""
    replays: int = 0
    """Number of times that the record was replayed before it failed this time."""
    state: str = "open"
    """open | replaying | replayed | returned | parked | discarded, once the ledger was read."""
    record: Record | None = None
    """The original record, restored from the dead letter."""
    written: Record | None = None
    """The dead letter itself, as its stream stores it."""
    appended_at: int = 0
    """Milliseconds, the dead letter's own broker timestamp."""
    cause: str | None = None
    """Fingerprint of the cause, set where redaction removed the text that it was computed from."""
    stacktrace: str | None = None
    root_cause: RootCause | None = None

    @property
    def stage(self) -> str:
        """The step that failed: the code up to its dot."""
        return self.code.partition(".")[0]

    def lighten(self) -> None:
        """Drop records and stack trace: a list of many dead letters keeps only the facts in memory."""
        self.record = self.written = self.stacktrace = None
