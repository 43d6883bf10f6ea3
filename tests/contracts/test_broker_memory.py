"""The broker contract in memory."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.broker_contract import BrokerContract
from tests.contracts.broker_harness import EARLIEST, BrokerHarness, outgoing
from tests.support.faulty_broker import FaultyBroker


class MemoryHarness(BrokerHarness):
    system = "memory"

    def __init__(self) -> None:
        self.log = MemoryLog()

    def broker(
        self, *streams: str, group: str, start: StartPosition = EARLIEST, max_records: int = 1000
    ) -> FaultyBroker:
        return FaultyBroker(self.log, streams, group, self.naming(group), start=start, max_records=max_records)

    def unreachable(self) -> FaultyBroker:
        broker = self.broker("orders", group="group")
        for method in ("start", "inspect"):
            broker.fail_next(method, Outage("connection refused"))
        return broker

    async def create(self, stream: str, partitions: int = 1) -> None:
        self.log.create(stream, partitions)

    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        return [self.log.append(record) for record in records]

    async def contents(self, stream: str) -> list[Record]:
        return [record for log in self.log.streams.get(stream, []) for record in log.records]

    async def crash(self, broker: FaultyBroker) -> None:
        await broker.close()

    async def trim(self, partition: Partition, before: int) -> None:
        self.log.trim(partition, before)

    async def too_large(self) -> bytes:
        self.log.max_bytes = 1000
        return b"x" * 1001


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    async def harness(self) -> MemoryHarness:
        return MemoryHarness()

    async def test_a_lost_reply_dead_letters_once(self, harness, stream, group):
        await harness.create(stream)
        await harness.produce([outgoing(stream, b"bad")])
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            (record,) = await reader.read(1)
            (batches,) = by_lease(reader.batches)
            letters = [letter(record, harness.naming(group), group)]
            broker.fail_next("commit", Outage("before"))
            broker.fail_next("commit", Outage("after"), after=True)
            for _ in range(2):
                with pytest.raises(Outage):
                    await broker.commit(batches, letters)
            await broker.commit(batches, letters)
        found = await harness.contents(harness.naming(group).dead_letter_stream(stream))
        assert letter_ids(found) == [f"{group}@{record.position}"]

    async def test_a_second_member_gets_its_share_and_returns_it(self, harness, stream, group):
        await harness.create(stream, 4)
        one, two = harness.broker(stream, group=group), harness.broker(stream, group=group)
        await one.start()
        async with Reader(one) as first:
            before = await first.leases(*(Partition("memory", stream, n) for n in range(4)))
            await two.start()
            assert sum(lease.lost for lease in before) == 2
            async with Reader(two) as second:
                await second.until(lambda r: len({batch.lease.partition for batch in r.batches}) == 2)
                await two.close()
            await first.until(lambda r: len({id(batch.lease) for batch in r.batches}) == 6)

    async def test_retention_forgets_the_oldest(self, stream, group):
        log = MemoryLog(retain=10)
        for n in range(25):
            log.append(outgoing(stream, str(n).encode()))
        broker = FaultyBroker(log, [stream], group, MemoryHarness().naming(group))
        assert await broker.bounds(Partition("memory", stream, 0)) == (15, 25)
