"""Where a key's records lie, and scans that stay within what was asked."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from sidecar.api.services.scan import ScanProgress, ScanRequest, _places, scan
from sidecar.domain.model import Partition
from tests.support.api import order, serving


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_keys_lie_where_kafkas_and_librdkafkas_partitioners_put_them(key: bytes, hashed: int) -> None:
    """The hashes are those of Kafka's own test, `UtilsTest.testMurmur2`."""
    partitions = [Partition("kafka", "orders", number) for number in range(12)]
    other = [Partition("kafka", "payments", number) for number in range(3)]
    assert _places(key, partitions[0], [*partitions, *other]) == ((hashed & 0x7FFFFFFF) % 12, zlib.crc32(key) % 12)


async def test_a_scan_keeps_to_times_and_bounds(tmp_path: Path) -> None:
    async with serving(tmp_path / "token") as sidecar:
        positions = [sidecar.publish(order(number)) for number in range(30)]
        records = [record for position in positions if (record := await sidecar.broker.read(position)) is not None]
        payloads = sidecar.answers.payloads

        async def found(wish: ScanRequest, reach: ScanProgress) -> int:
            parts = [
                part async for part in scan([sidecar.broker], payloads, wish, reach, sidecar.answers._in_our_sight)
            ]
            return sum(len(part.decoded) for part in parts)

        reach = ScanProgress()
        assert await found(ScanRequest(streams=frozenset(["orders"])), reach) == 30
        assert (reach.scanned, reach.complete) == (30, True)
        assert await found(ScanRequest(since=records[-1].timestamp + 1), ScanProgress()) == 0
        assert await found(ScanRequest(until=records[0].timestamp), ScanProgress()) == 0
        assert await found(ScanRequest(streams=frozenset(["payments"])), ScanProgress()) == 0
        short = ScanProgress()
        await found(ScanRequest(most_records=1), short)
        assert not short.complete
        assert "narrow" in short.notes[0]
