"""Promises of a broker about lookups, scans, status, publishing, preflight and closing."""

from __future__ import annotations

import pytest

from sidecar.config.schema import Config, DeadLettersConfig, SourcesConfig
from sidecar.domain.errors import Outage
from sidecar.domain.position import Partition, Position
from tests.contracts.batch_reader import Reader, by_lease
from tests.contracts.broker_harness import outgoing, produce_numbered


class BrokerLookupContract:
    """Promises about everything but the delivery of batches and commits."""

    async def test_positions_are_read(self, harness, stream, group):
        await harness.create(stream)
        first, second = await produce_numbered(harness, stream, 2)
        broker = harness.broker(stream, group=group)
        await broker.start()
        record = await broker.read(second)
        assert record is not None
        assert (record.position, record.value) == (second, b"1")
        await harness.trim(second.log, second.offset)
        assert await broker.read(first) is None
        assert await broker.read(second.log.at(second.offset + 1_000)) is None
        assert await broker.read(Position(harness.system, f"{stream}-none", 0, 1)) is None
        assert await broker.partitions(f"{stream}-none") == []
        await broker.close()

    async def test_bounds_and_scans(self, harness, stream, group):
        await harness.create(stream)
        partition = Partition(harness.system, stream, 0)
        broker = harness.broker(stream, group=group, max_records=10)
        await broker.start()
        low, high = await broker.bounds(partition)
        assert low == high
        assert [r async for r in broker.scan(partition)] == []
        positions = await produce_numbered(harness, stream, 35)
        low, high = await broker.bounds(partition)
        assert low == positions[0].offset
        assert high > positions[-1].offset

        async def scanned(**window: int) -> list[Position]:
            pages = [page async for page in broker.scan(partition, **window)]
            assert all(pages)
            return [record.position for page in pages for record in page]

        assert await scanned() == positions
        assert await scanned(start=positions[3].offset) == positions[3:]
        assert await scanned(until=positions[3].offset) == positions[:3]
        assert await scanned(start=positions[3].offset, until=positions[30].offset) == positions[3:30]
        assert await scanned(start=positions[3].offset, until=positions[3].offset) == []
        assert await scanned(start=high) == []
        assert await scanned(since=0) == positions
        assert await scanned(since=4_000_000_000_000) == []
        stamps = [record.timestamp for record in await harness.contents(stream)]
        since = stamps[20]
        assert await scanned(since=since) == positions[stamps.index(since) :]
        async for page in broker.scan(partition):
            assert page[0].position == positions[0]
            break
        async with Reader(broker) as reader:
            await reader.read(35)
            assert reader.positions == positions
        await broker.close()

    async def test_a_scan_ends_at_the_end_that_it_began_with(self, harness, stream, group):
        await harness.create(stream)
        positions = await produce_numbered(harness, stream, 15)
        broker = harness.broker(stream, group=group, max_records=10)
        await broker.start()
        found = []
        async for page in broker.scan(Partition(harness.system, stream, 0)):
            found += [record.position for record in page]
            await produce_numbered(harness, stream, 5)
        assert found == positions
        await broker.close()

    async def test_status_reports_end_committed_and_lag(self, harness, stream, group):
        await harness.create(stream)
        partition = Partition(harness.system, stream, 0)
        positions = await produce_numbered(harness, stream, 10)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(10)
            (before,) = [one for one in await broker.status() if one.partition == partition]
            assert before.ours
            assert before.end > positions[-1].offset
            assert before.lag in (10, None)
            assert before.committed is None or before.committed <= positions[0].offset
            await broker.commit(by_lease(reader.batches)[0], [])
            (after,) = [one for one in await broker.status() if one.partition == partition]
            assert after.committed is not None
            assert after.committed > positions[-1].offset
            assert after.lag in (0, None)
            assert after.pending in (0, None)
        await broker.close()

    # --- publishing

    async def test_published_records_are_at_the_returned_positions(self, harness, stream, group):
        await harness.create(stream, 3 if harness.partitioned else 1)
        broker = harness.broker(stream, group=group)
        await broker.start()
        sent = [outgoing(stream, str(n).encode(), ("n", b"1"), ("n", b"2"), partition=n % 3) for n in range(6)]
        sent.append(outgoing(stream, None, ("only", b"headers")))
        if harness.keyed:
            sent += [outgoing(stream, b"k", key=b"one"), outgoing(stream, b"k", key=b"one", partition=99)]
        positions = await broker.publish(sent)
        assert len(positions) == len(sent)
        for one, position in zip(sent, positions, strict=True):
            record = await broker.read(position)
            assert record is not None
            assert (record.key, record.value, record.headers) == (one.key, one.value, one.headers)
            if harness.partitioned and one.partition is not None and one.partition < 3:
                assert position.partition == one.partition
        if harness.keyed:
            assert positions[-1].partition == positions[-2].partition
        assert await broker.publish([]) == []
        await broker.close()

    # --- trouble

    async def test_an_unreachable_server_is_an_outage(self, harness):
        broker = harness.unreachable()
        with pytest.raises(Outage):
            await broker.start()
        await broker.close()

    async def test_inspect_finds_no_fault_in_a_healthy_server(self, harness, stream, group):
        await harness.create(stream)
        broker = harness.broker(stream, group=group)
        findings = await broker.inspect()
        assert findings
        assert all(finding.ok for finding in findings), findings
        assert all(finding.what and finding.detail for finding in findings)
        assert [one.position for one in await harness.contents(harness.naming(group).dead_letter_stream(stream))] == []

    async def test_inspect_asks_for_no_rights_on_letters_that_are_not_written(
        self, harness, stream, group, monkeypatch
    ):
        off = Config(service="contract", sources=SourcesConfig(), dead_letters=DeadLettersConfig(enabled=False))
        monkeypatch.setattr(harness, "naming", lambda group: off.stream_names(group))
        await harness.create(stream)
        whats = [finding.what for finding in await harness.broker(stream, group=group).inspect()]
        assert not [what for what in whats if ".dlt" in what or "letters" in what], whats

    async def test_inspect_reports_an_unreachable_server(self, harness):
        broker = harness.unreachable()
        findings = await broker.inspect()
        assert any(not finding.ok for finding in findings)
        await broker.close()

    async def test_close_is_allowed_at_any_time(self, harness, stream, group):
        await harness.create(stream)
        broker = harness.broker(stream, group=group)
        await broker.close()
        await broker.start()
        await broker.close()
        await broker.close()
        await broker.start()
        (position,) = await produce_numbered(harness, stream, 1)
        async with Reader(broker) as reader:
            await reader.read(1)
            assert reader.positions == [position]
        await broker.close()
