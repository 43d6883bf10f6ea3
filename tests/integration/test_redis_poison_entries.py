"""Entries that another group cannot process become its dead letters and are acknowledged, once. On a real Valkey."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.config.schema import ApiConfig, Config, EnvelopeConfig, ExhaustedConfig, RedisConfig, SourcesConfig
from sidecar.config.value_types import Duration
from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.errors import Refused
from sidecar.domain.model import DeadLetter
from sidecar.pipeline.pending_entry_reaper import PendingEntryReaper
from sidecar.pipeline.pipeline import now_micros
from sidecar.runtime.wiring import build_service
from tests.support.conditions import until
from tests.support.redis import RedisHarness
from tests.support.schema_formats import FORMATS

pytestmark = pytest.mark.valkey

NOW = ExhaustedConfig(deliveries=3, idle=Duration(0.001))
GROUP = "billing"


class Shop:
    """A stream, a group that fails to process it, and sidecars that watch the group."""

    def __init__(self, harness: RedisHarness) -> None:
        self.harness, self.client = harness, harness.client
        self.stream = f"orders-{uuid.uuid4().hex[:10]}"
        self.naming = harness.naming("tracecar.contract")
        self.catalog = SchemaCache(MemoryRegistry(), FORMATS)

    async def sidecar(self, limit: ExhaustedConfig = NOW) -> PendingEntryReaper:
        broker = self.harness.broker(self.stream, group=f"tracecar.{uuid.uuid4().hex[:8]}")
        await broker.start()
        return self.exhausting(broker, limit)

    def exhausting(self, broker: RedisBroker, limit: ExhaustedConfig) -> PendingEntryReaper:
        payloads = PayloadReader({"redis": broker}, EventDecoder(self.catalog, EnvelopeConfig()), PayloadCache())
        writer = DeadLetterWriter(self.naming, "tracecar.contract", "shop", now_micros)
        return PendingEntryReaper(broker, {GROUP: limit}, payloads, writer)

    async def add(self, number: int) -> bytes:
        fields = {"own": "1", "payload": f'{{"eventId": "e-{number}", "aggregateId": "o-{number}"}}'}
        id: bytes = await self.client.xadd(self.stream, fields)
        return id

    async def give(self, times: int = 1) -> None:
        """Deliver all pending entries to the group repeatedly."""
        for _ in range(times):
            await self.client.xreadgroup(GROUP, "worker-1", {self.stream: ">"})
            await self.client.xclaim(self.stream, GROUP, "worker-1", 0, await self.pending(), retrycount=None)

    async def pending(self) -> list[Any]:
        rows: list[Any] = await self.client.execute_command("XPENDING", self.stream, GROUP, "-", "+", 1_000)
        return [row[0] for row in rows] or ["0-1"]

    async def letters(self) -> list[DeadLetter]:
        return [read(record, self.naming) for record in await self.harness.contents(f"{self.stream}.dlt")]


@pytest.fixture
async def shop(valkey: EmbeddedValkey) -> AsyncIterator[Shop]:
    harness = RedisHarness(valkey.url)
    made = Shop(harness)
    await harness.create(made.stream)
    await harness.client.xgroup_create(made.stream, GROUP, "0")
    yield made
    await harness.close()
    await made.catalog.close()


async def test_entries_delivered_too_often_are_dead_lettered_for_their_group_alone(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    bad = await shop.add(1)
    await shop.give(3)
    good = await shop.add(2)
    await shop.client.xreadgroup(GROUP, "worker-1", {shop.stream: ">"})
    await asyncio.sleep(0.01)
    assert await sidecar.poll() == 1
    assert await shop.pending() == [good]
    (letter,) = await shop.letters()
    position = f"redis://{shop.stream}/{bad.decode()}"
    assert (letter.id, letter.code, letter.group, letter.attempts) == (
        f"{GROUP}@{position}",
        "delivery.exhausted",
        GROUP,
        letter.attempts,
    )
    assert letter.attempts >= 3
    assert (letter.event_id, letter.aggregate_id, str(letter.origin)) == ("e-1", "o-1", position)
    assert "worker-1" in letter.message
    assert letter.record is not None
    assert letter.record.headers == (("own", b"1"),)
    assert await sidecar.poll() == 0


async def test_entries_in_work_are_left_alone(shop: Shop) -> None:
    sidecar = await shop.sidecar(ExhaustedConfig(deliveries=3, idle=Duration(600)))
    await shop.add(1)
    await shop.give(5)
    assert await sidecar.poll() == 0
    assert await shop.letters() == []


async def test_entries_pending_for_too_long_are_dead_lettered(shop: Shop) -> None:
    sidecar = await shop.sidecar(ExhaustedConfig(deliveries=100, idle=Duration(600), pending=Duration(0.005)))
    await shop.add(1)
    await shop.client.xreadgroup(GROUP, "worker-1", {shop.stream: ">"})
    await asyncio.sleep(0.02)
    assert await sidecar.poll() == 1


async def test_many_sidecars_take_each_entry_once(shop: Shop) -> None:
    sidecars = [await shop.sidecar() for _ in range(3)]
    for number in range(250):
        await shop.add(number)
    await shop.give(3)
    await asyncio.sleep(0.01)
    for _ in range(4):
        await asyncio.gather(*(one.poll() for one in sidecars))
    letters = await shop.letters()
    assert len({letter.id for letter in letters}) == len(letters) == 250
    assert sum(one.taken for one in sidecars) == 250
    assert await shop.pending() == ["0-1"]


async def test_a_consumer_that_acknowledges_or_is_given_it_again_meanwhile_wins(shop: Shop) -> None:
    broker = shop.harness.broker(shop.stream, group="tracecar.other")
    await broker.start()
    exhausting = shop.exhausting(broker, NOW)
    first, second = await shop.add(1), await shop.add(2)
    await shop.give(3)
    await asyncio.sleep(0.01)
    seen = await broker.stuck(GROUP, 1)
    assert [str(one.position) for one in seen] == [f"redis://{shop.stream}/{id.decode()}" for id in (first, second)]
    await shop.client.xack(shop.stream, GROUP, first)
    await shop.give()
    for one in seen:
        await exhausting._take(one)
    assert exhausting.taken == 0
    assert await shop.letters() == []
    assert await shop.pending() == [second]


async def test_a_trimmed_entry_is_dead_lettered_without_its_body(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    await shop.add(1)
    await shop.give(3)
    await shop.client.execute_command("XTRIM", shop.stream, "MAXLEN", 0)
    await asyncio.sleep(0.01)
    assert await sidecar.poll() == 1
    (letter,) = await shop.letters()
    assert letter.omitted == ("body", "headers")
    assert "trimmed" in letter.message


async def test_no_entry_is_acknowledged_if_its_letter_cannot_be_written(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    id = await shop.add(1)
    await shop.give(3)
    await shop.client.set(f"{shop.stream}.dlt", "no stream")
    await asyncio.sleep(0.01)
    with pytest.raises(Refused, match="not a stream"):
        await sidecar.poll()
    assert await shop.pending() == [id]


async def test_a_group_that_is_not_there_is_no_trouble(shop: Shop) -> None:
    sidecar = await shop.sidecar()
    await shop.client.xgroup_destroy(shop.stream, GROUP)
    assert await sidecar.poll() == 0


async def test_check_reports_the_streams_of_the_group(shop: Shop) -> None:
    broker = shop.harness.broker(shop.stream, group="tracecar.check")
    broker._config = replace(broker._config, exhausted={GROUP: NOW, "absent": NOW})
    said = {one.what: (one.ok, one.detail) for one in await broker.inspect()}
    assert said[f"sources.redis.exhausted: {GROUP}: {shop.stream}"] == (True, "is allowed")
    assert "no group absent" in said[f"sources.redis.exhausted: absent: {shop.stream}"][1]


async def test_entries_behind_many_that_are_merely_slow_are_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.adapters.brokers.redis.exhausted_entries.PAGE_ENTRIES", 5)
    monkeypatch.setattr("sidecar.adapters.brokers.redis.exhausted_entries.MAX_PAGES", 2)
    sidecar = await shop.sidecar()
    for number in range(32):
        await shop.add(number)
    await shop.client.xreadgroup(GROUP, "worker-1", {shop.stream: ">"})
    bad = (await shop.pending())[-1]
    for _ in range(3):
        await shop.client.xclaim(shop.stream, GROUP, "worker-1", 0, [bad])
    await asyncio.sleep(0.01)
    assert [await sidecar.poll() for _ in range(4)] == [0, 0, 0, 1]
    assert bad not in await shop.pending()


async def test_one_that_was_claimed_without_being_counted_is_left(shop: Shop) -> None:
    broker = shop.harness.broker(shop.stream, group="tracecar.claims")
    await broker.start()
    exhausting = shop.exhausting(broker, NOW)
    id = await shop.add(1)
    await shop.give(3)
    await asyncio.sleep(0.05)
    (seen,) = await broker.stuck(GROUP, 1)
    await shop.client.xclaim(shop.stream, GROUP, "worker-1", 0, [id], justid=True)
    await exhausting._take(seen)
    assert (exhausting.taken, await shop.pending()) == (0, [id])


async def test_status_reports_what_prevents_dead_lettering(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.pipeline.pending_entry_reaper.POLL_INTERVAL_S", 0.05)
    await shop.add(1)
    await shop.give(3)
    await shop.client.set(f"{shop.stream}.dlt", "no stream")
    source = RedisConfig(url=shop.harness.url, streams=[shop.stream], exhausted={GROUP: NOW})
    api = ApiConfig(port=0, token_file=str(tmp_path / "token"))
    service = build_service(Config(service="exhausted", sources=SourcesConfig(redis=source), api=api))
    running = asyncio.create_task(service.run())

    async def trouble() -> str:
        return " ".join((await service.status.status()).trouble)

    async def told() -> bool:
        return "exhausted entries (sources.redis.exhausted) are not dead-lettered" in await trouble()

    try:
        await until(told)
        assert f"{shop.stream}.dlt is a string, not a stream" in await trouble()
        await shop.client.delete(f"{shop.stream}.dlt")

        async def over() -> bool:
            return not await told() and await shop.client.xlen(f"{shop.stream}.dlt") == 1

        await until(over)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
