"""End to end: twenty lines of configuration with a real Kafka and a real registry.

Another client library produces the events, and sidecars are killed repeatedly.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sidecar.demo.embedded_kafka import EmbeddedKafka
from tests.servers.apicurio import Apicurio
from tests.support.bench_events import SCHEMA, bench_events
from tests.support.sidecar_process import Sidecar

pytestmark = [pytest.mark.kafka, pytest.mark.registry]


def make_topic(kafka: EmbeddedKafka, name: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)]).values():
        future.result()


def register(registry: Apicurio, subject: str, schema: dict[str, Any]) -> int:
    import httpx2

    answer = httpx2.post(f"{registry.url}/subjects/{subject}/versions", json={"schema": json.dumps(schema)}, timeout=30)
    answer.raise_for_status()
    return int(answer.json()["id"])


def dead_letters(kafka: EmbeddedKafka, topic: str) -> list[Any]:
    """Return every dead letter that a reader at `read_committed` finds."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"look-{time.time_ns()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    metadata = consumer.list_topics(topic, timeout=20).topics[topic]
    found: list[Any] = []
    for number in metadata.partitions:
        partition = TopicPartition(topic, number)
        _, end = consumer.get_watermark_offsets(partition, timeout=20)
        consumer.assign([TopicPartition(topic, number, 0)])
        while consumer.position([partition])[0].offset < end:
            message = consumer.poll(5)
            if message is not None and message.error() is None:
                found.append(message)
            elif message is None:
                break
    consumer.close()
    return found


def header(message: Any, name: str) -> str:
    return str(dict(message.headers())[name].decode())


def test_twenty_lines_show_foreign_events_and_find_each_broken_one_once(
    kafka: EmbeddedKafka, apicurio: Apicurio, tmp_path: Path
) -> None:
    topic, shipments = f"orders-{time.time_ns()}", f"shipments-{time.time_ns()}"
    make_topic(kafka, topic, 3)
    make_topic(kafka, shipments, 1)
    schema_id = register(apicurio, f"{topic}-value", SCHEMA)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "compression.type": "zstd"})
    for key, value, headers in bench_events(1_000, 0.02, schema_id=schema_id):
        producer.produce(topic, value=value, key=key, headers=headers)
    shipped = {"eventId": "s-1", "eventType": "Shipped", "aggregateId": "order-000000000000", "data": {"parcels": 2}}
    trace = dict(bench_events(1, schema_id=schema_id)[0][2])["traceparent"]
    producer.produce(shipments, value=json.dumps(shipped), headers=[("traceparent", trace)])
    producer.flush()

    config = {
        "service": "shop",
        "sources": {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "topics": [topic, shipments], "start": "earliest"}
        },
        "registry": {"url": apicurio.url},
    }
    config["sources"]["kafka"]["group_id"] = f"tracecar.{topic}"  # type: ignore[index]
    with Sidecar(tmp_path, config) as sidecar:
        sidecar.wait(lambda: seen(sidecar) >= 1_001 and lag(sidecar) == 0, "all events committed")
        status = {row["stream"]: row for row in sidecar.get("/v1/status")["streams"]}
        assert status[topic]["rejected"] == 20
        flow = sidecar.rows("flow", "s-1")[0]
        assert flow["trace_id"] == trace[3:35].decode()
        assert {event["type"] for event in flow["events"]} == {
            "OrderPlaced", "PaymentTaken", "StockReserved", "ParcelShipped", "OrderClosed", "Shipped",
        }  # fmt: skip
        rejected = sidecar.rows("events", "status:rejected", "--limit", "0")
        assert len(rejected) == 20
        assert {row["rejection"]["code"] for row in rejected} == {"decode.truncated", "decode.trailing_bytes"}
        listed = sidecar.rows("dlq", "list", "--limit", "0")
        assert len(listed) == 20
        shown = sidecar.rows("dlq", "show", listed[0]["id"])[0]
        assert shown["origin"] in {row["position"] for row in rejected}
        assert "OrderPlaced" in sidecar.cli("aggregate", "order-000000000000")
        assert topic in sidecar.cli("schemas")
        assert sidecar.stop() == 0

    letters = dead_letters(kafka, f"{topic}.dlt")
    assert len({header(letter, "tracecar.origin") for letter in letters}) == len(letters) == 20
    for letter in letters:
        _, _, partition, offset = header(letter, "tracecar.origin").replace("kafka://", "kafka/").split("/")
        original = read_at(kafka, topic, int(partition), int(offset))
        assert (letter.key(), letter.value()) == (original.key(), original.value())
        assert letter.headers()[: len(original.headers())] == original.headers()
        assert header(letter, "tracecar.origin-timestamp") == str(original.timestamp()[1])


