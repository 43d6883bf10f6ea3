"""A stream that is deleted and created again with the same entry ids: nothing of the two is mixed."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis as Client

from sidecar.config.schema import ApiConfig, Config, EnvelopeConfig, IndexConfig, RedisConfig, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.support.conditions import until
from tests.support.service import running_service

pytestmark = pytest.mark.valkey
TOKEN = "recreated"


async def test_dead_letters_of_the_new_stream_are_others_though_their_ids_repeat(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    stream = f"orders-{uuid.uuid4().hex[:8]}"
    config = Config(
        service=f"shop-{uuid.uuid4().hex[:8]}",
        sources=SourcesConfig(redis=RedisConfig(url=valkey.url, streams=[stream], start=StartPosition("earliest"))),
        envelope=EnvelopeConfig(required=["type"]),
        index=IndexConfig(),
        api=ApiConfig(port=0, token=TOKEN, token_file=str(tmp_path / "token")),
    )
    client = Client.from_url(valkey.url, protocol=2)

    async def publish(id: str, **body: object) -> None:
        await client.execute_command("XADD", stream, id, "payload", json.dumps(body))

    await publish("1-1", eventId="old")
    async with (
        running_service(config) as url,
        httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as http,
    ):

        async def letters() -> list[Any]:
            items: list[Any] = (await http.get("/v1/dead-letters")).raise_for_status().json()["items"]
            return items

        await until(letters)
        (old,) = await letters()
        answer = await http.post("/v1/dead-letters/discard", json={"ids": [old["id"]], "reason": "it is old"})
        assert answer.status_code == 200, answer.text
        pipe = client.pipeline(transaction=True)
        pipe.delete(stream)
        pipe.execute_command("XADD", stream, "1-1", "payload", json.dumps({"eventId": "new"}))
        await pipe.execute()

        async def is_lettered_again() -> bool:
            return len(await letters()) == 2

        await until(is_lettered_again)
        newest, oldest = await letters()
        assert newest["id"] == oldest["id"]
        assert [newest["event_id"], oldest["event_id"]] == ["new", "old"]
        assert [newest["state"], oldest["state"]] == ["open", "discarded"]
        shown = (await http.get(f"/v1/events/redis://{stream}/1-1")).raise_for_status().json()
        assert (shown["body"], shown["appended_at_observed"]) == ({"eventId": "new"}, True)
        job = await http.post("/v1/replays", json={"ids": [newest["id"]], "to": f"{stream}.repaired"})
        assert job.status_code in (200, 201, 202), job.text
    await client.aclose()
