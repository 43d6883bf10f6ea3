"""Communication between the members of a group, and live events of one member at another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from sidecar.adapters.brokers.memory.broker import MemoryBroker
from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.config.schema import Config, SourcesConfig
from sidecar.domain.errors import NotFoundError, Outage
from sidecar.domain.model import Decoded, Event, Outgoing, Record
from sidecar.domain.ports.broker import PartitionStatus
from sidecar.domain.position import Partition, Position
from sidecar.domain.timestamps import format_rfc3339
from sidecar.pipeline import live_relay
from sidecar.pipeline.live_relay import LiveRelay, read_at
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.runtime.cluster_members import HeartbeatWriter, MemberDirectory

NOW = 1_790_000_000_000_000
"""In microseconds."""


class Heard:
    def __init__(self, member: str, age_ms: int, says: bytes) -> None:
        self.member, self.age_ms, self.says = member, age_ms, says


class Shared:
    """An index of which only the members matter."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.heartbeats: list[Heard] = []
        self.waiting, self.not_indexed = 7, 3
        self.trouble: str | None = None

        self.heartbeat: HeartbeatWriter

    async def says(self) -> bytes:
        return await self.heartbeat.write()


def member(name: str, *partitions: int, group: str = "g", listening: bool = False) -> tuple[Shared, MemberDirectory]:
    async def ours() -> Sequence[tuple[str, PartitionStatus]]:
        return [(group, PartitionStatus(Partition("kafka", "orders", one), 0, 9, 4)) for one in partitions]

    index = Shared(name)
    index.heartbeat = HeartbeatWriter(
        index,
        StreamCounters(),
        ours,
        service="shop",
        groups=[group],
        has_subscribers=lambda: listening,
        clock=lambda: NOW,
    )
    return index, MemberDirectory(index, groups=[group], clock=lambda: NOW)


async def test_each_lists_all_of_its_group():
    first, members = member("a", 0, 2)
    second, _ = member("b", 1)
    stranger, _ = member("c", 5, group="other")
    first.heartbeats = [
        Heard("a", 0, await first.says()),
        Heard("b", 30_000, await second.says()),
        Heard("c", 0, await stranger.says()),
        Heard("d", 0, b"\xff of another version"),
    ]
    here, other = members.rows()
    assert (here.member, here.here, here.alive, here.lag, here.waiting, here.not_indexed) == ("a", True, True, 8, 7, 3)
    assert [(share.stream, share.partitions) for share in here.streams] == [("orders", [0, 2])]
    assert (other.member, other.here, other.alive) == ("b", False, False)
    assert other.last_heartbeat == format_rfc3339(NOW - 30_000_000)
    (sentence,) = members.trouble()
    assert "member b" in sentence
    first.trouble = "it is stopped"
    # A member that receives no heartbeats reports no lost members, and lists itself.
    (sentence,) = members.trouble()
    assert "7 wait" in sentence
    first.heartbeats = [Heard(one.member, 60_000, one.says) for one in first.heartbeats]
    assert {row.member: row.alive for row in members.rows()} == {"a": True, "b": False}


async def test_members_know_if_others_have_subscribers():
    first, members = member("a", listening=True)
    second, _ = member("b", listening=True)
    assert not members.others_listen()
    first.heartbeats = [Heard("a", 0, await first.says())]
    assert not members.others_listen()
    first.heartbeats = [Heard("a", 0, await first.says()), Heard("b", 0, await second.says())]
    assert members.others_listen()
    first.heartbeats = [Heard("b", 60_000, await second.says())]
    assert not members.others_listen()


class Wire:
    """An in-memory relay between two members."""

    def __init__(self) -> None:
        self.parcels: list[bytes] = []
        self.arrived = asyncio.Event()
        self.broken = False

    async def send(self, parcel: bytes) -> None:
        if self.broken:
            raise Outage("away")
        self.parcels.append(parcel)
        self.arrived.set()

    def begin(self) -> None:
        pass

    async def receive(self) -> list[bytes]:
        await self.arrived.wait()
        self.arrived.clear()
        found, self.parcels = self.parcels, []
        return found


def decoded(number: int) -> Decoded:
    position = Position("redis", "orders\udcff", 0, 5 << 64 | number)
    record = Record(position, b"k", b"\x00\xff", (("a", None), ("a", b"1"), ("\udcfe", b"")), -1, 2)
    return Decoded(record, Event(position, "k", -1, 0))


def relaying_on(
    wire: Wire, live: LiveStream, *, others_listen: bool, secret: bool = False, broker: MemoryBroker | None = None
) -> LiveRelay:
    async def judged(records: Sequence[Record]) -> list[Decoded]:
        return [Decoded(record, Event(record.position, None, record.timestamp, 0)) for record in records]

    brokers = {} if broker is None else {broker.system: broker}
    return LiveRelay(wire, live, lambda: others_listen, judged, live.publish, partial(read_at, brokers), secret=secret)


