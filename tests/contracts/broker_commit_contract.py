"""Promises of a broker about commits: dead letters and progress together, once, also after crashes."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.domain.errors import Fenced, Outage, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.broker_harness import BrokerHarness, outgoing, produce_numbered
from tests.support.conditions import until


class BrokerCommitContract:
    """Promises about commits."""

    async def test_uncommitted_records_are_delivered_again(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 20)
        broker = harness.broker(stream, group=group, max_records=5)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(20)
            filled = [batch for batch in reader.batches if batch.records]
            await broker.commit(filled[:2], [])
            committed = sum(len(batch.records) for batch in filled[:2])
        await broker.close()
        again = harness.broker(stream, group=group)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(20 - committed)
            assert reader.positions == positions[committed:]
            (lease,) = await reader.leases(Partition(harness.system, stream, 0))
            assert positions[committed - 1].offset < lease.start <= positions[committed].offset
        await again.close()

    async def test_records_uncommitted_before_a_crash_are_delivered_again(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 10)
        broker = harness.broker(stream, group=group, max_records=5)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(10)
            first = next(batch for batch in reader.batches if batch.records)
            await broker.commit([first], [])
        await harness.crash(broker)
        again = harness.broker(stream, group=group)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(10 - len(first.records))
            assert sorted(reader.positions) == positions[len(first.records) :]
        await again.close()

    async def test_letters_and_progress_are_committed_together(self, harness, stream, group):
        await harness.create(stream, 3 if harness.partitioned else 1)
        sent = [
            outgoing(stream, b"good"),
            outgoing(stream, bytes(range(256)), ("a", b"1"), ("a", b"\xff"), ("b", b"")),
            outgoing(stream, None, ("only", b"headers")),
        ]
        positions = await harness.produce(sent)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = {record.position: record for record in await reader.read(3)}
            bad = [records[position] for position in positions[1:]]
            for batches in by_lease(reader.batches):
                held = {record.position for batch in batches for record in batch.records}
                await broker.commit(batches, [letter(r, naming, group) for r in bad if r.position in held])
        letters = await harness.contents(naming.dead_letter_stream(stream))
        assert letter_ids(letters) == sorted(f"{group}@{record.position}" for record in bad)
        for record in bad:
            (found,) = [one for one in letters if one.headers[:-1] == record.headers]
            assert (found.key, found.value, found.value_at) == (record.key, record.value, record.value_at)
            assert found.position.partition == record.position.partition
        assert len(await broker.partitions(naming.dead_letter_stream(stream))) == len(await broker.partitions(stream))
        await broker.close()
        await self._assert_all_committed(harness, stream, group)

    async def test_a_repeated_commit_writes_each_letter_once(self, harness, stream, group):
        await harness.create(stream)
        await produce_numbered(harness, stream, 5)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(5)
            letters = [letter(record, naming, group) for record in records]
            (batches,) = by_lease(reader.batches)
            await broker.commit(batches, letters)
            await broker.commit(batches, letters)
            await produce_numbered(harness, stream, 6, first=5)
            await reader.read(6)
            await broker.commit(by_lease(reader.batches)[0][len(batches) :], [letter(records[-1], naming, group)][:0])
        await broker.close()
        found = await harness.contents(naming.dead_letter_stream(stream))
        assert letter_ids(found) == sorted(f"{group}@{record.position}" for record in records)
        await self._assert_all_committed(harness, stream, group)

    async def test_a_lost_lease_commits_nothing(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 3)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(3)
            (batches,) = by_lease(reader.batches)
        await broker.close()
        assert batches[0].lease.lost
        again = harness.broker(stream, group=group)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(3)
            with pytest.raises(Fenced):
                await again.commit(batches, [letter(record, naming, group) for record in records])
            assert reader.positions == positions
        await again.close()
        assert await harness.contents(naming.dead_letter_stream(stream)) == []

    @pytest.mark.parametrize("rejected", [False, True])
    async def test_the_mark_of_the_history_is_kept_with_the_commits(self, harness, stream, group, rejected):
        await harness.create(stream)
        naming, partition = harness.naming(group), Partition(harness.system, stream, 0)
        seen: list[int | None] = []
        stored: list[int | None] = [None]
        for _ in range(3):
            positions = await produce_numbered(harness, stream, 4)
            broker = harness.broker(stream, group=group)
            await broker.start()
            async with Reader(broker) as reader:
                (lease,) = await reader.leases(partition)
                seen.append(lease.history_mark)
                done = 0
                for mark in (positions[0].offset, positions[2].offset):
                    records = await reader.read(len(positions))
                    lease.history_mark = mark
                    batches, done = reader.batches[done:], len(reader.batches)
                    held = {record.position for batch in batches for record in batch.records}
                    letters = [letter(r, naming, group) for r in records if rejected and r.position in held]
                    await broker.commit([batch for batch in batches if batch.records], letters)
                    positions += await produce_numbered(harness, stream, 1)
                await reader.read(len(positions))
                await broker.commit(reader.batches[done:], [])
                stored.append(lease.history_mark)
            await harness.crash(broker)
        assert seen == stored[:-1]

    async def test_a_record_that_the_server_refuses_is_named(self, harness, stream, group):
        await harness.create(stream)
        await produce_numbered(harness, stream, 2)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(2)
            (batches,) = by_lease(reader.batches)
            value = await harness.too_large()
            if value is None:
                pytest.skip("this server has no limit of size")
            one, two = (letter(record, naming, group) for record in records)
            large = Outgoing(two.stream, two.key, value, two.headers, two.partition, origin=two.origin)
            with pytest.raises(TooLarge) as caught:
                await broker.commit(batches, [one, large])
            assert caught.value.index == 1
            await broker.commit(batches, [one, two])
        await broker.close()
        found = await harness.contents(naming.dead_letter_stream(stream))
        assert letter_ids(found) == sorted(f"{group}@{record.position}" for record in records)

    async def test_two_members_dead_letter_each_record_once_though_one_is_killed(self, harness, stream, group):
        await harness.create(stream, 4 if harness.partitioned else 1)
        naming = harness.naming(group)

        async def work(broker: Broker, until: asyncio.Event) -> None:
            """Run a member that rejects every record and commits batch by batch."""
            while not until.is_set():
                await broker.start()
                try:
                    async for batch in broker.batches():
                        if not batch.records:
                            continue
                        with_letters = [letter(record, naming, group) for record in batch.records]
                        try:
                            await broker.commit([batch], with_letters)
                        except Fenced:
                            continue
                except Outage:
                    await broker.close()

        members = [harness.broker(stream, group=group, max_records=7) for _ in range(2)]
        done = asyncio.Event()
        tasks = [asyncio.ensure_future(work(member, done)) for member in members]
        positions: list[Position] = []
        for part in range(8):
            numbers = range(part * 20, part * 20 + 20)
            positions += await harness.produce([outgoing(stream, str(n).encode(), partition=n % 4) for n in numbers])
            if part == 3:
                tasks[0].cancel()
                await asyncio.wait((tasks[0],))
                await harness.crash(members[0])
        wanted = sorted(f"{group}@{position}" for position in positions)

        async def all_dead_lettered() -> bool:
            return len(letter_ids(await harness.contents(naming.dead_letter_stream(stream)))) >= len(wanted)

        await until(all_dead_lettered)
        assert letter_ids(await harness.contents(naming.dead_letter_stream(stream))) == wanted
        done.set()
        tasks[1].cancel()
        await asyncio.wait((tasks[1],))
        known = len(await members[1].partitions(stream))
        await members[1].close()
        await self._assert_all_committed(harness, stream, group, partitions=known)

    async def _assert_all_committed(
        self, harness: BrokerHarness, stream: str, group: str, partitions: int | None = None
    ) -> None:
        """Assert that a new member receives new records only, because everything before is committed."""
        broker = harness.broker(stream, group=group)
        await broker.start()
        known = partitions or len(await broker.partitions(stream))
        sent = await harness.produce([outgoing(stream, b"next", partition=number) for number in range(known)])
        async with Reader(broker) as reader:
            await reader.read(len(sent))
            assert sorted(reader.positions) == sorted(sent)
        await broker.close()
