"""Layout of packed events in memory.

The first elements are those that following a chain needs: the number of the event's partition, its append time, and for
each table of its segment the slot of the previous event under the same key (a chain, newest first).
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Struct

from sidecar.adapters.index.event_codec import EventCodec
from sidecar.domain.model import Event, SchemaRef
from sidecar.domain.position import Partition

MAX_NUMBERED_SCHEMAS = 4_096


class EventHead(Struct, array_like=True, frozen=True, gc=False):
    """The first elements of a packed event, which order and locate it."""

    place: int
    """Number of the event's partition."""
    offset: int
    """Low 64 bits of its offset."""
    offset_high: int
    """The bits of the offset above these 64: the milliseconds of a Redis entry id."""
    appended_at: int


class ChainedHead(EventHead, array_like=True, frozen=True, gc=False):
    """The head, with the slot of the previous event in each chain."""

    before_id: int | None
    before_trace: int | None
    before_aggregate: int | None
    before_correlation: int | None
    before_caused: int | None
    before_derived: int | None


class PackedEvent(Protocol):
    """The fields of a packed event that following a chain reads; all other fields of `Event` are packed too."""

    @property
    def place(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def offset_high(self) -> int: ...
    @property
    def event_id(self) -> str | None: ...
    @property
    def trace_id(self) -> bytes | None: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def causation_id(self) -> str | None: ...
    @property
    def producer(self) -> str | None: ...
    @property
    def schema(self) -> int | SchemaRef | None: ...


_codec = EventCodec(ChainedHead, int | SchemaRef | None)
pack = _codec.pack
unpack = _codec.unpack
unpack_head = msgspec.msgpack.Decoder(EventHead).decode


class SchemaTable:
    """Schemas by number. Above the table's limit, a schema has no number and is packed whole."""

    def __init__(self) -> None:
        self.numbers_by_identity: dict[int, int] = {}
        """Numbers by `id()` of the schema, because events of one schema share the object."""
        self._numbers: dict[SchemaRef, int] = {}
        self._schemas: list[SchemaRef] = []
        self._alive: list[SchemaRef] = []
        """Keeps the objects of `numbers_by_identity` alive, so that no other object gets their `id()`."""

    def packable(self, schema: SchemaRef | None) -> int | SchemaRef | None:
        """Return the value to pack for a schema: its number, or the schema itself if it has none."""
        if schema is None:
            return None
        number = self._numbers.get(schema)
        if number is None:
            if len(self._schemas) >= MAX_NUMBERED_SCHEMAS:
                return schema
            number = self._numbers[schema] = len(self._schemas)
            self._schemas.append(schema)
        if len(self._alive) < MAX_NUMBERED_SCHEMAS:
            self.numbers_by_identity[id(schema)] = number
            self._alive.append(schema)
        return number

    def resolve(self, packed: int | SchemaRef | None) -> SchemaRef | None:
        """Return the schema for a value that `packable` returned."""
        return self._schemas[packed] if isinstance(packed, int) else packed


def restore_event(packed: PackedEvent, log: Partition, schemas: SchemaTable) -> Event:
    """Build an event from its packed form."""
    position = log.at(packed.offset_high << 64 | packed.offset)
    return _codec.restore(packed, position, schemas.resolve(packed.schema))
