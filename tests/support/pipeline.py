"""A whole pipeline with broker and registry in memory, the real decoder, and a recording event sink."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.config.schema import (
    BreakerConfig,
    Config,
    DeadLettersConfig,
    EnvelopeConfig,
    RedisConfig,
    RegistryConfig,
    SourcesConfig,
)
from sidecar.config.value_types import Duration, StartPosition
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage
from sidecar.domain.model import Decoded, Event, Outgoing, Record
from sidecar.domain.position import Partition, Position
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.pipeline import Pipeline, now_micros
from sidecar.pipeline.stream_counters import StreamCounters
from tests.support.faulty_broker import FaultyBroker
from tests.support.schema_formats import FORMATS

GROUP = "tracecar.shop"
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [{"name": "eventId", "type": "string"}, {"name": "qty", "type": "int"}],
    }
)


class Shown:
    """An index and a live subscriber that only record."""

    def __init__(self) -> None:
        self.events: dict[Position, Event] = {}
        self.live: list[Event] = []
        self.lost: list[Partition] = []
        self.since: dict[Partition, int] = {}
        self.filled: list[Partition] = []

    def publish(self, decoded: Sequence[Decoded], *, is_redelivery: bool) -> None:
        self.add([one.event for one in decoded])
        if not is_redelivery:
            self.live.extend(one.event for one in decoded)

    def discard(self, partition: Partition, before: int) -> None:
        self.events = {position: event for position, event in self.events.items() if position.log != partition}

    def add(self, events: Sequence[Event]) -> None:
        self.events.update({event.position: event for event in events})

    def covering(self, partition: Partition, since_ms: int) -> None:
        self.since[partition] = since_ms

    def filling(self, partition: Partition, under_way: bool) -> None:
        if not under_way:
            self.filled.append(partition)

    def forget(self, partition: Partition) -> None:
        self.lost.append(partition)

    async def room(self) -> None:
        pass


class Harness:
    """One sidecar's pipeline on a memory log."""

    def __init__(self, log: MemoryLog, registry: MemoryRegistry, **settings: object) -> None:
        self.log, self.registry = log, registry
        breaker = settings.pop("breaker", BreakerConfig(ratio=0.5, window=Duration(60), minimum=1_000_000))
        letters, gate = settings.pop("letters", True), settings.pop("gate", {})
        history = settings.pop("history", None)
        lookback = float(settings.pop("lookback", 0))  # type: ignore[arg-type]
        self.config = Config(
            service="shop",
            sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1", streams=["orders"])),
            dead_letters=DeadLettersConfig(breaker=breaker),  # type: ignore[arg-type]
            registry=RegistryConfig(directory="unused", **settings),  # type: ignore[arg-type]
        )
        naming = self.config.stream_names(GROUP)
        self.broker = FaultyBroker(log, ["orders"], GROUP, naming, start=StartPosition("earliest"), max_records=10)
        self.catalog = SchemaCache(registry, FORMATS)
        self.shown, self.counters = Shown(), StreamCounters()
        self.ended: BaseException | None = None
        """The error that ended the run before it was stopped."""
        judge = EventDecoder(self.catalog, EnvelopeConfig())
        self.pipeline = Pipeline(
            self.broker,
            judge,
            self.catalog,
            self.shown,
            OutputRouter(DeadLetterWriter(naming, GROUP, "shop", now_micros).write if letters else None, naming, gate),
            self.counters,
            IndexBackfill(self.shown, judge, lookback=lookback, max_events=1000),  # type: ignore[arg-type]
            self.config,
            GROUP,
            history(judge) if callable(history) else None,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Harness]:
        task = asyncio.ensure_future(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.pipeline.drain()
            await self.broker.close()
            await self.catalog.close()

    async def _run(self) -> None:
        try:
            await self.pipeline.run()
        except Exception as error:
            self.ended = error

    def produce(self, *bodies: object, partition: int = 0) -> None:
        for body in bodies:
            value = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.log.append(Outgoing("orders", b"k", value, (("h", b"1"),), partition=partition))

    def good(self, count: int, start: int = 0) -> list[object]:
        return [{"eventId": f"e-{number}", "qty": 1} for number in range(start, start + count)]

    def bad(self, count: int, start: int = 0) -> list[object]:
        return [{"eventId": f"e-{number}", "qty": "two"} for number in range(start, start + count)]

    def letters(self) -> list[Record]:
        return [record for part in self.log.streams.get("orders.dlt", []) for record in part.records]

    def origins(self) -> list[str]:
        return [dict(letter.headers)["tracecar.origin"].decode() for letter in self.letters()]  # type: ignore[union-attr]

    def committed(self, partition: int = 0) -> int:
        group = self.log.groups.get(GROUP)
        return -1 if group is None else group.committed.get(Partition("memory", "orders", partition), -1)

    def held(self) -> str | None:
        held = self.pipeline.find_hold("orders")
        return None if held is None else held.hold.by


def registry(outage: bool = False) -> MemoryRegistry:
    found = MemoryRegistry()
    found.register("orders-value", SCHEMA)
    if outage:
        found.trouble = Outage("connection refused")
    return found


def harness(partitions: int = 1, *, outage: bool = False, **settings: object) -> Harness:
    log = MemoryLog()
    log.create("orders", partitions)
    return Harness(log, registry(outage), **settings)
