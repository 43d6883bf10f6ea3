"""Failures of replays on a real Kafka and a real Valkey: each ends in a state that an operator can act on, and every
record is sent once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.adapters.brokers.kafka.log_reader import KafkaLogReader
from sidecar.config import schema as config
from sidecar.config.schema import SaslConfig
from sidecar.config.value_types import StartPosition
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.errors import NotFoundError, Outage
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition
from sidecar.domain.stream_names import LEDGER
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.pipeline import now_micros
from sidecar.replay.job_control import build_broker_replays, waits_in_replay
from sidecar.replay.models import ReplayJob, ReplayRequest
from sidecar.replay.service import ReplayService
from tests.contracts.test_broker_kafka import KafkaHarness
from tests.contracts.test_broker_redis import ValkeyHarness
from tests.servers.kafka import PASSWORD, allow, create_topic, delete_topic, unique
from tests.support.conditions import until
from tests.support.replay import (
    ANN,
    NoHistory,
    Queries,
    Source,
    all_pass,
    ended,
    replace_body,
    states,
)

THEN = 1_700_000_000_000
"""Time of the letters' records in milliseconds."""


class Seen(Queries):
    """Every stream is visible."""

    async def in_sight(self, system: str, stream: str) -> bool:
        return True


Harness = KafkaHarness | ValkeyHarness


class Place:
    """A stream with dead letters on a real broker, and sidecars that replay them."""

    def __init__(self, harness: Harness) -> None:
        self.harness, self.system = harness, harness.system
        self.stream, self.group = unique("orders"), unique("tracecar.shop")
        self.target, self.letters_in = f"{self.stream}.retry", f"{self.stream}.dlt"
        self._made: list[ReplayService] = []

    async def letters(self, count: int, partitions: int = 1, *, sizes: dict[int, int] | None = None) -> None:
        """Write letters of the records `0`, `1`, …, whose keys are the numbers of their partitions."""
        await self.harness.create(self.stream, partitions)
        await self.harness.create(self.letters_in, partitions)
        await self.harness.produce([self._letter(n, partitions, (sizes or {}).get(n, 0)) for n in range(count)])

    def _letter(self, number: int, partitions: int, size: int) -> Outgoing:
        at, offset = number % partitions, number // partitions
        origin = (
            f"kafka://{self.stream}/{at}/{offset}"
            if self.system == "kafka"
            else f"redis://{self.stream}/{offset + 1}-0"
        )
        facts = {
            "dead-letter-id": f"billing@{origin}",
            "code": "reported.error",
            "message": "no such customer",
            "origin": origin,
            "origin-timestamp": str(THEN + number),
        }
        headers = tuple((f"tracecar.{name}", value.encode()) for name, value in facts.items())
        value = b"%d" % number + b"x" * size
        key = b"key-%d" % at if self.system == "kafka" else None
        return Outgoing(self.letters_in, key, value, headers, partition=at)

    async def sidecar(self, broker: Any = None, *, clock: Callable[[], int] = now_micros) -> Any:
        broker = broker or self.harness.broker(self.stream, group=self.group)
        await broker.start()
        source = Source(broker, broker._naming, self.group)
        follower = ConsumerGroupTracker([broker])
        queries, editor = Seen(), cast("Any", replace_body)
        broker_replays = build_broker_replays([source], follower, editor, queries.in_sight, queries.fits, clock=clock)
        desk = DeadLetterStore([source], 5, partial(waits_in_replay, broker_replays))
        operations: Any = ReplayService(
            broker_replays,
            store=desk,
            queries=queries,
            tracker=follower,
            index=NoHistory(),
            editor=editor,
            check_records=lambda system: all_pass,
            exporting=cast("Any", None),
            reporting=cast("Any", None),
            selection=1_000,
            clock=clock,
        )
        operations.desk = desk
        self._made.append(operations)
        return operations

    async def sent(self, stream: str = "") -> list[Record]:
        return await self.harness.contents(stream or self.target)

    async def close(self) -> None:
        for one in self._made:
            await one.close()
        await self.harness.close()


@asynccontextmanager
async def at(harness: Harness) -> AsyncIterator[Place]:
    place = Place(harness)
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture(
    params=[pytest.param("kafka", marks=pytest.mark.kafka), pytest.param("valkey", marks=pytest.mark.valkey)]
)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    server = request.getfixturevalue(request.param)
    harness = KafkaHarness(server.bootstrap_servers) if request.param == "kafka" else ValkeyHarness(server.url)
    async with at(harness) as made:
        yield made


@pytest.fixture
async def on_kafka(kafka: EmbeddedKafka) -> AsyncIterator[Place]:
    async with at(KafkaHarness(kafka.bootstrap_servers)) as made:
        yield made


def numbers(records: list[Record]) -> list[int]:
    return [int((record.value or b"").rstrip(b"x")) for record in records]


