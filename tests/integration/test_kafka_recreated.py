"""A topic that is deleted and created again while a sidecar watches it: old and new records are never mixed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.config.schema import ApiConfig, Config, EnvelopeConfig, IndexConfig, KafkaConfig, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_kafka import EmbeddedKafka
from sidecar.domain.model import Outgoing
from tests.contracts.test_broker_kafka import QUICK
from tests.servers import kafka as server
from tests.support.conditions import until
from tests.support.service import running_service

pytestmark = pytest.mark.kafka
TOKEN = "recreated"


def _body(number: int, **fields: object) -> bytes:
    return json.dumps({"eventId": f"e-{number}", "eventType": "Placed", **fields}).encode()


async def _publish(servers: str, topic: str, *values: bytes) -> None:
    records = [Outgoing(topic, None, value, (), partition=0) for value in values]
    await asyncio.to_thread(server.published, servers, records)


async def test_a_topic_that_is_created_again_is_not_mixed_with_the_old_one(
    kafka: EmbeddedKafka, tmp_path: Path
) -> None:
    servers = kafka.bootstrap_servers
    topic = server.create_topic(servers, server.unique("orders"))
    config = Config(
        service=server.unique("shop"),
        sources=SourcesConfig(
            kafka=KafkaConfig(
                bootstrap_servers=servers, topics=[topic], start=StartPosition("earliest"), client=dict(QUICK)
            )
        ),
        envelope=EnvelopeConfig(required=["type"]),
        index=IndexConfig(),
        api=ApiConfig(port=0, token=TOKEN, token_file=str(tmp_path / "token")),
    )
    await _publish(servers, topic, _body(0, old=True), _body(1, old=True))
    async with (
        running_service(config) as url,
        httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as http,
    ):

        async def get(path: str) -> Any:
            return (await http.get(path)).raise_for_status().json()

        async def lag_is_gone() -> bool:
            streams = (await get("/v1/status"))["streams"]
            return bool(streams) and streams[0]["lag"] == 0 and streams[0]["events"] >= 2

        await until(lag_is_gone)
        assert (await get(f"/v1/events/kafka://{topic}/0/1"))["body"]["old"] is True
        server.delete_topic(servers, topic)
        server.create_topic(servers, topic)
        await _publish(servers, topic, _body(10), b'{"eventId": "e-11"}', _body(12))

        async def letters() -> list[Any]:
            items: list[Any] = (await get("/v1/dead-letters"))["items"]
            return items

        await until(letters)
        (letter,) = await letters()
        assert letter["origin"] == f"kafka://{topic}/0/1"
        events = (await get("/v1/events"))["items"]
        assert sorted(event["event_id"] for event in events) == ["e-10", "e-11", "e-12"]
        shown = await get(f"/v1/events/kafka://{topic}/0/1")
        assert shown["body"] == {"eventId": "e-11"}
        assert shown["status"] == "rejected"
        status = await get("/v1/status")
        assert any("created again" in sentence for sentence in status["trouble"])
        await until(lag_is_gone)
