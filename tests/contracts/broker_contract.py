"""What every broker promises (`sidecar.domain.ports.broker.Broker`), as tests. An adapter's test module subclasses
`BrokerContract`
and gives a fixture `harness`; the same tests then run on the memory broker and on the real servers."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import pytest

from sidecar.config.schema import Config, DeadLettersConfig, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.domain.errors import Fenced, Outage, TooLarge
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition, Position
from sidecar.domain.stream_names import LEDGER, StreamNames
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.support.conditions import until

EARLIEST, LATEST = StartPosition("earliest"), StartPosition("latest")


class BrokerHarness(ABC):
    """What the suite needs of a system."""

    system: str
    partitioned = True
    """A stream can have several partitions, and one member at a time owns each; else members share a stream."""
    keyed = True
    """Records can have keys, null values without any header, and null header values."""
    trims = True
    """`trim` works, and what is trimmed before it was read is reported."""

    def naming(self, group: str) -> StreamNames:
        return Config(service="contract", sources=SourcesConfig()).stream_names(group)

    def pattern(self, prefix: str) -> str:
        """A pattern that matches every stream whose name begins with `prefix`."""
        return f"{prefix}*"

    @abstractmethod
    def broker(self, *streams: str, group: str, start: StartPosition = EARLIEST, max_records: int = 1000) -> Broker:
        """A broker, not started. The harness closes it in the end."""

    @abstractmethod
    def unreachable(self) -> Broker:
        """A broker whose server is not there."""

    @abstractmethod
    async def create(self, stream: str, partitions: int = 1) -> None: ...

    @abstractmethod
    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        """Publish as another program would, to streams that exist."""

    @abstractmethod
    async def contents(self, stream: str) -> list[Record]:
        """All committed records as another program sees them, by partition, in order; empty without such a stream."""

    @abstractmethod
    async def crash(self, broker: Broker) -> None:
        """End this broker as `kill -9` of its process would, so that its group forgets it within seconds."""

    @abstractmethod
    async def trim(self, partition: Partition, before: int) -> None:
        """Make what lies before this offset disappear."""

    async def too_large(self) -> bytes | None:
        """A value that the server will not take from now on; None where there is no such limit."""
        return None


def outgoing(stream: str, value: bytes | None, *headers: tuple[str, bytes | None], **more: object) -> Outgoing:
    return Outgoing(stream=stream, key=more.pop("key", None), value=value, headers=headers, **more)  # type: ignore[arg-type]


class BrokerContract:
    """Every promise of `sidecar.domain.ports.broker.Broker`."""

    @pytest.fixture
    async def harness(self) -> BrokerHarness:
        raise NotImplementedError("an adapter's test module gives this fixture")

    @pytest.fixture
    def stream(self) -> str:
        return f"orders-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def group(self) -> str:
        return f"tracecar.{uuid.uuid4().hex[:12]}"

    async def _numbered(self, harness: BrokerHarness, stream: str, count: int, first: int = 0) -> list[Position]:
        records = [outgoing(stream, str(n).encode(), ("n", str(n).encode()), partition=0) for n in range(first, count)]
        return await harness.produce(records)

    # --- reading

    async def test_a_lease_is_announced_first_also_where_nothing_is_there(self, harness, stream, group):
        await harness.create(stream)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            (lease,) = await reader.leases(Partition(harness.system, stream, 0))
            assert lease.lost is False
            assert reader.batches[0].records == () or list(reader.batches[0].records) == []
            assert reader.batches[0].next_offset == lease.start
            (position,) = await self._numbered(harness, stream, 1)
            await reader.read(1)
            assert reader.positions == [position]
            assert position.offset >= lease.start
        await broker.close()

    async def test_records_come_untouched(self, harness, stream, group):
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
        positions = await self._numbered(harness, stream, 250)
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

    async def test_several_partitions_each_come_in_order(self, harness, stream, group):
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
            await self._numbered(harness, name, 1)
        broker = harness.broker(harness.pattern(prefix), group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(1)
            await self._numbered(harness, names[0], 1)
            await self._numbered(harness, f"{prefix}-a", 3)
            await reader.read(4)
            assert {record.position.stream for record in reader.records} == {f"{prefix}-a"}
        assert harness.naming(group).is_dead_letter(LEDGER)
        shown = await broker.streams()
        assert set(names) <= set(shown)
        assert shown == sorted(shown)
        await broker.close()

    async def test_a_name_that_no_stream_has_or_can_have_is_no_stream(self, harness, stream, group):
        broker = harness.broker(stream, group=group)
        await harness.create(stream)
        await broker.start()
        for name in (f"{stream}-no", f"{stream}/a b{{c}}", "\udcff", "x" * 300):
            partition = Partition(harness.system, name, 0)
            assert await broker.partitions(name) == []
            assert await broker.read(partition.at(0)) is None
        await broker.close()

    async def test_new_streams_that_match_join(self, harness, stream, group):
        await harness.create(f"{stream}-a")
        broker = harness.broker(harness.pattern(stream), group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.leases(Partition(harness.system, f"{stream}-a", 0))
            await harness.create(f"{stream}-b")
            await self._numbered(harness, f"{stream}-b", 3)
            await reader.read(3)
            assert {p.stream for p in reader.positions} == {f"{stream}-b"}
        await broker.close()

    # --- where to begin

    async def test_latest_is_settled_when_it_is_first_taken(self, harness, stream, group):
        await harness.create(stream)
        await self._numbered(harness, stream, 3)
        broker = harness.broker(stream, group=group, start=LATEST)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.leases(Partition(harness.system, stream, 0))
            assert reader.records == []
        await broker.close()
        later = await self._numbered(harness, stream, 6, first=3)
        again = harness.broker(stream, group=group, start=LATEST)
        await again.start()
        async with Reader(again) as reader:
            await reader.read(3)
            assert reader.positions == later
        await again.close()

    async def test_a_time_begins_at_the_first_record_from_then_on(self, harness, stream, group):
        await harness.create(stream)
        old = await self._numbered(harness, stream, 2)
        turn = (await harness.contents(stream))[-1].timestamp + 1
        await until(lambda: _now(harness, stream, turn))
        new = await self._numbered(harness, stream, 5, first=2)
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

    # --- committing

    async def test_what_is_not_settled_comes_again(self, harness, stream, group):
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 20)
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

    async def test_what_was_not_settled_before_a_crash_comes_again(self, harness, stream, group):
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 10)
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

    async def test_letters_and_progress_are_settled_together(self, harness, stream, group):
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
        await self._nothing_comes(harness, stream, group)

    async def test_a_settling_that_is_tried_again_letters_once(self, harness, stream, group):
        await harness.create(stream)
        await self._numbered(harness, stream, 5)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(5)
            letters = [letter(record, naming, group) for record in records]
            (batches,) = by_lease(reader.batches)
            await broker.commit(batches, letters)
            await broker.commit(batches, letters)
            await self._numbered(harness, stream, 6, first=5)
            await reader.read(6)
            await broker.commit(by_lease(reader.batches)[0][len(batches) :], [letter(records[-1], naming, group)][:0])
        await broker.close()
        found = await harness.contents(naming.dead_letter_stream(stream))
        assert letter_ids(found) == sorted(f"{group}@{record.position}" for record in records)
        await self._nothing_comes(harness, stream, group)

    async def test_a_lease_that_is_lost_settles_nothing(self, harness, stream, group):
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 3)
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

    async def test_what_the_server_will_not_take_is_named(self, harness, stream, group):
        await harness.create(stream)
        await self._numbered(harness, stream, 2)
        naming = harness.naming(group)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(2)
            (batches,) = by_lease(reader.batches)
            value = await harness.too_large()
            if value is None:
                pytest.skip("this server takes anything")
            one, two = (letter(record, naming, group) for record in records)
            large = Outgoing(two.stream, two.key, value, two.headers, two.partition, origin=two.origin)
            with pytest.raises(TooLarge) as caught:
                await broker.commit(batches, [one, large])
            assert caught.value.index == 1
            await broker.commit(batches, [one, two])
        await broker.close()
        found = await harness.contents(naming.dead_letter_stream(stream))
        assert letter_ids(found) == sorted(f"{group}@{record.position}" for record in records)

    async def test_two_members_letter_each_record_once_though_one_is_killed(self, harness, stream, group):
        await harness.create(stream, 4 if harness.partitioned else 1)
        naming = harness.naming(group)

        async def work(broker: Broker, until: asyncio.Event) -> None:
            """A member that rejects every record, committing batch by batch."""
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

        async def all_lettered() -> bool:
            return len(letter_ids(await harness.contents(naming.dead_letter_stream(stream)))) >= len(wanted)

        await until(all_lettered)
        assert letter_ids(await harness.contents(naming.dead_letter_stream(stream))) == wanted
        done.set()
        tasks[1].cancel()
        await asyncio.wait((tasks[1],))
        known = len(await members[1].partitions(stream))
        await members[1].close()
        await self._nothing_comes(harness, stream, group, partitions=known)

    async def _nothing_comes(
        self, harness: BrokerHarness, stream: str, group: str, partitions: int | None = None
    ) -> None:
        """All is committed: a new member gets nothing of what was there before, but what comes now."""
        broker = harness.broker(stream, group=group)
        await broker.start()
        known = partitions or len(await broker.partitions(stream))
        sent = await harness.produce([outgoing(stream, b"next", partition=number) for number in range(known)])
        async with Reader(broker) as reader:
            await reader.read(len(sent))
            assert sorted(reader.positions) == sorted(sent)
        await broker.close()

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
            sent = await self._numbered(harness, held, 40)
            await self._numbered(harness, other, 40)
            await reader.until(lambda r: sum(p.stream == other for p in r.positions) == 40)
            assert len([batch for batch in reader.of(lease.partition) if batch.records]) <= 1
            broker.release(lease)
            await reader.until(lambda r: sum(p.stream == held for p in r.positions) == 40)
            assert [p for p in reader.positions if p.stream == held] == sent
            broker.release(lease)
        await broker.close()

    async def test_a_rewind_delivers_again_from_what_is_settled(self, harness, stream, group):
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 30)
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
            (new,) = await self._numbered(harness, stream, 31, first=30)
            await reader.until(lambda r: r.positions[-1] == new)
        await broker.close()

    # --- losing

    async def test_what_was_trimmed_before_it_was_read_is_reported(self, harness, stream, group):
        if not harness.trims:
            pytest.skip("nothing can be trimmed here")
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 5)
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.read(5)
            await broker.commit(by_lease(reader.batches)[0], [])
        await broker.close()
        positions += await self._numbered(harness, stream, 10, first=5)
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

    # --- looking

    async def test_positions_are_read(self, harness, stream, group):
        await harness.create(stream)
        first, second = await self._numbered(harness, stream, 2)
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
        positions = await self._numbered(harness, stream, 35)
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

    async def test_a_scan_ends_where_the_end_was(self, harness, stream, group):
        await harness.create(stream)
        positions = await self._numbered(harness, stream, 15)
        broker = harness.broker(stream, group=group, max_records=10)
        await broker.start()
        found = []
        async for page in broker.scan(Partition(harness.system, stream, 0)):
            found += [record.position for record in page]
            await self._numbered(harness, stream, 5)
        assert found == positions
        await broker.close()

    async def test_status_says_how_far_everything_is(self, harness, stream, group):
        await harness.create(stream)
        partition = Partition(harness.system, stream, 0)
        positions = await self._numbered(harness, stream, 10)
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

    async def test_what_is_published_lies_where_it_says(self, harness, stream, group):
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

    async def test_a_server_that_is_not_there_is_an_outage(self, harness):
        broker = harness.unreachable()
        with pytest.raises(Outage):
            await broker.start()
        await broker.close()

    async def test_inspect_finds_nothing_wrong_where_nothing_is(self, harness, stream, group):
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

    async def test_inspect_says_what_is_wrong(self, harness):
        broker = harness.unreachable()
        findings = await broker.inspect()
        assert any(not finding.ok for finding in findings)
        await broker.close()

    async def test_close_may_come_at_any_time(self, harness, stream, group):
        await harness.create(stream)
        broker = harness.broker(stream, group=group)
        await broker.close()
        await broker.start()
        await broker.close()
        await broker.close()
        await broker.start()
        (position,) = await self._numbered(harness, stream, 1)
        async with Reader(broker) as reader:
            await reader.read(1)
            assert reader.positions == [position]
        await broker.close()


async def _now(harness: BrokerHarness, stream: str, turn: int) -> bool:
    """Whether the clock that stamps records is past `turn` (milliseconds)."""
    probe = f"{stream}-clock"
    await harness.create(probe)
    await harness.produce([outgoing(probe, b"tick")])
    return (await harness.contents(probe))[-1].timestamp >= turn
