"""The contract of every broker about other consumer groups (`Broker.groups`): a group consumes some records and
stops."""

from __future__ import annotations

import uuid

import pytest

from sidecar.domain.errors import Outage
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.consumer_groups import GroupProgress
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader
from tests.contracts.broker_harness import BrokerHarness
from tests.support.conditions import until


class GroupsContract:
    """The promises. An adapter's test module provides a fixture `harness`, as for `BrokerContract`."""

    @pytest.fixture
    async def harness(self) -> BrokerHarness:
        raise NotImplementedError("an adapter's test module gives this fixture")

    @pytest.fixture
    def stream(self) -> str:
        return f"orders-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def group(self) -> str:
        return f"tracecar.{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def foreign(self) -> str:
        return f"billing-{uuid.uuid4().hex[:12]}"

    async def _sent(self, harness: BrokerHarness, stream: str, count: int) -> list[Position]:
        return await harness.produce(
            [Outgoing(stream=stream, key=None, value=str(n).encode(), headers=(), partition=0) for n in range(count)]
        )

    async def _reads(
        self, harness: BrokerHarness, stream: str, group: str, count: int, commit: int, batch: int = 2
    ) -> tuple[Broker, Reader]:
        """Run a member of `group` that reads `count` records in batches of `batch`, and commits the first `commit`
        of them."""
        member = harness.broker(stream, group=group, max_records=batch)
        await member.start()
        reader = Reader(member)
        await reader.__aenter__()
        await reader.read(count)
        filled = [one for one in reader.batches if one.records]
        if commit:
            await member.commit(filled[: commit // batch], [])
        return member, reader

    async def test_a_group_that_committed_some_records_is_reported(self, harness, stream, group, foreign):
        await harness.create(stream)
        positions = await self._sent(harness, stream, 10)
        broker = harness.broker(stream, group=group)
        await broker.start()
        assert await self._of(broker, foreign) is None
        member, reader = await self._reads(harness, stream, foreign, 10, commit=4)
        found = await self._of(broker, foreign)
        assert found is not None
        assert found.members is None or found.members >= 1
        (one,) = found.partitions
        assert one.partition == Partition(harness.system, stream, 0)
        assert positions[3].offset < one.committed <= positions[4].offset
        assert one.end > positions[-1].offset
        assert one.lag in (6, None)
        assert [one.has_consumed(position.offset) for position in positions] == [True] * 4 + [False] * 6
        if harness.partitioned:
            assert one.delivered is None
            assert one.unacknowledged == ()
        else:
            assert one.delivered is not None
            assert one.delivered > positions[-1].offset
            assert [entry.offset for entry in one.unacknowledged] == [position.offset for position in positions[4:]]
            assert all(entry.deliveries >= 1 and entry.idle_ms >= 0 for entry in one.unacknowledged)
        await reader.__aexit__(None, None, None)
        await member.close()
        await broker.close()

    async def test_a_group_that_has_read_all_has_no_lag(self, harness, stream, group, foreign):
        await harness.create(stream)
        positions = await self._sent(harness, stream, 4)
        broker = harness.broker(stream, group=group)
        await broker.start()
        member, reader = await self._reads(harness, stream, foreign, 4, commit=4)
        before = await self._of(broker, foreign)
        assert before is not None
        assert before.partitions[0].lag in (0, None)
        assert before.partitions[0].committed >= before.partitions[0].end
        (later,) = await self._sent(harness, stream, 1)
        await reader.read(5)
        after = await self._of(broker, foreign)
        assert after is not None
        (one,) = after.partitions
        assert one.lag in (1, None)
        assert one.has_consumed(positions[-1].offset) is True
        assert one.has_consumed(later.offset) is False
        await reader.__aexit__(None, None, None)
        await member.close()
        await broker.close()

    async def test_several_groups_are_reported_by_name(self, harness, stream, group, foreign):
        await harness.create(stream)
        await self._sent(harness, stream, 4)
        broker = harness.broker(stream, group=group)
        await broker.start()
        names = [f"{foreign}-{n}" for n in range(3)]
        members = [await self._reads(harness, stream, name, 4, commit=2) for name in names]
        found = [one for one in await broker.groups() if one.group in names]
        assert [one.group for one in found] == names
        assert [one.partitions[0].lag in (2, None) for one in found] == [True] * 3
        for member, reader in members:
            await reader.__aexit__(None, None, None)
            await member.close()
        await broker.close()

    async def test_sidecars_and_groups_of_other_streams_are_left_out(self, harness, stream, group, foreign):
        await harness.create(stream)
        await harness.create(f"{stream}-other")
        await self._sent(harness, stream, 2)
        await self._sent(harness, f"{stream}-other", 2)
        broker, own = await self._reads(harness, stream, group, 2, commit=2)
        members = [
            (broker, own),
            await self._reads(harness, stream, f"{group}-other-sidecar", 2, commit=2),
            await self._reads(harness, f"{stream}-other", foreign, 2, commit=2),
            await self._reads(harness, stream, f"{foreign}-both", 2, commit=2),
        ]
        mine = [one.group for one in await broker.groups()]
        assert [name for name in mine if name.startswith((group, foreign))] == [f"{foreign}-both"]
        assert mine == sorted(mine)
        for member, reader in members:
            await reader.__aexit__(None, None, None)
            await member.close()

    async def test_a_group_stays_where_its_members_left_it(self, harness, stream, group, foreign):
        await harness.create(stream)
        positions = await self._sent(harness, stream, 6)
        broker = harness.broker(stream, group=group)
        await broker.start()
        member, reader = await self._reads(harness, stream, foreign, 6, commit=2)
        await reader.__aexit__(None, None, None)
        await member.close()

        async def as_left() -> bool:
            found = await self._of(broker, foreign)
            return found is not None and [found.partitions[0].has_consumed(p.offset) for p in positions] == [
                True,
                True,
                False,
                False,
                False,
                False,
            ]

        await until(as_left)
        await broker.close()

    async def test_a_broker_that_is_not_started_is_an_outage(self, harness):
        broker = harness.unreachable()
        with pytest.raises(Outage):
            await broker.groups()
        await broker.close()

    async def _of(self, broker: Broker, group: str) -> GroupProgress | None:
        return next((one for one in await broker.groups() if one.group == group), None)
