"""From outgoing records to record batches: which partition each goes to, and the bytes of a batch."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

from aiokafka.partitioner import murmur2
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from sidecar.adapters.brokers.kafka.record_format_v2 import EscapedName
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing

MAX_RECORD_BYTES = 64 << 20
"""Bytes of a record that we do not even try: above a broker's `socket.request.max.bytes` (100 MiB by default) it cuts
the connection without saying why."""
hashed = lru_cache(maxsize=4_096)(murmur2)
"""Keys come again and again, and the hash is plain Python."""
Numbered = tuple[int, Outgoing]
"""A record with its index among those handed over."""


def assign_partitions(
    outgoing: Sequence[Outgoing], partition_counts: Mapping[str, int]
) -> dict[TopicPartition, list[Numbered]]:
    """The records by partition, in order.

    The partition asked for if there is one, else by key as Java's producer does, else any. `counts` are the topics'
    partition counts. Raises TooLarge.
    """
    found: dict[TopicPartition, list[Numbered]] = {}
    for index, one in enumerate(outgoing):
        size = len(one.key or b"") + len(one.value or b"")
        if one.headers:
            size += sum([len(n) + len(v or b"") for n, v in one.headers])
        if size > MAX_RECORD_BYTES:
            raise TooLarge(
                f"{one.stream}: a record of {size} bytes; no broker takes more than {MAX_RECORD_BYTES}", index
            )
        count = partition_counts[one.stream]
        if one.partition is not None and 0 <= one.partition < count:
            number = one.partition
        elif one.key is not None:
            number = (hashed(one.key) & 0x7FFFFFFF) % count
        else:
            number = random.randrange(count)
        records = found.get((one.stream, number))  # a TopicPartition is such a tuple
        if records is None:
            records = found[TopicPartition(one.stream, number)] = []
        records.append((index, one))
    return found


def batch(
    records: Sequence[Numbered], most: int, codec: int, producer: int, epoch: int, sequence: int, transactional: bool
) -> tuple[bytes, int]:
    """The bytes of a batch with the first of these records, and how many went in.

    At least one, more while they stay below `most` bytes.
    """
    escaped = any(not name.isascii() and _escapes(name) for _, one in records for name, _ in one.headers)
    kind = _DefaultRecordBatchBuilderPy if escaped else DefaultRecordBatchBuilder
    builder = kind(2, codec, int(transactional), producer, epoch, sequence, most)
    now = int(time.time() * 1000)
    count = 0
    for _, one in records:
        headers = [(EscapedName(name), value) for name, value in one.headers] if escaped else list(one.headers)
        timestamp = now if one.timestamp is None else one.timestamp
        if builder.append(count, timestamp=timestamp, key=one.key, value=one.value, headers=headers) is None:
            break
        count += 1
    return bytes(builder.build()), count


def _escapes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
