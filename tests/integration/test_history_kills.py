"""The history of real brokers, while sidecars are killed at random moments: each event once, every hole known."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import duckdb
import pytest
import redis
from confluent_kafka import ConsumerGroupTopicPartitions, Producer

from sidecar.adapters.history.builder import build_file_store
from sidecar.adapters.history.parquet_history import ParquetHistory
from sidecar.domain.ports.history import HistoryKey, HistorySelection
from sidecar.domain.position import Partition
from tests.servers.kafka import admin, committed, create_topic, delete_records, unique
from tests.support.conditions import until
from tests.support.sidecar_process import Sidecar

PARTITIONS = 3
SECRET = "4111-1111-1111-1111"


class Load:
    """Publishes orders, each with its number, every third without a proper quantity."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers})
        self._topic = topic
        self.count = 0

    def publish(self, count: int) -> None:
        for number in range(self.count, self.count + count):
            body = {"eventId": f"e-{number}", "card": SECRET, "aggregateId": f"order-{number // 5}"}
            self._producer.produce(self._topic, json.dumps(body).encode(), partition=number % PARTITIONS)
            self._producer.poll(0)
        self._producer.flush()
        self.count += count


def config(servers: str, topic: str, group: str, url: str, **history: object) -> dict[str, object]:
    return {
        "service": "shop",
        "sources": {"kafka": {"bootstrap_servers": servers, "group_id": group, "topics": [topic], "start": "earliest"}},
        "index": {"lookback": "0s"},
        "history": {"url": url, "flush": "500ms", "bodies": True, **history},
        "redact": ["body:card"],
    }


async def read_all(url: str) -> tuple[list[str], object]:
    """Read the ids of all events, and the coverage. Bodies must be redacted."""
    return await read_events(url, bodies=True)


async def read_events(url: str, *, bodies: bool = False) -> tuple[list[str], object]:
    """Read the ids of all events, and the coverage."""
    history = ParquetHistory(build_file_store(url))
    try:
        rows, cursor = [], None
        while True:
            page = await history.find(HistorySelection(), limit=10_000, cursor=cursor)
            rows += page.rows
            if (cursor := page.cursor) is None:
                break
        if bodies:
            assert all(SECRET.encode() not in (row.body or b"") for row in rows)
            assert all(b"[redacted]" in (row.body or b"") for row in rows)
        return [row.event.event_id for row in rows], await history.coverage()
    finally:
        await history.close()


def covered_offsets(coverage) -> int:
    return sum(each.end - each.start for each in coverage.covered)


def describe_offsets(servers: str, group: str) -> list[str]:
    """The group's offsets with their metadata, in which the mark of the history is."""
    request = [ConsumerGroupTopicPartitions(group)]
    (answer,) = (each.result() for each in admin(servers).list_consumer_group_offsets(request).values())
    return [f"{each.topic}/{each.partition} at {each.offset} {each.metadata!r}" for each in answer.topic_partitions]


async def describe(url: str, count: int, sidecars: Sequence[Sidecar], offsets: Callable[[], object]) -> str:
    """Describe what is missing, for a test that fails."""
    ids, coverage = await read_events(url)
    missing = sorted({f"e-{number}" for number in range(count)} - set(ids), key=lambda each: int(each[2:]))
    lines = [
        f"{len(missing)} of {count} events are missing: {', '.join(missing[:20])} ... {', '.join(missing[-3:])}",
        f"by partition: {dict(Counter(int(each[2:]) % PARTITIONS for each in missing))}",
        f"stored twice: {[each for each, times in Counter(ids).items() if times > 1][:20]}",
        f"committed: {offsets()}",
        *(f"covered: {each}" for each in coverage.covered),
        *(f"hole: {each}" for each in coverage.holes),
    ]
    for sidecar in sidecars:
        status = sidecar.get("/v1/status")
        metrics = [line for line in sidecar.metrics().splitlines() if line.startswith("tracecar_history")]
        lines += [f"status: {status['trouble']} {status['streams']}", *metrics, sidecar.log]
    return "\n".join(lines)


