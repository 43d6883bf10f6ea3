"""Consumption by groups on real servers: another group consumes some events and stops."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.config import schema as config
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.position import Partition
from sidecar.pipeline.consumer_groups.progress import POISON_DELIVERY_COUNT, GroupStop
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from tests.contracts.test_groups_kafka import read_and_stop
from tests.servers.kafka import create_topic, produce, unique
from tests.support.sidecar_process import Sidecar


class Looking:
    """A tracker on a real Kafka. The test polls it, and controls its clock."""

    def __init__(self, kafka: EmbeddedKafka, topic: str) -> None:
        source = config.KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topics=[topic])
        naming = config.Config(service="shop", sources=config.SourcesConfig()).stream_names("tracecar.shop")
        self.broker = KafkaBroker(source, "shop", naming)
        self.now = 0
        self.follower = ConsumerGroupTracker([self.broker], clock=lambda: self.now)

    async def look(self, seconds: float = 5) -> None:
        self.now += int(seconds * 1_000_000)
        await self.follower.poll()
        assert self.follower.note is None

    def stops(self) -> list[GroupStop]:
        return [stop for reading in self.follower.groups() for stop in reading.stops]


@pytest.mark.kafka
async def test_a_kafka_group_that_stops_is_shown_with_the_event(kafka: EmbeddedKafka) -> None:
    topic, group = create_topic(kafka.bootstrap_servers, unique("delivery")), unique("billing")
    produce(kafka.bootstrap_servers, topic, [b"%d" % n for n in range(10)])
    partition = Partition("kafka", topic, 0)
    looking = Looking(kafka, topic)
    await looking.broker.start()
    await asyncio.to_thread(read_and_stop, kafka.bootstrap_servers, group, topic, 3, "classic")
    await looking.look()
    first = looking.now
    assert [one.passed for n in (2, 3) for one in looking.follower.consumption(partition.at(n))] == [True, False]
    await asyncio.to_thread(read_and_stop, kafka.bootstrap_servers, group, topic, 4, "classic")
    await looking.look()
    (passed,) = looking.follower.consumption(partition.at(6))
    assert (passed.group, passed.passed, passed.after, passed.by) == (group, True, first, looking.now)
    (waits,) = looking.follower.consumption(partition.at(9))
    assert (waits.passed, waits.behind) == (False, 3)
    await looking.look(59)
    assert looking.stops() == []
    await looking.look(1)
    (stop,) = looking.stops()
    assert stop.position == partition.at(7)
    await looking.broker.close()


@pytest.mark.kafka
async def test_a_kafka_group_behind_a_transaction_has_not_stopped(kafka: EmbeddedKafka) -> None:
    """The end of a transaction has an offset that no consumer commits."""
    from confluent_kafka import Producer

    topic, group = create_topic(kafka.bootstrap_servers, unique("delivery")), unique("billing")
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic, "log_level": "0"}
    producer = Producer(settings)
    producer.init_transactions()
    for count in (2, 1):
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(topic, b"x")
        producer.commit_transaction()
    looking = Looking(kafka, topic)
    await looking.broker.start()
    await asyncio.to_thread(read_and_stop, kafka.bootstrap_servers, group, topic, 1, "classic")
    await looking.look()
    await asyncio.to_thread(read_and_stop, kafka.bootstrap_servers, group, topic, 1, "classic")
    await looking.look()
    await looking.look(60)
    (stop,) = looking.stops()
    assert stop.position == Partition("kafka", topic, 0).at(3)  # 2 is the end of the first transaction
    await asyncio.to_thread(read_and_stop, kafka.bootstrap_servers, group, topic, 1, "classic")
    await looking.look()
    await looking.look(60)
    await looking.look(60)
    ((_, followed),) = looking.follower.groups()[0].partitions.items()
    assert followed.latest.lag == 1
    assert looking.stops() == []
    await looking.broker.close()


@pytest.mark.valkey
def test_an_entry_that_a_redis_group_cannot_digest_is_shown_with_the_group(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """A whole sidecar beside a group that acknowledges all entries but one, which is delivered to it again and
    again."""
    stream = f"delivery-{time.time_ns()}"
    client: Any = Redis.from_url(valkey.url)
    ids = [client.xadd(stream, {"payload": b'{"eventId": "e-%d"}' % n}).decode() for n in range(6)]
    client.xgroup_create(stream, "billing", "0")
    client.xreadgroup("billing", "worker", {stream: ">"}, count=5)
    client.xack(stream, "billing", ids[0], ids[1], ids[3])
    source = {"url": valkey.url, "streams": [stream], "start": "earliest"}
    with Sidecar(tmp_path, {"service": "shop", "sources": {"redis": source}}) as sidecar:
        where = [f"redis://{stream}/{id}" for id in ids]

        def followed() -> list[dict[str, Any]]:
            return sidecar.get("/v1/groups")["items"]

        sidecar.wait(followed, "the group to be seen")
        (group,) = followed()
        assert (group["group"], group["lag"], group["stuck_at"]) == ("billing", 3, None)
        found = [sidecar.get(f"/v1/events/{one.replace('/', '%2F')}")["delivery"][0] for one in where]
        assert [one["passed"] for one in found] == [True, True, False, True, False, False]
        assert [one["deliveries"] for one in found] == [0, 0, 1, 0, 1, 0]
        for _ in range(POISON_DELIVERY_COUNT):
            client.xclaim(stream, "billing", "worker", 0, [ids[2]])
        sidecar.wait(lambda: followed()[0]["stuck_at"], "the entry to be suspected")
        assert followed()[0]["stuck_at"] == where[2]
        assert any("billing stopped at" in one for one in sidecar.get("/v1/status")["trouble"])
        shown = sidecar.cli("event", where[2])
        assert (
            f"billing not yet (delivered {POISON_DELIVERY_COUNT + 1} times, not acknowledged, stopped here since"
            in shown
        )
        client.xack(stream, "billing", ids[2])
        sidecar.wait(lambda: followed()[0]["stuck_at"] is None, "the group to go on")
    client.close()
