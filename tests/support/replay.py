"""Sidecars that replay on a memory log: the pipeline writes the letters, `ReplayService` sends them again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.config.schema import EnvelopeConfig
from sidecar.dead_letters.ledger_entries import Actor
from sidecar.dead_letters.store import ANY, DeadLetterFilter, DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.model import Outgoing, Record, Rejection
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.index import Node
from sidecar.domain.redaction import Redactor
from sidecar.domain.stream_names import StreamNames
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.pipeline import now_micros
from sidecar.query import parse
from sidecar.replay.export_import import LetterTransfer
from sidecar.replay.failure_reports import FailureReports
from sidecar.replay.job_control import build_broker_replays, waits_in_replay
from sidecar.replay.models import BodyEdit, ReplayJob
from sidecar.replay.service import ReplayService
from sidecar.replay.step_planner import BodyEditor
from tests.support.conditions import until
from tests.support.faulty_broker import FaultyBroker
from tests.support.pipeline import GROUP, SCHEMA, Harness
from tests.support.schema_formats import FORMATS

ANN = Actor("ann", "127.0.0.1")


@dataclass(frozen=True)
class Source:
    broker: Broker
    naming: StreamNames
    group: str


class Queries:
    """Queries about fields of letters."""

    def build_filter(self, query: str) -> DeadLetterFilter:
        if not query:
            return ANY
        parsed = parse(query)
        return DeadLetterFilter(
            parsed.matches_letter, by_state=parsed.asks("state"), by_later_lives=parsed.asks("state")
        )

    async def fits(self, records: Sequence[Record], query: str) -> list[bool]:
        """Return which values contain the query."""
        return [query.encode() in (record.value or b"") for record in records]

    async def in_sight(self, system: str, stream: str) -> bool:
        return stream == "orders"


class NoHistory:
    nodes: dict[str, list[Node]] = {}

    async def aggregate(self, id: str, limit: int = 1000) -> list[Node]:
        return self.nodes.get(id, [])


@dataclass(frozen=True)
class Edited:
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    changes: tuple[object, ...] = ()


async def replace_body(record: Record, edit: BodyEdit, target: str) -> Edited:
    """A simple editor: the `set` value of `body` is the new body."""
    return Edited(str(edit.set["body"]).encode(), record.headers)


async def all_pass(outgoing: Sequence[Outgoing]) -> list[Rejection | None]:
    return [None] * len(outgoing)


class Sidecar(ReplayService):
    """A replay service, with the parts that tests look at."""

    desk: DeadLetterStore
    follower: ConsumerGroupTracker
    broker: FaultyBroker


class Shop:
    """A stream `orders` whose bad events become letters, and sidecars that replay them."""

    def __init__(self, partitions: int = 1) -> None:
        self.log = MemoryLog()
        self.log.create("orders", partitions)
        self.registry = MemoryRegistry()
        self.harness = Harness(self.log, self.registry)
        self._sidecars: list[Sidecar] = []
        self._catalogs: list[SchemaCache] = []

    async def sidecar(self, **settings: object) -> Sidecar:
        harness = Harness(self.log, self.registry)
        await harness.broker.start()
        source = Source(harness.broker, harness.broker._naming, GROUP)
        follower = ConsumerGroupTracker([harness.broker])
        queries, writer = Queries(), DeadLetterWriter(source.naming, GROUP, "shop", now_micros)
        editor: BodyEditor = replace_body  # type: ignore[assignment]
        hide_edit: Any = settings.pop("hide_edit", lambda edit: edit)
        broker_replays = build_broker_replays(
            [source], follower, editor, queries.in_sight, queries.fits, hide_edit=hide_edit
        )
        desk = DeadLetterStore([source], 5, partial(waits_in_replay, broker_replays))
        catalog = SchemaCache(self.registry, FORMATS)
        self._catalogs.append(catalog)
        payloads = PayloadReader({"memory": harness.broker}, EventDecoder(catalog, EnvelopeConfig()), PayloadCache())
        operations = Sidecar(
            broker_replays,
            store=desk,
            queries=queries,
            tracker=follower,
            index=NoHistory(),
            editor=editor,
            check_records=lambda system: all_pass,
            exporting=LetterTransfer([source], desk, payloads, Redactor(()), now_micros),
            reporting=FailureReports([source], payloads, queries.in_sight, lambda source: writer, now_micros),
            selection=settings.pop("selection", 1000),  # type: ignore[arg-type]
        )
        operations.desk, operations.follower, operations.broker = desk, follower, harness.broker
        self._sidecars.append(operations)
        return operations

    async def letters(self, *bodies: object, partition: int = 0) -> None:
        """Produce rejected events, and wait for their letters."""
        before = len(self.harness.letters())
        self.harness.produce(*bodies, partition=partition)
        await until(lambda: len(self.harness.letters()) == before + len(bodies))

    def contents(self, stream: str = "orders") -> list[Record]:
        return [record for part in self.log.streams.get(stream, []) for record in part.records]

    def replayed(self, stream: str = "orders") -> list[Record]:
        return [one for one in self.contents(stream) if "tracecar.replay-id" in dict(one.headers)]

    async def close(self) -> None:
        for one in self._sidecars:
            await one.close()
            await one.broker.close()
        for catalog in self._catalogs:
            await catalog.close()


@asynccontextmanager
async def shop(partitions: int = 1) -> AsyncIterator[Shop]:
    made = Shop(partitions)
    made.registry.register("orders-value", SCHEMA)
    try:
        async with made.harness.running():
            yield made
    finally:
        await made.close()


async def ended(operations: Sidecar, job: ReplayJob) -> ReplayJob:
    """Return the job once it no longer runs."""
    async with asyncio.timeout(30):
        while True:
            job = await operations.job(job.id)
            if job.state != "running":
                return job
            await asyncio.sleep(0.01)


async def states(operations: Sidecar) -> dict[str, str]:
    """Return the states of all letters by the last part of their origin's position."""
    found = await operations.desk.newest(0)
    return {str((one.letter.origin or one.letter.position).offset): one.state for one in found.letters}
