"""Properties of Kafka that other rooms depend on. Imports no client library."""

from __future__ import annotations

import zlib

from sidecar.domain.broker_traits import BrokerTraits


def _partitions_by_key(key: bytes, count: int) -> tuple[int, ...]:
    """Partitions of Kafka's own partitioner (`DefaultPartitioner`: murmur2) and of librdkafka's (`consistent_random`.

    CRC-32).
    """
    from aiokafka.partitioner import murmur2

    return (murmur2(key) & 0x7FFFFFFF) % count, zlib.crc32(key) % count


KAFKA_TRAITS = BrokerTraits(
    scheme="kafka",
    position_form="kafka://TOPIC/PARTITION/OFFSET",
    source_path="sources.kafka",
    streams_path="sources.kafka.topics",
    partitions_by_key=_partitions_by_key,
)