async def until_whole(
    condition: Callable[[], Awaitable[bool]],
    url: str,
    count: int,
    sidecars: Sequence[Sidecar],
    offsets: Callable[[], object],
) -> None:
    """Wait until every event is in the history; a failure tells which is not, and what sidecars and broker say."""
    try:
        await until(condition, "every event to be in the history", timeout_s=120, pause_s=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{await describe(url, count, sidecars, offsets)}") from None


@pytest.mark.kafka
@pytest.mark.parametrize("members", [1, 2])
async def test_each_event_once_although_sidecars_are_killed(kafka, tmp_path, members):
    topic = create_topic(kafka.bootstrap_servers, unique("history"), PARTITIONS)
    url, group = str(tmp_path / "history"), unique("tracecar.history")
    load = Load(kafka.bootstrap_servers, topic)
    sidecars = [
        Sidecar(tmp_path, config(kafka.bootstrap_servers, topic, group, url), f"s{number}") for number in range(members)
    ]
    moments = random.Random(20260131)
    for sidecar in sidecars:
        sidecar.start()
    try:
        for _ in range(6):
            load.publish(2_000)
            await asyncio.sleep(moments.uniform(0.2, 2.5))  # any moment is a moment to be killed at
            victim = moments.choice(sidecars)
            victim.kill()
            load.publish(500)
            victim.start()
        load.publish(100)

        async def is_whole() -> bool:
            ids, coverage = await read_all(url)
            return len(ids) == load.count and covered_offsets(coverage) == load.count

        servers = kafka.bootstrap_servers
        await until_whole(is_whole, url, load.count, sidecars, lambda: describe_offsets(servers, group))
        ids, coverage = await read_all(url)
        assert sorted(ids) == sorted(f"e-{number}" for number in range(load.count))
        assert coverage.holes == []
    finally:
        for sidecar in sidecars:
            sidecar.stop()
    files = f"{url}/events/**/*.parquet"
    # As the documentation tells outside readers: each event once.
    (count,) = duckdb.execute(
        'SELECT count(*) FROM (SELECT DISTINCT ON (system, stream, "partition", incarnation, record_offset_high, '
        "record_offset) * FROM read_parquet(?, union_by_name = true, hive_partitioning = true))",
        [files],
    ).fetchone()
    assert count == load.count


@pytest.mark.kafka
async def test_a_crash_loop_without_any_file_loses_nothing(kafka, tmp_path):
    topic = create_topic(kafka.bootstrap_servers, unique("history"), PARTITIONS)
    url, group = str(tmp_path / "history"), unique("tracecar.history")
    load = Load(kafka.bootstrap_servers, topic)
    crashing = Sidecar(tmp_path, config(kafka.bootstrap_servers, topic, group, url, flush="1h"), "crashing")
    for _ in range(3):
        load.publish(100)
        crashing.start()
        crashing.wait(
            lambda: sum(committed(kafka.bootstrap_servers, group, topic, PARTITIONS).values()) == load.count,
            "all to be committed",
        )
        crashing.kill()
    assert not list((tmp_path / "history").glob("events/*/*/*.parquet"))
    with Sidecar(tmp_path, config(kafka.bootstrap_servers, topic, group, url), "healthy") as healthy:

        async def is_whole() -> bool:
            ids, coverage = await read_all(url)
            return len(ids) == load.count and covered_offsets(coverage) == load.count

        servers = kafka.bootstrap_servers
        await until_whole(is_whole, url, load.count, [healthy], lambda: describe_offsets(servers, group))


@pytest.mark.valkey
async def test_each_entry_of_redis_once_although_members_are_killed(valkey, tmp_path):
    stream, url = unique("history"), str(tmp_path / "history")
    server = redis.Redis.from_url(valkey.url)
    settings = {
        "service": "shop",
        "sources": {"redis": {"url": valkey.url, "streams": [stream], "start": "earliest", "claim_idle": "1s"}},
        "index": {"lookback": "0s"},
        "history": {"url": url, "flush": "500ms"},
    }
    sidecars = [Sidecar(tmp_path, settings, f"s{number}") for number in range(2)]
    moments, count = random.Random(20260131), 0

    def publish(number: int) -> None:
        nonlocal count
        pipeline = server.pipeline(transaction=False)
        for each in range(count, count + number):
            pipeline.xadd(stream, {"payload": json.dumps({"eventId": f"e-{each}"})})
        pipeline.execute()
        count += number

    for sidecar in sidecars:
        sidecar.start()
    try:
        for _ in range(6):
            publish(2_000)
            await asyncio.sleep(moments.uniform(0.2, 2.5))
            victim = moments.choice(sidecars)
            victim.kill()
            publish(500)
            victim.start()
        publish(100)

        async def is_whole() -> bool:
            ids, _ = await read_events(url)
            return len(ids) == count

        def offsets() -> object:
            return server.xinfo_groups(stream)

        await until_whole(is_whole, url, count, sidecars, offsets)
        ids, coverage = await read_events(url)
        assert sorted(ids) == sorted(f"e-{number}" for number in range(count))
        assert coverage.holes == []
    finally:
        for sidecar in sidecars:
            sidecar.stop()


@pytest.mark.kafka
async def test_events_deleted_while_no_sidecar_ran_are_a_known_hole(kafka, tmp_path):
    topic = create_topic(kafka.bootstrap_servers, unique("history"), PARTITIONS)
    url, group = str(tmp_path / "history"), unique("tracecar.history")
    load = Load(kafka.bootstrap_servers, topic)
    sidecar = Sidecar(tmp_path, config(kafka.bootstrap_servers, topic, group, url))
    load.publish(300)
    with sidecar:
        sidecar.wait(lambda: list((tmp_path / "history").glob("events/*/*/*.parquet")), "a file")
    load.publish(300)
    delete_records(kafka.bootstrap_servers, topic, 0, 150)
    with sidecar:
        load.publish(30)

        async def is_filled() -> bool:
            return len((await read_all(url))[0]) == load.count - 50

        await until(is_filled, "the rest to be in the history", timeout_s=120, pause_s=0.3)
    ids, coverage = await read_all(url)
    partition = Partition("kafka", topic, 0)
    assert len(ids) == load.count - 50
    assert [(hole.partition, hole.start, hole.end) for hole in coverage.holes] == [(partition, 100, 150)]
    assert {each.incarnation for each in coverage.covered} != {None}


@pytest.mark.kafka
async def test_object_storage_that_goes_away(kafka, s3_server, tmp_path, monkeypatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    topic = create_topic(kafka.bootstrap_servers, unique("history"), PARTITIONS)
    url, group = f"s3://{s3_server.BUCKET}/{uuid.uuid4()}", unique("tracecar.history")
    load = Load(kafka.bootstrap_servers, topic)
    with Sidecar(tmp_path, config(kafka.bootstrap_servers, topic, group, url)) as sidecar:
        load.publish(500)
        sidecar.wait(
            lambda: list(s3_server.directory.glob(f"data/*/{url.rpartition('/')[2]}/events/*/*/*.parquet")), "it"
        )
        s3_server.kill()
        load.publish(500)
        sidecar.wait(
            lambda: any("cannot write" in sentence for sentence in sidecar.get("/v1/status")["trouble"]), "trouble"
        )
        sidecar.wait(lambda: sidecar.get("/v1/status")["streams"][0]["lag"] == 0, "all to be committed")
        s3_server.start()

        async def is_whole() -> bool:
            return len((await read_all(url))[0]) == load.count

        await until(is_whole, "every event to be in the history", timeout_s=120, pause_s=0.3)
        sidecar.wait(lambda: not sidecar.get("/v1/status")["trouble"], "no trouble")
    history = ParquetHistory(build_file_store(url))
    page = await history.find(HistorySelection(keys=[HistoryKey("event_id", "e-700")]))
    assert [row.event.aggregate_id for row in page.rows] == ["order-140"]
    await history.close()
