"""Topic ids: the partitions in a reply are skipped, and lookups at the same time share a request."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
from aiokafka.protocol.types import UnsignedVarInt32

from sidecar.adapters.brokers.kafka.cluster_client import KafkaCluster
from sidecar.adapters.brokers.kafka.topic_ids import _SkippedPartitions

FIXED = b"\0\3\0\0\0\1\0\0\0\2\0\0\0\5"


def replicas(count: int) -> bytes:
    """Write a compact array of 32-bit numbers."""
    return bytes(UnsignedVarInt32.encode(count + 1)) + b"\0\0\0\7" * count


NO_TAGS, TWO_TAGS = b"\0", b"\2\0\1x\xac\2\3abc"
"""Tagged fields (KIP-482): their count, then tag, size and bytes of each. The second tag here is 300."""
PARTITIONS = {
    "one replica": FIXED + replicas(1) + replicas(1) + replicas(0) + NO_TAGS,
    "more than a byte counts": FIXED + replicas(200) + replicas(127) + replicas(126) + NO_TAGS,
    "null": FIXED + b"\0\0\0" + NO_TAGS,
    "tags": FIXED + replicas(3) + replicas(2) + replicas(1) + TWO_TAGS,
}


@pytest.mark.parametrize("kind", PARTITIONS)
@pytest.mark.parametrize("count", [1, 2, 300])
def test_what_follows_the_partitions_is_read(kind: str, count: int) -> None:
    data = BytesIO(b"before" + bytes(UnsignedVarInt32.encode(count + 1)) + PARTITIONS[kind] * count + b"after")
    data.seek(6)
    assert _SkippedPartitions.decode(data) == count
    assert data.read() == b"after"


def test_no_partitions_at_all() -> None:
    data = BytesIO(b"\0after")
    assert _SkippedPartitions.decode(data) == 0
    assert data.read() == b"after"


class Cluster(KafkaCluster):
    """A cluster whose replies are given."""

    def __init__(self) -> None:
        self._has_topic_ids = True
        self._id_lookups = {}
        self._id_lock = asyncio.Lock()
        self.asked = 0
        self.reply = asyncio.Event()

    async def topic_ids(self, names: list[str]) -> dict[str, bytes]:
        self.asked += 1
        asked = self.asked
        await self.reply.wait()
        return dict.fromkeys(names, b"%d" % asked)


async def test_lookups_share_a_request_that_begins_after_them() -> None:
    cluster = Cluster()
    first = asyncio.create_task(cluster.topic_id("orders"))
    while not cluster.asked:
        await asyncio.sleep(0)
    later = [asyncio.create_task(cluster.topic_id("orders")) for _ in range(20)]
    await asyncio.sleep(0)
    later[0].cancel()
    cluster.reply.set()
    assert await first == b"1"
    assert await asyncio.gather(*later[1:]) == [b"2"] * 19
    assert cluster.asked == 2
