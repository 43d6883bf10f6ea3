"""Traits of Kafka: the partition of a key."""

from __future__ import annotations

import zlib

import pytest

from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_partitions_of_keys_are_those_of_kafka_and_librdkafka(key: bytes, hashed: int) -> None:
    """The hashes are those of Kafka's own test, `UtilsTest.testMurmur2`."""
    by_key = KAFKA_TRAITS.partitions_by_key
    assert by_key is not None
    assert by_key(key, 12) == ((hashed & 0x7FFFFFFF) % 12, zlib.crc32(key) % 12)