def read_at(kafka: EmbeddedKafka, topic: str, partition: int, offset: int) -> Any:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, partition, offset)])
    message = consumer.poll(20)
    consumer.close()
    return message


def seen(sidecar: Sidecar) -> int:
    return sum(row["events"] for row in sidecar.get("/v1/status")["streams"])


def lag(sidecar: Sidecar) -> int:
    lags = [row["lag"] for row in sidecar.get("/v1/status")["streams"]]
    return sum(lags) if lags and None not in lags else -1


def test_two_sidecars_killed_again_and_again_letter_and_pass_each_event_once(
    kafka: EmbeddedKafka, apicurio: Apicurio, tmp_path: Path
) -> None:
    """One stream is observed; another goes through a gate."""
    topic = f"killed-{time.time_ns()}"
    raw, behind = f"{topic}.raw", f"{topic}.behind"
    make_topic(kafka, topic, 3)
    make_topic(kafka, raw, 2)
    schema_id = register(apicurio, f"{topic}-value", SCHEMA)
    assert register(apicurio, f"{raw}-value", SCHEMA) == schema_id
    events = bench_events(30_000, 0.05, schema_id=schema_id)
    config = {
        "service": "shop",
        "sources": {
            "kafka": {
                "bootstrap_servers": kafka.bootstrap_servers,
                "topics": [topic],
                "gate": {raw: behind},
                "group_id": f"tracecar.{topic}",
                "start": "earliest",
                "client": {"session_timeout_ms": 3_000, "heartbeat_interval_ms": 500},
            }
        },
        "registry": {"url": apicurio.url},
        "index": {"lookback": "0s"},
    }
    members = [Sidecar(tmp_path, config, f"member-{number}") for number in range(2)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5})
    dice, sent = random.Random(4711), 0
    for member in members:
        member.start()
    for round in range(8):
        for key, value, headers in events[sent : sent + len(events) // 8]:
            producer.produce(topic, value=value, key=key, headers=headers)
            if sent % 2:
                producer.produce(raw, value=value, key=key, headers=headers)
            producer.poll(0)
            sent += 1
        producer.flush()
        time.sleep(dice.uniform(0.3, 2.5))  # a random moment
        members[round % 2].kill()
        members[round % 2].start()
    for member in members:
        member.wait_ready()
    members[0].wait(lambda: lag(members[0]) == 0, "everything committed")
    for member in members:
        assert member.stop() == 0

    assert once(dead_letters(kafka, f"{topic}.dlt")) == 1_500
    assert once(dead_letters(kafka, f"{raw}.dlt")) == 1_500, "every broken event has an odd number"
    came, went = dead_letters(kafka, raw), dead_letters(kafka, behind)
    bad = {(header(one, "tracecar.origin")) for one in dead_letters(kafka, f"{raw}.dlt")}
    good = [one for one in came if f"kafka://{raw}/{one.partition()}/{one.offset()}" not in bad]
    for partition in range(2):
        assert [_content(one) for one in went if one.partition() == partition] == [
            _content(one) for one in good if one.partition() == partition
        ]


def once(letters: list[Any]) -> int:
    """Return the number of letters. Fails if two letters have the same origin."""
    counted = Counter(header(letter, "tracecar.origin") for letter in letters)
    assert set(counted.values()) == {1}
    return len(counted)


def _content(one: Any) -> tuple[Any, ...]:
    return one.key(), one.value(), one.headers(), one.timestamp()
