"""The words of Tracecar as types: what a record, an event, a rejection is. Imports nothing of ours.

Times are integers since 1970 in UTC: milliseconds where the broker keeps milliseconds, microseconds elsewhere; each
field says which. Trace ids are 128-bit integers and span ids 64-bit integers; they become lower-case hex at the edges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from sidecar.domain.position import Position

Headers = tuple[tuple[str, bytes | None], ...]
"""Header names and values in order, duplicates kept; a null value is a value."""


class Record(Struct, frozen=True, gc=False):
    """What the broker holds, untouched."""

    position: Position
    key: bytes | None
    value: bytes | None
    """Null is a tombstone. For a Redis entry without a body field: None, and the entry's fields are the headers."""
    headers: Headers
    timestamp: int
    """Milliseconds since 1970, as the broker says; for Redis the milliseconds of the entry id. May be absurd."""
    value_at: int = 0
    """Redis only: how many fields stood before the body field, so that the entry can be written again as it was."""


class Rejection(Struct, frozen=True, gc=False):
    """Why a record failed. A value, not an exception: bad data is ordinary."""

    code: str
    """One of the contract's codes, such as `schema.mismatch`."""
    message: str
    """A sentence for a person: what was expected, what was found. Never longer than 2,000 characters."""
    path: str | None = None
    """Where in the body, such as `data.items[2].qty`."""

    @property
    def stage(self) -> str:
        return self.code.partition(".")[0]


class SchemaRef(Struct, frozen=True, gc=False):
    """Which registered schema an event was written or checked with."""

    subject: str | None
    version: int | None
    id: int | None
    guid: str | None = None


class TraceOrigin(StrEnum):
    """Which propagation format an event's trace id was found in."""

    W3C = "w3c"
    B3 = "b3"
    JAEGER = "jaeger"
    DATADOG = "datadog"
    XRAY = "xray"
    CLOUDEVENTS = "cloudevents"
    DERIVED = "derived"


class Event(Struct, gc=False):
    """A decoded record, without its payload: who it is and what it belongs to. A rejected record is an event too, with
    as much filled in as could be found, so that nothing undecodable is hidden."""

    position: Position
    key: str | None
    """The key as text; bytes that are not UTF-8 are escaped as `\\xNN`."""
    appended_at: int
    """Milliseconds, the broker's timestamp."""
    observed_at: int
    """Microseconds, when this sidecar saw it."""
    event_id: str | None = None
    type: str | None = None
    version: str | None = None
    occurred_at: int | None = None
    """Microseconds, as the producer says."""
    aggregate_id: str | None = None
    aggregate_type: str | None = None
    trace_id: int | None = None
    """As found in the record; None where the record carries none (it is then derived when asked for)."""
    span_id: int | None = None
    parent_span_id: int | None = None
    trace_origin: TraceOrigin | None = None
    """None where `trace_id` is."""
    correlation_id: str | None = None
    causation_id: str | None = None
    producer: str | None = None
    schema: SchemaRef | None = None
    unchecked: bool = False
    """No schema was there to check it against, or the registry could not be asked."""
    rejection: Rejection | None = None
    replay_of: str | None = None
    """The dead letter of which this record is a replay."""
    digest: int = 0
    """CRC-32 of the value's bytes: tells a duplicate that changed from one that did not."""


class Decoded(Struct, gc=False):
    """One record after judging: its event, and the body while somebody still wants to look at it."""

    record: Record
    event: Event
    body: Any = None
    """The decoded value: what JSON knows, plus bytes, Decimal, datetime, date, time and UUID from Avro's logical types.
    None where the record has none or it could not be decoded."""


class Outgoing(Struct, frozen=True, gc=False):
    """A record to publish."""

    stream: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None
    """The partition asked for; where the stream has no such partition, or None, it goes by key."""
    timestamp: int | None = None
    """Milliseconds; None: the broker's now."""
    value_at: int = 0
    """Redis only: how many headers to write before the body field."""
    origin: Position | None = None
    """For a dead letter: the record it stands for. Where committing finds that record committed already (Redis), the
    letter is not published a second time."""


class DeadLetter(Struct, gc=False):
    """A rejection as it stands in a dead-letter stream, ours or another framework's, as far as its headers tell."""

    id: str
    """`GROUP@POSITION` of the origin; of a foreign letter without one `@` and its own position."""
    position: Position
    origin: Position | None
    origin_timestamp: int | None
    """Milliseconds: with `origin` it names one record for ever, also when a topic is created again."""
    stream: str
    """The stream that the record failed on."""
    group: str | None
    code: str
    message: str
    path: str | None
    event_id: str | None
    type: str | None
    trace_id: str | None
    """Lower-case hex, as the header says."""
    aggregate_id: str | None
    failed_at: int | None
    """Microseconds."""
    attempts: int
    dialect: str
    schema: SchemaRef | None = None
    service: str | None = None
    omitted: tuple[str, ...] = ()
    """Parts that the broker would not take: `body`, `headers`, `key`. They are still at the origin."""
    replay_of: str | None = None
    """The letter of this record's earlier life."""
    replay_id: str | None = None
    """The replay that this record came from."""
    replays: int = 0
    """How often this record was replayed before it failed this time."""
    state: str = "open"
    """open | replaying | replayed | returned | parked | discarded, once the ledger was asked."""
    record: Record | None = None
    """The original record as the letter keeps it."""
    written: Record | None = None
    """The letter itself, as its stream holds it."""
    appended_at: int = 0
    """Milliseconds, the letter's own broker timestamp."""
    cause: str | None = None
    """The fingerprint of its cause, where it can no longer be made of the rest: hidden parts count too."""
    stacktrace: str | None = None
    """Of the error that a service reported, or another framework wrote down."""

    @property
    def stage(self) -> str:
        return self.code.partition(".")[0]

    def lighten(self) -> None:
        """Forget the bytes: of many letters only what they say is kept in memory."""
        self.record = self.written = None
