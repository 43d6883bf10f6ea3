"""Commits on Redis when something fails in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis as Client

from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing, Record
from sidecar.pipeline.batch_split import split_commit
from tests.contracts.batch_reader import Reader, by_lease, letter, letter_ids
from tests.contracts.broker_harness import outgoing
from tests.support.conditions import until
from tests.support.redis import RedisHarness
from tests.support.tcp_proxy import CuttingProxy

pytestmark = pytest.mark.valkey


@pytest.fixture
async def harness(valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
    harness = RedisHarness(valkey.url)
    yield harness
    await harness.close()


@pytest.fixture
def stream() -> str:
    return f"orders-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def letters_of(harness: RedisHarness, group: str, records: Sequence[Record]) -> list[Outgoing]:
    return [letter(record, harness.naming(group), group) for record in records]


def wanted(group: str, records: Sequence[Record]) -> list[str]:
    return sorted(f"{group}@{record.position}" for record in records)


async def pending(harness: RedisHarness, stream: str, group: str) -> int:
    return int((await harness.client.execute_command("XPENDING", stream, group))[0])


@pytest.mark.parametrize("direction", ["cut_sent", "cut_answered"])
async def test_a_connection_cut_during_a_commit_doubles_and_loses_nothing(
    harness: RedisHarness, valkey: EmbeddedValkey, stream: str, group: str, direction: str
) -> None:
    await harness.produce([outgoing(stream, b"%d" % n * 50, ("n", b"%d" % n)) for n in range(300)])
    async with CuttingProxy(valkey.port) as proxy:
        broker = harness.broker(stream, group=group, url=f"redis://127.0.0.1:{proxy.port}/0", max_records=25)
        tries = 0
        committed = 0
        while committed < 300:
            await broker.start()
            async with Reader(broker) as reader:
                await reader.until(lambda r: any(b.records for b in r.batches))
                batch = next(b for b in reader.batches if b.records)
                reader.batches.clear()
                broker.hold(batch.lease)
                rejected = letters_of(harness, group, [r for r in batch.records if r.position.offset % 2])
                setattr(proxy, direction, tries * 137 % 4_000 if direction == "cut_sent" else tries * 3 % 60)
                tries += 1
                for _ in range(5):
                    try:
                        await broker.commit([batch], rejected)
                        break
                    except Outage:
                        pass
                else:
                    pytest.fail("an Outage though the line works again")
                committed += len(batch.records)
                proxy.cut_sent = proxy.cut_answered = None
            await broker.close()
        assert proxy.cuts >= tries // 2
    records = await harness.contents(stream)
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(
        group, [r for r in records if r.position.offset % 2]
    )
    assert await pending(harness, stream, group) == 0


async def test_an_entry_that_another_member_committed_is_not_dead_lettered_again(
    harness: RedisHarness, stream: str, group: str
) -> None:
    await harness.produce([outgoing(stream, b"%d" % n) for n in range(10)])
    slow, quick = (harness.broker(stream, group=group) for _ in range(2))
    await slow.start()
    async with Reader(slow) as reader:
        records = await reader.read(10)
        (batches,) = by_lease(reader.batches)
        await quick.start()
        # Another consumer claims the entries although the slow one lives.
        ids = [entry[0] for entry in await harness.client.execute_command("XRANGE", stream, "-", "+")]
        await harness.client.execute_command("XCLAIM", stream, group, quick._consumer.name, 0, *ids[:6])  # type: ignore[union-attr]
        async with Reader(quick) as other:
            (lease,) = await other.leases(records[0].position.log)
            seen = len(other.batches)
            await quick.rewind(lease)
            await other.until(lambda r: sum(len(b.records) for b in r.batches[seen:]) == 6)
            taken = other.batches[seen:]
            await asyncio.gather(
                quick.commit(taken, letters_of(harness, group, records[:6])),
                slow.commit(batches, letters_of(harness, group, records)),
            )
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
    assert await pending(harness, stream, group) == 0


async def test_a_slow_member_keeps_its_entries_and_a_dead_one_loses_them(
    harness: RedisHarness, stream: str, group: str
) -> None:
    held = f"{stream}-held"
    for name in (stream, held):
        await harness.produce([outgoing(name, b"%d" % n) for n in range(10)])
    slow, other = (harness.broker(stream, held, group=group, claim_idle=1.0) for _ in range(2))
    await slow.start()
    async with Reader(slow) as reader:
        await reader.read(20)
        slow.hold(next(batch.lease for batch in reader.batches if batch.lease.partition.stream == held))
        await other.start()
        async with Reader(other) as second:
            begun = await harness.client.execute_command("TIME")

            async def later() -> bool:
                now = await harness.client.execute_command("TIME")
                return int(now[0]) - int(begun[0]) > 3

            await until(later)  # three times as long as claim_idle
            assert second.records == []
            await harness.produce([outgoing(held, b"new")])
            await second.read(1)
            await harness.crash(slow)
            await second.read(21)
            assert len(set(second.positions)) == 21
            await other.commit([batch for batch in second.batches if batch.lease.partition.stream == held], [])
    assert await pending(harness, held, group) == 0


async def test_entries_that_were_deleted_after_they_were_delivered_are_reported(
    harness: RedisHarness, stream: str, group: str
) -> None:
    positions = await harness.produce([outgoing(stream, b"%d" % n) for n in range(10)])
    first = harness.broker(stream, group=group)
    await first.start()
    async with Reader(first) as reader:
        await reader.read(10)
        await harness.trim(positions[0].log, positions[4].offset)
        # Own entries, after a rewind.
        seen = len(reader.batches)
        await first.rewind(reader.batches[0].lease)
        await reader.until(lambda r: sum(len(b.records) for b in r.batches[seen:]) == 6)
        (gap,) = [batch.gap for batch in reader.batches[seen:] if batch.gap]
        assert (gap.wanted, gap.resumed) == (positions[0].offset, positions[4].offset)
        await first.commit(by_lease(reader.batches[seen : seen + 1])[0], [])
        assert await pending(harness, stream, group) == 0
        # Entries of another consumer are reported when they are claimed.
        positions = await harness.produce([outgoing(stream, b"%d" % n) for n in range(10)])
        await reader.until(lambda r: r.positions[-1] == positions[-1])
    await harness.crash(first)
    await harness.trim(positions[0].log, positions[7].offset)
    second = harness.broker(stream, group=group, service="another")
    await second.start()
    async with Reader(second) as reader:
        await reader.read(3)
        gaps = [batch.gap for batch in reader.batches if batch.gap]
        assert [(gap.wanted, gap.resumed) for gap in gaps] == [(positions[0].offset, positions[7].offset)]
        await second.commit([batch for batch in reader.batches if batch.records], [])
    assert await pending(harness, stream, group) == 0


async def test_hostile_entries_are_dead_lettered_unchanged(harness: RedisHarness, stream: str, group: str) -> None:
    client: Client = harness.client
    everything = bytes(range(256))
    entries: list[list[bytes]] = [
        [b"payload", b"one", b"payload", b"two", b"a", b"", b"a", b"", b"payload", b"three"],
        [b"", b"", b"", b"x", b"payload", everything],
        [everything, everything, b"\xff\xfe", b"\x00"],
        [b"a" * 100_000, b"b" * 100_000, b"payload", b"\r\n$-1\r\n*0\r\n"],
        [part for n in range(3_000) for part in (b"f%d" % n, b"v")],
    ]
    for fields in entries:
        await client.execute_command("XADD", stream, "*", *fields)
    await client.execute_command("XADD", stream, "18446744073709551615-1", "payload", "at the end of time")
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(6)
        (batches,) = by_lease(reader.batches)
        await broker.commit(batches, letters_of(harness, group, records))
    letters = await client.execute_command("XRANGE", f"{stream}.dlt", "-", "+")
    assert [letter[1][:-2] for letter in letters[:5]] == entries
    # An id that is no time counts as appended when it is observed.
    assert abs(records[5].timestamp - records[4].timestamp) < 3_600_000
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)


async def test_a_letter_of_absurdly_many_fields_is_too_large(harness: RedisHarness, stream: str, group: str) -> None:
    await harness.client.execute_command("XADD", stream, "*", *[b"f"] * 20_000)
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(1)
        (batches,) = by_lease(reader.batches)
        with pytest.raises(TooLarge):
            await broker.commit(batches, letters_of(harness, group, records))
    assert await pending(harness, stream, group) == 1


async def test_a_dead_letter_key_of_another_type_loses_nothing(harness: RedisHarness, stream: str, group: str) -> None:
    await harness.produce([outgoing(stream, b"bad")])
    await harness.client.set(f"{stream}.dlt", "mine")
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        records = await reader.read(1)
        (batches,) = by_lease(reader.batches)
        with pytest.raises(Refused, match="not a stream"):
            await broker.commit(batches, letters_of(harness, group, records))
        assert await pending(harness, stream, group) == 1
        await harness.client.delete(f"{stream}.dlt")
        await broker.commit(batches, letters_of(harness, group, records))
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)


async def test_a_server_out_of_memory_is_an_outage_that_loses_nothing(stream: str, group: str) -> None:
    with EmbeddedValkey() as server:
        harness = RedisHarness(server.url)
        await harness.produce([outgoing(stream, b"x" * 1000) for _ in range(50)])
        broker = harness.broker(stream, group=group, max_records=25)
        await broker.start()
        async with Reader(broker) as reader:
            await reader.until(lambda r: any(batch.records for batch in r.batches))
            await harness.client.config_set("maxmemory", 1)
            records = await reader.read(50)  # reading continues
            (batches,) = by_lease(reader.batches)
            with pytest.raises(Outage):
                await broker.commit(batches, letters_of(harness, group, records))
            with pytest.raises(Outage):
                await broker.publish([outgoing(stream, b"x")])
            await harness.client.config_set("maxmemory", 0)
            await broker.commit(batches, letters_of(harness, group, records))
            assert not any(batch.gap for batch in reader.batches)
        assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
        await harness.close()


async def test_a_full_disk_is_an_outage_that_loses_nothing(stream: str, group: str) -> None:
    with EmbeddedValkey() as server:
        harness = RedisHarness(server.url)
        await harness.produce([outgoing(stream, b"bad")])
        broker = harness.broker(stream, group=group)
        await broker.start()
        async with Reader(broker) as reader:
            records = await reader.read(1)
            (batches,) = by_lease(reader.batches)
            # A snapshot that cannot be written makes the server refuse writes, like a full disk.
            obstacle = server.directory / "dump.rdb"
            obstacle.mkdir()
            await harness.client.config_set("save", "3600 1")
            await harness.client.bgsave()

            async def failed() -> bool:
                return (await harness.client.info("persistence"))["rdb_last_bgsave_status"] == "err"

            await until(failed)
            with pytest.raises(Outage, match="disk"):
                await broker.commit(batches, letters_of(harness, group, records))
            await harness.client.config_set("save", "")
            await broker.commit(batches, letters_of(harness, group, records))
        assert letter_ids(await harness.contents(f"{stream}.dlt")) == wanted(group, records)
        await harness.close()


async def test_a_stream_with_much_to_deliver_again_does_not_hold_the_others_up(
    harness: RedisHarness, stream: str, group: str
) -> None:
    other = f"{stream}-other"
    await harness.create(other)
    for _ in range(5):
        await harness.produce([outgoing(stream, b"x") for _ in range(400)])
    broker = harness.broker(stream, other, group=group, max_records=20)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(2000)
        seen = len(reader.batches)
        await harness.produce([outgoing(other, b"now")])
        await broker.rewind(reader.batches[0].lease)
        await reader.until(lambda r: sum(len(b.records) for b in r.batches[seen:]) >= 2001)
        streams = [record.position.stream for batch in reader.batches[seen:] for record in batch.records]
        assert streams.index(other) < 500


async def test_a_commit_that_is_split_commits_each_entry_once(harness: RedisHarness, stream: str, group: str) -> None:
    """As when the record that the server refuses is looked for; the second part is repeated."""
    await harness.produce([outgoing(stream, b"%d" % number) for number in range(7)])
    broker = harness.broker(stream, group=group)
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(7)
        (batches,) = by_lease(reader.batches)
        letters = [letter(record, harness.naming(group), group) for record in reader.records[::2]]
        first, rest = split_commit(batches, letters)
        await broker.commit(*first)
        assert [status.pending for status in await broker.status()] == [4]
        await broker.commit(*rest)
        assert [status.pending for status in await broker.status()] == [0]
        await broker.commit(*rest)
    await broker.close()
    assert letter_ids(await harness.contents(f"{stream}.dlt")) == sorted(
        f"{group}@{record.position}" for record in reader.records[::2]
    )


@pytest.mark.parametrize(
    ("taken", "named"),
    [
        (("-xadd",), "may not use XADD on STREAM.dlt"),
        (("resetkeys", "~STREAM"), "EVALSHA on STREAM, STREAM.dlt: NOPERM"),
    ],
    ids=["command", "key"],
)
async def test_a_refused_commit_names_the_command_and_the_stream(
    harness: RedisHarness, valkey: EmbeddedValkey, stream: str, group: str, taken: tuple[str, ...], named: str
) -> None:
    user = f"u{uuid.uuid4().hex}"
    await harness.client.execute_command("ACL", "SETUSER", user, "on", ">secret", "~*", "+@all")
    await harness.produce([outgoing(stream, b"1")])
    broker = harness.broker(stream, group=group, url=f"redis://{user}:secret@127.0.0.1:{valkey.port}")
    await broker.start()
    async with Reader(broker) as reader:
        await reader.read(1)
        rights = [right.replace("STREAM", stream) for right in taken]
        await harness.client.execute_command("ACL", "SETUSER", user, *rights)
        with pytest.raises(Refused, match=named.replace("STREAM", stream)):
            await broker.commit(
                [batch for batch in reader.batches if batch.records],
                [letter(reader.records[0], harness.naming(group), group)],
            )
    await broker.close()
    assert await harness.contents(f"{stream}.dlt") == []