async def stopped_at(sidecar: Any, job: ReplayJob, published: int) -> ReplayJob:
    """Pause the job once it has sent this number, and wait until its runner has noticed."""

    async def enough() -> bool:
        return bool((await sidecar.job(job.id)).published >= published)

    await until(enough)
    await sidecar.pause(job.id, ANN)

    async def noticed() -> bool:
        return not sidecar._broker_replays[0].supervisor._tasks

    await until(noticed)
    return cast("ReplayJob", await sidecar.job(job.id))


async def test_a_target_that_is_missing_is_named_and_once_it_is_there_the_replay_is_resumed(place: Place) -> None:
    await place.letters(5)
    sidecar = await place.sidecar()
    plan = await sidecar.plan(ReplayRequest(to=place.target))
    assert any(f"there is no stream {place.target}: create it first" in one for one in plan.warnings)
    job = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
    assert (job.state, job.published, job.failed) == ("failed", 0, 0)
    assert place.target in (job.note or "")
    assert "create" in (job.note or "")
    assert set((await states(sidecar)).values()) == {"open"}
    await place.harness.create(place.target)
    job = await ended(sidecar, await sidecar.resume(job.id, ANN))
    assert (job.state, job.published) == ("done", 5)
    assert numbers(await place.sent()) == list(range(5))
    assert set((await states(sidecar)).values()) == {"replayed"}


@pytest.mark.kafka
async def test_a_target_with_fewer_partitions_keeps_each_key_in_order_and_is_warned_of(on_kafka: Place) -> None:
    place = on_kafka
    await place.letters(120, 6)
    await place.harness.create(place.target, 2)
    sidecar = await place.sidecar()
    plan = await sidecar.plan(ReplayRequest(to=place.target))
    assert any("has 2 partitions, and these letters come from 6" in one for one in plan.warnings)
    job = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
    assert (job.state, job.published) == ("done", 120)
    assert any("has 2 partitions" in one for one in job.warnings)
    sent = await place.sent()
    for key in {record.key for record in sent}:
        mine = [record for record in sent if record.key == key]
        assert len({record.position.partition for record in mine}) == 1
        assert numbers(mine) == sorted(numbers(mine))
    assert sorted(numbers(sent)) == list(range(120))


@pytest.mark.kafka
async def test_a_target_that_must_not_be_written_is_named_with_the_right_that_is_missing(
    kafka: EmbeddedKafka, on_kafka: Place
) -> None:
    place, servers = on_kafka, kafka.bootstrap_servers
    await place.letters(4)
    await place.harness.create(place.target)
    for name in (place.stream, place.letters_in, LEDGER):
        allow(servers, "bob", "topic", name, "READ")
    for right in ("WRITE", "CREATE"):
        allow(servers, "bob", "topic", LEDGER, right)
    for right in ("WRITE", "DESCRIBE"):
        allow(servers, "bob", "transactional_id", LEDGER, right)
    allow(servers, "bob", "topic", place.target, "DESCRIBE")
    allow(servers, "bob", "group", place.group, "READ")
    source = config.KafkaConfig(
        bootstrap_servers=kafka.address("SASL"),
        topics=[place.stream],
        group_id=place.group,
        start=StartPosition("earliest"),
        sasl=SaslConfig(mechanism="PLAIN", username="bob", password=PASSWORD),
    )
    broker = KafkaBroker(source, "trouble", place.harness.naming(place.group))
    sidecar = await place.sidecar(broker)
    try:
        job = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
        assert job.state == "failed"
        assert place.target in (job.note or "")
        assert "WRITE" in (job.note or "")
        allow(servers, "bob", "topic", place.target, "WRITE")
        job = await ended(sidecar, await sidecar.resume(job.id, ANN))
        assert (job.state, job.published) == ("done", 4)
        assert numbers(await place.sent()) == list(range(4))
    finally:
        await sidecar.close()
        await broker.close()


async def test_a_record_that_the_target_does_not_take_fails_alone(place: Place) -> None:
    if place.system == "kafka":
        large = 3_000
        create_topic(cast("KafkaHarness", place.harness).servers, place.target, max_message_bytes=2_000)
        await place.letters(6, sizes={2: large, 4: large})
    else:
        large = 1 << 21
        await place.harness.create(place.target)
        await place.letters(6, sizes={2: large, 4: large})
        await place.harness.too_large()
    sidecar = await place.sidecar()
    job = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
    assert (job.state, job.published, job.failed) == ("done", 4, 2)
    assert place.target in job.failures[0].why
    assert numbers(await place.sent()) == [0, 1, 3, 5]
    assert sorted((await states(sidecar)).values()) == ["open", "open", *["replayed"] * 4]


