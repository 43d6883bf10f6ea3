"""Reading of partitions that other members commit, each independently of the others."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence

import pytest

from sidecar.adapters.brokers.kafka.traits import KAFKA_TRAITS
from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.ports.broker import PartitionStatus
from sidecar.domain.position import Partition, Position
from sidecar.pipeline import unowned_partition_reader
from sidecar.pipeline.unowned_partition_reader import UnownedPartitionReader
from tests.support.conditions import until


class Elsewhere:
    """A broker with three partitions of other members, some of them unreadable."""

    system = "kafka"
    traits = KAFKA_TRAITS

    def __init__(self) -> None:
        self.ends = [0, 0, 0]
        self.incarnation = "a"
        self.broken: dict[int, Exception] = {}
        self.breaks_after = 0
        """Number of records that are read before the partition fails."""

    async def status(self) -> list[PartitionStatus]:
        return [
            PartitionStatus(
                Partition("kafka", "orders", number), None, end, None, ours=False, incarnation=self.incarnation
            )
            for number, end in enumerate(self.ends)
        ]

    async def scan(
        self, partition: Partition, *, since: int | None = None, start: int | None = None, until: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        for offset in range(start or 0, until or 0):
            if partition.number in self.broken and offset >= self.breaks_after:
                raise self.broken[partition.number]
            yield [Record(partition.at(offset), None, b"", (), offset, 0)]


class Watched:
    """What the reader published, and how."""

    def __init__(self, broker: Elsewhere) -> None:
        self._observed = itertools.count(1)
        self.index = MemoryIndex(1_000, ["trace"], 100)
        self.old: list[Position] = []
        self.live: list[Position] = []
        self.watcher = UnownedPartitionReader(
            [broker], self.index, self._judged, self._show, self.index.discard, lookback=60
        )

    async def _judged(self, records: Sequence[Record]) -> list[Decoded]:
        return [
            Decoded(record, Event(record.position, None, record.timestamp, next(self._observed))) for record in records
        ]

    def _show(self, decoded: Sequence[Decoded], of_before: bool) -> None:
        self.index.add([one.event for one in decoded])
        (self.old if of_before else self.live).extend(one.event.position for one in decoded)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(unowned_partition_reader, "POLL_INTERVAL_S", 0.0)
    monkeypatch.setattr(unowned_partition_reader, "PARTITION_RETRY_MIN_S", 0.01)
    monkeypatch.setattr(unowned_partition_reader, "PARTITION_RETRY_MAX_S", 0.02)


@pytest.mark.parametrize("error", [Outage("no leader"), Refused("not allowed"), ValueError("a mistake of ours")])
async def test_a_partition_that_cannot_be_read_stops_no_other(error):
    broker = Elsewhere()
    broker.ends, broker.broken = [3, 3, 3], {0: error}
    seen = Watched(broker)
    seen.watcher.start()
    await until(lambda: len(seen.old) == 6)
    assert {position.partition for position in seen.old} == {1, 2}
    assert seen.index.coverage().filling, "the first one is not there"
    broker.ends = [3, 5, 5]
    await until(lambda: len(seen.live) == 4)
    # It is readable again: its records count as older ones.
    broker.broken = {}
    await until(lambda: len(seen.old) == 9)
    await until(lambda: not seen.index.coverage().filling)
    await seen.watcher.close()


async def test_records_read_before_a_failure_are_not_read_again():
    broker = Elsewhere()
    broker.ends, broker.broken, broker.breaks_after = [4, 0, 0], {0: Outage("away")}, 2
    seen = Watched(broker)
    seen.watcher.start()
    await until(lambda: len(seen.old) == 2)
    broker.ends = [6, 0, 0]
    broker.broken = {}
    await until(lambda: len(seen.old) + len(seen.live) == 6)
    orders = Partition("kafka", "orders", 0)
    assert seen.old == [orders.at(offset) for offset in range(4)]
    assert seen.live == [orders.at(offset) for offset in range(4, 6)]
    await seen.watcher.close()


async def test_a_stream_that_was_created_again_is_read_from_its_beginning_and_not_mixed_with_the_old_one():
    broker = Elsewhere()
    broker.ends = [5, 0, 0]
    seen = Watched(broker)
    seen.watcher.start()
    await until(lambda: len(seen.old) == 5)
    broker.ends, broker.incarnation = [2, 0, 0], "b"
    await until(lambda: len(seen.live) == 2)
    orders = Partition("kafka", "orders", 0)
    assert seen.live == [orders.at(0), orders.at(1)]
    await until(lambda: seen.index.coverage().events == 2)
    assert await seen.index.at(orders.at(4)) is None
    await seen.watcher.close()
