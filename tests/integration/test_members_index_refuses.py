"""A sidecar whose shared index refuses writes: commits and dead letters continue.

Events that find no room are counted, and are indexed once the server accepts writes again.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from sidecar.adapters.index.redis import writer
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.integration.test_end_to_end_kafka import header, make_topic
from tests.integration.test_index_redis_full import refuse
from tests.integration.test_members_kafka import SCHEMA, dead_letters
from tests.integration.test_members_rolling_restart import Member
from tests.support.conditions import until

pytestmark = [pytest.mark.kafka, pytest.mark.valkey]
COUNT, BROKEN = 5_000, 250


def load(kafka: EmbeddedKafka, topic: str) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "queue.buffering.max.messages": COUNT})
    for number in range(COUNT):
        body = {"eventId": f"e{number}", "qty": "many" if number % (COUNT // BROKEN) == 0 else 1}
        producer.produce(topic, json.dumps(body).encode())
    producer.flush()


@pytest.mark.parametrize("how", ["full", "too few replicas", "a replica"])
async def test_an_index_that_refuses_writes_delays_no_commits(
    kafka: EmbeddedKafka, tmp_path: Path, monkeypatch, how: str
) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_EVENTS", 1_000)
    topic = f"orders-{uuid.uuid4().hex[:8]}"
    make_topic(kafka, topic, 2)
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / f"{topic}-value.avsc").write_text(json.dumps(SCHEMA))
    file = tmp_path / "tracecar.yaml"
    with EmbeddedValkey() as server, Redis(port=server.port) as client:
        file.write_text(
            json.dumps(
                {
                    "service": topic,
                    "sources": {
                        "kafka": {
                            "bootstrap_servers": kafka.bootstrap_servers,
                            "topics": [topic],
                            "start": "earliest",
                            "client": {"session_timeout_ms": 30_000},
                        }
                    },
                    "registry": {"directory": str(tmp_path / "schemas")},
                    "index": {"redis": {"url": server.url}},
                    "api": {"port": 0, "token": "x"},
                }
            )
        )
        refuse(client, how, True)
        await asyncio.to_thread(load, kafka, topic)
        member = Member(file)
        try:
            index = member.service.index

            async def committed() -> bool:
                if member.leases < 2:
                    return False
                standing = await member.service.pipelines[0].broker.status()
                return len(standing) == 2 and all(one.lag == 0 for one in standing)

            await until(committed, "everything to be committed")
            letters = await asyncio.to_thread(dead_letters, kafka, [topic], 2)
            assert len(Counter(header(letter, "tracecar.event-id") for letter in letters)) == len(letters) == BROKEN
            status = await member.service.status.status()
            assert any("shared index accepts no events" in sentence for sentence in status.trouble)
            assert index.not_indexed + index.waiting == COUNT
            assert index.waiting <= 1_500
            refuse(client, how, False)

            async def indexed() -> bool:
                covered = index.coverage()
                return covered.events == COUNT and not covered.filling and covered.note is None

            await until(indexed, f"all {COUNT} events to be indexed")
            assert index.trouble is None
        finally:
            await member.stop()
