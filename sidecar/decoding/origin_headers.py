"""Headers of forwarded records: the stream and position of the record that a framework copied.

A framework's retry topic (Spring's `@RetryableTopic`, say) holds copies of one record, with the schema of its origin.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.model import Headers
from sidecar.domain.position import Position

_FAMILIES = (
    ("kafka_original-topic", "kafka_original-partition", "kafka_original-offset"),
    ("kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset"),
    ("x-original-topic", "x-original-partition", "x-original-offset"),
    ("dead-letter-topic", "dead-letter-partition", "dead-letter-offset"),
    ("__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset"),
    ("__streams.errors.topic", "__streams.errors.partition", "__streams.errors.offset"),
    ("__dlq.errors.topic", "__dlq.errors.partition", "__dlq.errors.offset"),
    ("source_topic", "source_partition", "source_offset"),
)
"""Names of the headers for topic, partition and offset, by framework."""
ORIGIN_HEADERS = frozenset(topic for topic, _, _ in _FAMILIES)
_MAX_TOPIC_BYTES = 1_024
_MAX_DIGITS = 19
_PARTITION_BYTES, _OFFSET_BYTES = 4, 8


class RecordOrigin(Struct, frozen=True):
    """The record that was copied, as far as its copy's headers say."""

    stream: str
    position: Position | None


def states_origin(lower_names: Collection[str]) -> bool:
    """Check whether one of these header names states the origin of a record."""
    return not ORIGIN_HEADERS.isdisjoint(lower_names)


def read_origin(headers: Headers, position: Position) -> RecordOrigin | None:
    """Read the origin of the record at `position`.

    Of repeated headers the first counts, because it is the first hop's.
    """
    first: dict[str, bytes] = {}
    for name, value in headers:
        if value is not None:
            first.setdefault(name.lower(), value)
    for topic_header, partition_header, offset_header in _FAMILIES:
        topic = first.get(topic_header)
        if not topic or len(topic) > _MAX_TOPIC_BYTES:
            continue
        stream = topic.decode("utf-8", "replace")
        partition = _number(first.get(partition_header), _PARTITION_BYTES)
        offset = _number(first.get(offset_header), _OFFSET_BYTES)
        if partition is None or offset is None or not traits_of(position.system).offsets_count_records:
            return RecordOrigin(stream, None)
        origin = Position(position.system, stream, partition, offset)
        return RecordOrigin(stream, None if origin == position else origin)
    return None


def _number(value: bytes | None, width: int) -> int | None:
    """Read a number written as text, or as a big-endian integer of `width` bytes."""
    if value is None:
        return None
    if len(value) <= _MAX_DIGITS and value.isdigit():
        return int(value)
    if len(value) != width:
        return None
    number = int.from_bytes(value, "big", signed=True)
    return number if number >= 0 else None
