"""Record batches built from outgoing records: the partition of each record, and the bytes of a batch."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.record_format_v2 import MAX_RECORD_BYTES, EscapedName
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing

hash_key = lru_cache(maxsize=4_096)(murmur2)
"""Return the hash of Kafka's own partitioner. It is cached, because keys repeat and the hash is plain Python."""
Numbered = tuple[int, Outgoing]
"""A record with its index in the list of records to publish."""


def record_size(outgoing: Outgoing) -> int:
    """Count the bytes of key, value and headers."""
    headers = sum(
        [len(name.encode("utf-8", "surrogateescape")) + len(value or b"") for name, value in outgoing.headers]
    )
    return len(outgoing.key or b"") + len(outgoing.value or b"") + headers


def assign_partitions(
    outgoing: Sequence[Outgoing], partition_counts: Mapping[str, int]
) -> dict[TopicPartition, list[Numbered]]:
    """Group records by partition, in order.

    A record goes to its requested partition; without one, its key decides as in Java's producer; without a key, any
    partition is chosen. `partition_counts` are by topic. Raises TooLarge for a record of more than MAX_RECORD_BYTES:
    above a broker's `socket.request.max.bytes` (100 MiB by default) the broker closes the connection without a reason.
    """
    by_partition: dict[TopicPartition, list[Numbered]] = {}
    for index, out in enumerate(outgoing):
        size = record_size(out)
        if size > MAX_RECORD_BYTES:
            raise TooLarge(
                f"{out.stream}: a record of {size} bytes; at most {MAX_RECORD_BYTES} bytes are written", index
            )
        count = partition_counts[out.stream]
        if out.partition is not None and 0 <= out.partition < count:
            number = out.partition
        elif out.key is not None:
            number = (hash_key(out.key) & 0x7FFFFFFF) % count
        else:
            number = random.randrange(count)
        records = by_partition.get((out.stream, number))  # a TopicPartition is such a tuple
        if records is None:
            records = by_partition[TopicPartition(out.stream, number)] = []
        records.append((index, out))
    return by_partition


def build_batch(
    records: Sequence[Numbered], most: int, codec: int, producer: int, epoch: int, sequence: int, transactional: bool
) -> tuple[bytes, int]:
    """Build a batch from the first of these records, and return its bytes and the number of its records.

    It has at least one record, and more while they stay below `most` bytes before compression.
    """
    escaped = any(not name.isascii() and _needs_escape(name) for _, out in records for name, _ in out.headers)
    kind = _DefaultRecordBatchBuilderPy if escaped else DefaultRecordBatchBuilder
    builder = kind(2, codec, int(transactional), producer, epoch, sequence, most)
    now = int(time.time() * 1000)
    count = 0
    for _, out in records:
        headers = [(EscapedName(name), value) for name, value in out.headers] if escaped else list(out.headers)
        timestamp = now if out.timestamp is None else out.timestamp
        if builder.append(count, timestamp=timestamp, key=out.key, value=out.value, headers=headers) is None:
            break
        count += 1
    return bytes(builder.build()), count


def _needs_escape(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
