"""The words of Tracecar as types: what a record, an event, a rejection is. Imports nothing of ours.

Times are integers since 1970 in UTC: milliseconds where the broker keeps milliseconds, microseconds elsewhere; each
field says which. Trace ids are 128-bit integers and span ids 64-bit integers; they become lower-case hex at the edges.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

SEQUENCE_BITS = 64
"""A Redis entry id `ms-seq` is kept as one integer, `ms << 64 | seq`, so that offsets of every broker just compare."""

POSITION_FORMS = "kafka://TOPIC/PARTITION/OFFSET or redis://STREAM/MILLISECONDS-SEQUENCE"

_SAFE_IN_STREAM = "-._~:{}@!$'()*+,;=^|"
_REDIS_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
Headers = tuple[tuple[str, bytes | None], ...]
"""Header names and values in order, duplicates kept; a null value is a value."""


class Partition(Struct, frozen=True, order=True, gc=False):
    """One ordered log: a partition of a Kafka topic, or a whole Redis stream (whose partition is 0)."""

    system: str
    """`kafka`, `redis` or `memory`."""
    stream: str
    """The topic or stream key. Bytes of a Redis key that are not UTF-8 stand as surrogate escapes."""
    number: int

    def at(self, offset: int) -> Position:
        return Position(self.system, self.stream, self.number, offset)

    def __str__(self) -> str:
        stream = _quoted(self.stream)
        return f"{self.system}://{stream}" if self.system == "redis" else f"{self.system}://{stream}/{self.number}"


class Position(Struct, frozen=True, order=True, gc=False):
    """Where a record lies, written `kafka://orders/0/4711` or `redis://orders/1700000000000-0`."""

    system: str
    stream: str
    partition: int
    offset: int
    """The Kafka offset; for Redis the entry id as `redis_offset` packs it."""

    @property
    def log(self) -> Partition:
        return Partition(self.system, self.stream, self.partition)

    def __str__(self) -> str:
        if self.system == "redis":
            return f"redis://{_quoted(self.stream)}/{redis_id(self.offset)}"
        return f"{self.system}://{_quoted(self.stream)}/{self.partition}/{self.offset}"

    @staticmethod
    def parse(text: str) -> Position:
        """The position that `text` writes. Raises ValueError, with what was expected, where it writes none."""
        system, _, rest = text.partition("://")
        parts = rest.split("/")
        try:
            if system == "redis" and len(parts) == 2:
                return Position(system, _unquote(parts[0]), 0, redis_offset(parts[1]))
            if system in ("kafka", "memory") and len(parts) == 3:
                return Position(system, _unquote(parts[0]), _digits(parts[1], 31), _digits(parts[2], 63))
        except ValueError:
            pass
        raise ValueError(f"not a position: {text[:200]!r}; expected {POSITION_FORMS}")


def redis_offset(entry_id: str) -> int:
    """`1700000000000-3` as one integer that sorts like the entry ids do. Raises ValueError where it is no entry id."""
    match = _REDIS_ID.fullmatch(entry_id)
    if match is None or int(match[1]) >> 64 or int(match[2] or 0) >> 64:
        raise ValueError(f"not a Redis entry id: {entry_id!r}")
    return int(match[1]) << SEQUENCE_BITS | int(match[2] or 0)


def redis_id(offset: int) -> str:
    """The entry id that `redis_offset` packed."""
    return f"{offset >> SEQUENCE_BITS}-{offset & ((1 << SEQUENCE_BITS) - 1)}"


@lru_cache(maxsize=1_024)
def _quoted(stream: str) -> str:
    return quote(stream.encode("utf-8", "surrogateescape"), safe=_SAFE_IN_STREAM)


def _unquote(text: str) -> str:
    if "%" not in text and text.isascii():
        return text
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _digits(text: str, bits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) >> bits:
        raise ValueError(text)
    return int(text)


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