async def test_letters_deleted_after_their_selection_are_reported(place: Place) -> None:
    await place.letters(40)
    await place.harness.create(place.target)
    sidecar = await place.sidecar()
    job = await stopped_at(sidecar, await sidecar.replay(ReplayRequest(to=place.target, rate=10), ANN), 5)
    before = job.published
    partition = Partition(place.system, place.letters_in, 0)
    broker = sidecar._broker_replays[0].source.broker
    offsets = [record.position.offset async for page in broker.scan(partition) for record in page]
    await place.harness.trim(partition, offsets[before + 10])
    job.request = ReplayRequest()
    job = await ended(sidecar, await sidecar.resume(job.id, ANN))
    assert (job.state, job.published, job.failed) == ("done", 30, 10)
    assert "deleted by retention or a trim" in job.failures[0].why
    assert numbers(await place.sent()) == [*range(before), *range(before + 10, 40)]


async def test_a_ledger_that_is_deleted_while_a_replay_is_paused(place: Place) -> None:
    await place.letters(30)
    await place.harness.create(place.target)
    sidecar = await place.sidecar()
    job = await stopped_at(sidecar, await sidecar.replay(ReplayRequest(to=place.target, rate=20), ANN), 10)
    if place.system == "kafka":
        # The sidecar knows the old content and writes it again.
        delete_topic(cast("KafkaHarness", place.harness).servers, LEDGER)
        paused, resumed = job.id, list[ReplayJob]()

        async def resume() -> bool:
            with suppress(Outage):  # while the brokers still delete the topic
                resumed.append(await sidecar.resume(paused, ANN))
            return bool(resumed)

        await until(resume, "the ledger is written again")
        job = await ended(sidecar, resumed[0])
        assert job.published == 30
    else:
        # The request is lost; what was sent is known beside the letters.
        await cast("ValkeyHarness", place.harness).client.delete(LEDGER)
        with pytest.raises(NotFoundError, match="no replay"):
            await sidecar.resume(job.id, ANN)
        again = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
        assert again.published == 30 - job.published
        job = again
    assert job.state == "done"
    assert numbers(await place.sent()) == list(range(30))


async def test_clocks_that_differ_change_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of one sidecar is ten years slow; that of the other one, which continues after its death, ten years
    fast."""
    monkeypatch.setattr("sidecar.replay.supervisor.RUNNER_LOST_AFTER_S", 0.2)
    years = 10 * 365 * 86_400 * 1_000_000
    await place.letters(30)
    await place.harness.create(place.target)
    late = await place.sidecar(clock=lambda: time.time_ns() // 1_000 - years)
    early = await place.sidecar(clock=lambda: time.time_ns() // 1_000 + years)
    job = await late.replay(ReplayRequest(to=place.target, rate=20), ANN)

    async def some() -> bool:
        return bool((await late.job(job.id)).published >= 10)

    await until(some)
    for task in list(late._broker_replays[0].supervisor._tasks.values()):
        task.cancel()  # like a kill: no job is handed over
    early.start()
    job = await ended(early, job)
    assert (job.state, job.published) == ("done", 30)
    assert numbers(await place.sent()) == list(range(30))
    assert set((await states(late)).values()) == {"replayed"}
    assert job.id in [one.id for one in await late.jobs()]


@pytest.mark.kafka
async def test_times_that_the_target_does_not_take_are_left_behind(on_kafka: Place) -> None:
    """A topic that accepts no old records, or uses the broker's time, gets them with the present time."""
    place = on_kafka
    await place.letters(5)
    servers = cast("KafkaHarness", place.harness).servers
    create_topic(servers, place.target, message_timestamp_before_max_ms=3_600_000, retention_ms=-1)
    sidecar = await place.sidecar()
    job = await ended(sidecar, await sidecar.replay(ReplayRequest(to=place.target), ANN))
    assert (job.state, job.published) == ("done", 5)
    assert all(record.timestamp > THEN + 1_000_000 for record in await place.sent())


@pytest.mark.kafka
async def test_a_throttling_broker_is_not_taken_for_the_end_of_the_log(
    on_kafka: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that throttles returns no records for a while; the records behind must not be reported as deleted."""
    place = on_kafka
    await place.letters(20)
    await place.harness.create(place.target)
    sidecar = await place.sidecar()
    fetch, empty = KafkaLogReader._fetch, [30]

    async def throttled(self: KafkaLogReader, partition: Partition, *more: Any, **also: Any) -> Any:
        if partition.stream == place.letters_in and empty[0] and sidecar.ledger_started_at:
            empty[0] -= 1
            return None
        return await fetch(self, partition, *more, **also)

    sidecar.ledger_started_at = False
    monkeypatch.setattr(KafkaLogReader, "_fetch", throttled)
    job = await sidecar.replay(ReplayRequest(to=place.target, rate=20), ANN)
    sidecar.ledger_started_at = True
    job = await ended(sidecar, job)
    assert (empty[0], job.published, job.failed) == (0, 20, 0)
    assert numbers(await place.sent()) == list(range(20))