async def test_with_redaction_positions_are_relayed_and_records_are_read_from_the_broker():
    wire, there, log = Wire(), LiveStream(), MemoryLog()
    for _ in range(9):
        log.append(Outgoing("orders", b"k", b"card 4711", (("authorization", b"4711"),)))
    naming = Config(service="shop", sources=SourcesConfig()).stream_names("g")
    broker = MemoryBroker(log, ["orders"], "g", naming)
    records = [record async for page in broker.scan(Partition("memory", "orders", 0)) for record in page]
    sender = relaying_on(wire, LiveStream(), others_listen=True, secret=True)
    # The receiver has no redaction of its own.
    receiver = relaying_on(wire, there, others_listen=False, broker=broker)
    sender.start()
    # Every second record is another member's, and the last one is deleted.
    passed = [Decoded(record, Event(record.position, None, 1, 0)) for record in records[::2]]
    gone = Position("memory", "orders", 0, 99)
    sender.offer([*passed, Decoded(Record(gone, None, b"4711", (), 1, 0), Event(gone, None, 1, 0))])
    while not wire.parcels:
        await asyncio.sleep(0.01)
    assert all(b"4711" not in parcel for parcel in wire.parcels)
    with there.subscribe() as listener:
        receiver.start()
        heard, missed = list[Record](), 0
        while len(heard) + missed < 6:
            heard += [one.record for one in await listener.next(1) or ()]
            missed += listener.take_missed_count()
        assert (heard, missed) == ([one.record for one in passed], 1)
    await sender.close()
    await receiver.close()


async def test_events_of_one_member_are_received_unchanged_at_another():
    wire, here, there = Wire(), LiveStream(), LiveStream()
    sender, receiver = relaying_on(wire, here, others_listen=True), relaying_on(wire, there, others_listen=False)
    sender.start()
    receiver.start()
    with there.subscribe() as listener:
        sender.offer([decoded(number) for number in range(500)])
        heard: list[Record] = []
        while len(heard) < 500:
            heard += [one.record for one in await listener.next(30) or ()]
        assert heard == [decoded(number).record for number in range(500)]
    await sender.close()
    await receiver.close()


async def test_without_subscribers_nothing_is_relayed():
    wire, live = Wire(), LiveStream()
    sender = relaying_on(wire, live, others_listen=False)
    sender.offer([decoded(1)])
    assert sender._records == []


@pytest.mark.parametrize("limit", ["MAX_RECORDS_PER_SECOND", "MAX_BYTES_PER_SECOND"])
async def test_batches_beyond_the_limit_are_counted(limit, monkeypatch):
    monkeypatch.setattr(live_relay, limit, 10)
    monkeypatch.setattr(live_relay.time, "monotonic", lambda: 5.0)
    wire, there = Wire(), LiveStream()
    sender, receiver = (
        relaying_on(wire, LiveStream(), others_listen=True),
        relaying_on(wire, there, others_listen=False),
    )
    sender.offer([decoded(number) for number in range(30)])
    monkeypatch.undo()
    sender.start()
    receiver.start()
    with there.subscribe() as listener:
        heard, missed = 0, 0
        while heard + missed < 30:
            heard += len(await listener.next(1) or ())
            missed += listener.take_missed_count()
        assert missed >= 20
    await sender.close()
    await receiver.close()


async def test_batches_of_other_versions_and_outages_are_harmless():
    wire, there = Wire(), LiveStream()
    sender, receiver = (
        relaying_on(wire, LiveStream(), others_listen=True),
        relaying_on(wire, there, others_listen=False),
    )
    wire.parcels = [b"\xc1", b"\x92\x91\x01\x00"]
    wire.arrived.set()
    wire.broken = True
    sender.offer([decoded(1)])
    sender.start()
    with there.subscribe() as listener:
        receiver.start()
        while wire.parcels or sender._records:
            await asyncio.sleep(0.01)
        wire.broken = False
        # Dropped events are reported to subscribers, together with those that were not.
        while not (missed := listener.take_missed_count()):
            await asyncio.sleep(0.01)
        assert missed == 1
        sender.offer([decoded(2)])
        (one,) = await listener.next(30) or ()
        assert one.record == decoded(2).record


@pytest.mark.parametrize("error", [NotFoundError("gone"), ValueError("a mistake")])
async def test_one_error_ends_neither_sending_nor_hearing(error, monkeypatch):
    wire, there = Wire(), LiveStream()
    sender, receiver = (
        relaying_on(wire, LiveStream(), others_listen=True),
        relaying_on(wire, there, others_listen=False),
    )
    errors = {"send": [error], "receive": [error]}

    def once(name: str):
        real = getattr(wire, name)

        async def failing(*arguments):
            if errors[name]:
                raise errors[name].pop()
            return await real(*arguments)

        return failing

    monkeypatch.setattr(wire, "send", once("send"))
    monkeypatch.setattr(wire, "receive", once("receive"))
    sender.offer([decoded(1)])
    with there.subscribe() as listener:
        sender.start()
        receiver.start()
        while sender._records or errors["send"] or errors["receive"]:
            await asyncio.sleep(0.01)
        sender.offer([decoded(2)])
        heard: list[Record] = []
        while not heard:
            heard = [one.record for one in await listener.next(1) or ()]
        assert heard == [decoded(2).record]
    await sender.close()
    await receiver.close()


async def test_keys_and_headers_count_as_bytes_and_parcels_stay_small(monkeypatch):
    monkeypatch.setattr(live_relay.time, "monotonic", lambda: 5.0)
    wire = Wire()
    sender = relaying_on(wire, LiveStream(), others_listen=True)
    position = Position("kafka", "orders", 0, 1)
    large = Record(position, b"k" * 50_000, None, (("a", b"h" * 50_000),), 1, 0)
    sender.offer([Decoded(large, Event(position, None, 1, 0))] * 1_000)
    assert sum(100_000 for _ in sender._records) <= live_relay.MAX_BYTES_PER_SECOND
    assert sender._skipped > 900
    monkeypatch.undo()
    sender.start()
    while sender._records or not wire.parcels:
        await asyncio.sleep(0.01)
    await sender.close()
    assert max(map(len, wire.parcels)) < 2 * live_relay.MAX_BATCH_BYTES
