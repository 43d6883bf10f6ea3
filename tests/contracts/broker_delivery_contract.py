"""Promises of a broker about delivery: order, start positions, new streams, holds, rewinds, gaps."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sidecar.config.value_types import StartPosition
from sidecar.domain.position import Partition
from sidecar.domain.stream_names import LEDGER
from tests.contracts.batch_reader import Reader, by_lease
from tests.contracts.broker_harness import LATEST, BrokerHarness, outgoing, produce_numbered
from tests.support.conditions import until


class BrokerDeliveryContract:
    """Promises about delivery."""

    async def test_a_lease_is_announced_first_also_for_an_empty_partition(self, harness, stream, group):
        await harness.create(stream)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            (lease,) = await reader.leases(Partition(harness.system, stream, 0))
            assert lease.lost is False
            assert reader.batches[0].records == () or list(reader.batches[0].records) == []
            assert reader.batches[0].next_offset == lease.start
            (position,) = await produce_numbered(harness, stream, 1)
            await reader.read(1)
            assert reader.positions == [position]
            assert position.offset >= lease.start
        await broker.close()

    async def test_records_are_delivered_unchanged(self, harness, stream, group):
        await harness.create(stream)
        hostile = bytes(range(256))
        sent = [
            outgoing(stream, hostile, ("a", b"1"), ("b", hostile), ("a", b"2"), ("a", b"1"), ("", b"")),
            outgoing(stream, b""),
            outgoing(stream, None, ("ünï\x00cödé \n", b"\xff\x00"), ("x", b"")),
            outgoing(stream, b"\x00" * 100_000, ("big", b"y" * 50_000)),
        ]
        if harness.keyed:
            sent += [
                outgoing(stream, b"v", ("null", None), key=b"\x00k"),
                outgoing(stream, None, key=b"tombstone"),
                outgoing(stream, None),
            ]
        positions = await harness.produce(sent)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(len(sent))
        for one, record, position in zip(sent, records, positions, strict=True):
            assert record.position == position
            assert (record.key, record.value, record.headers) == (one.key, one.value, one.headers)
            assert 1_600_000_000_000 < record.timestamp < 5_000_000_000_000
            assert await broker.read(position) == record
        await broker.close()

    async def test_batches_are_in_order_and_bounded(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 250)
        broker = harness.broker(stream, group=group, max_records=100)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(250)
            assert reader.positions == positions
            filled = [batch for batch in reader.batches if batch.records]
            assert all(len(batch.records) <= 100 for batch in filled)
            assert all(batch.next_offset > batch.records[-1].position.offset for batch in filled)
            for before, after in pairwise(filled):
                assert before.next_offset <= after.records[0].position.offset
        await broker.close()

    async def test_each_partition_is_delivered_in_order(self, harness, stream, group):
        count = 3 if harness.partitioned else 1
        await harness.create(stream, count)
        sent = [outgoing(stream, str(n).encode(), partition=n % count) for n in range(60)]
        positions = await harness.produce(sent)
        broker = harness.broker(stream, group=group)
        await broker.start()
        wanted = [Partition(harness.system, stream, n) for n in range(count)]
        assert await broker.partitions(stream) == wanted
        async with Reader(broker) as reader:
            await reader.leases(*wanted)
            await reader.read(60)
            for number in range(count):
                mine = [p for p in reader.positions if p.partition == number]
                assert mine == [p for p in positions if p.partition == number]
        await broker.close()

    async def test_dead_letter_streams_and_the_ledger_are_never_read(self, harness, stream, group):
        prefix = stream
        names = [f"{prefix}.dlt", f"{prefix}-dlt", f"{prefix}.DLQ"]
        for name in [f"{prefix}-a", *names]:
            await harness.create(name)
            await produce_numbered(harness, name, 1)
        broker = harness.broker(harness.pattern(prefix), group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(1)
            await produce_numbered(harness, names[0], 1)
            await produce_numbered(harness, f"{prefix}-a", 3)
            await reader.read(4)
            assert {record.position.stream for record in reader.records} == {f"{prefix}-a"}
        assert harness.naming(group).is_dead_letter(LEDGER)
        shown = await broker.streams()
        assert set(names) <= set(shown)
        assert shown == sorted(shown)
        await broker.close()

    async def test_unknown_and_impossible_names_are_no_streams(self, harness, stream, group):
        broker = harness.broker(stream, group=group)
        await harness.create(stream)
        await broker.start()
        for name in (f"{stream}-no", f"{stream}/a b{{c}}", "\udcff", "x" * 300):
            partition = Partition(harness.system, name, 0)
            assert await broker.partitions(name) == []
            assert await broker.read(partition.at(0)) is None
        await broker.close()

    async def test_new_streams_that_match_are_read(self, harness, stream, group):
        await harness.create(f"{stream}-a")
        broker = harness.broker(harness.pattern(stream), group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.leases(Partition(harness.system, f"{stream}-a", 0))
            await harness.create(f"{stream}-b")
            await produce_numbered(harness, f"{stream}-b", 3)
            await reader.read(3)
            assert {p.stream for p in reader.positions} == {f"{stream}-b"}
        await broker.close()

    # --- start positions

    async def test_latest_is_fixed_at_the_first_lease(self, harness, stream, group):
        await harness.create(stream)
        await produce_numbered(harness, stream, 3)
        broker = harness.broker(stream, group=group, start=LATEST)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.leases(Partition(harness.system, stream, 0))
            assert reader.records == []
        await broker.close()
        later = await produce_numbered(harness, stream, 6, first=3)
        again = harness.broker(stream, group=group, start=LATEST)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(3)
            assert reader.positions == later
        await again.close()

    async def test_a_start_time_begins_at_its_first_record(self, harness, stream, group):
        await harness.create(stream)
        old = await produce_numbered(harness, stream, 2)
        turn = (await harness.contents(stream))[-1].timestamp + 1
        await until(lambda: _now(harness, stream, turn))
        new = await produce_numbered(harness, stream, 5, first=2)
        broker = harness.broker(stream, group=group, start=StartPosition("at", turn))
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(3)
            assert reader.positions == new
        await broker.close()
        back = harness.broker(stream, group=f"{group}.back", start=StartPosition("ago", 3_600_000))
        await back.start()
        async with Reader(back) as reader:
            await reader.read(5)
            assert reader.positions == old + new
        await back.close()

    # --- holding and rewinding

    async def test_a_held_partition_waits_alone(self, harness, stream, group):
        held, other = f"{stream}-held", f"{stream}-other"
        await harness.create(held)
        await harness.create(other)
        broker = harness.broker(held, other, group=group, max_records=10)
        await broker.start()
        async with Reader(broker) as reader:
            (lease, _) = await reader.leases(*(Partition(harness.system, name, 0) for name in (held, other)))
            broker.hold(lease)
            sent = await produce_numbered(harness, held, 40)
            await produce_numbered(harness, other, 40)
            await reader.until(lambda r: sum(p.stream == other for p in r.positions) == 40)
            assert len([batch for batch in reader.of(lease.partition) if batch.records]) <= 1
            broker.release(lease)
            await reader.until(lambda r: sum(p.stream == held for p in r.positions) == 40)
            assert [p for p in reader.positions if p.stream == held] == sent
            broker.release(lease)
        await broker.close()

    async def test_a_rewind_delivers_again_from_the_committed_offset(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 30)
        broker = harness.broker(stream, group=group, max_records=10)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(30)
            filled = [batch for batch in reader.batches if batch.records]
            await broker.commit(filled[:1], [])
            first = len(filled[0].records)
            lease = filled[0].lease
            broker.hold(lease)
            seen = len(reader.batches)
            await broker.rewind(lease)
            broker.release(lease)
            await reader.until(lambda r: sum(len(b.records) for b in r.batches[seen:]) >= 30 - first)
            later = [record.position for batch in reader.batches[seen:] for record in batch.records]
            assert later == positions[first:]
            assert all(batch.lease is lease for batch in reader.batches)
            (new,) = await produce_numbered(harness, stream, 31, first=30)
            await reader.until(lambda r: r.positions[-1] == new)
        await broker.close()

    # --- losing

    async def test_records_trimmed_before_they_were_read_are_reported(self, harness, stream, group):
        if not harness.trims:
            pytest.skip("this broker cannot trim")
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 5)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(5)
            await broker.commit(by_lease(reader.batches)[0], [])
        await broker.close()
        positions += await produce_numbered(harness, stream, 10, first=5)
        await harness.trim(Partition(harness.system, stream, 0), positions[8].offset)
        again = harness.broker(stream, group=group)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(2)
            assert reader.positions == positions[8:]
            (gap,) = [batch.gap for batch in reader.batches if batch.gap is not None]
            assert gap.partition == Partition(harness.system, stream, 0)
            assert positions[4].offset < gap.wanted <= positions[5].offset
            assert gap.resumed == positions[8].offset
            assert gap.reason
        await again.close()


async def _now(harness: BrokerHarness, stream: str, turn: int) -> bool:
    """Return True if the clock that stamps records has reached `turn` (milliseconds)."""
    probe = f"{stream}-clock"
    await harness.create(probe)
    await harness.produce([outgoing(probe, b"tick")])
    return (await harness.contents(probe))[-1].timestamp >= turn
