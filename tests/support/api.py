"""A sidecar whose broker and registry are in memory; decoder, index, dead letters and HTTP server are real."""

from __future__ import annotations

import inspect
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from litestar.utils.signature import ParsedSignature

from exporters.metrics.instruments import MetricsRegistry
from sidecar.adapters.brokers.memory.log import MemoryLog
from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.adapters.registry.memory import MemoryRegistry
from sidecar.api import models
from sidecar.api.client.client import Client
from sidecar.api.http.server import ApiServer
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.api.services.stored_payloads import StoredPayloads
from sidecar.config.aggregate_schema import AggregatesConfig
from sidecar.config.schema import (
    ApiConfig,
    CatalogConfig,
    Config,
    EnvelopeConfig,
    HealthConfig,
    HistoryConfig,
    LintConfig,
    RedisConfig,
    RegistryConfig,
    ReplayConfig,
    SagaConfig,
    SourcesConfig,
    TokenConfig,
)
from sidecar.config.value_types import StartPosition
from sidecar.dead_letters.writer import DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Refused
from sidecar.domain.model import Decoded, Headers, Outgoing, Record
from sidecar.domain.ports.history import History
from sidecar.domain.ports.history_sql import HistorySql
from sidecar.domain.position import Position
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.pipeline import SkipOutcome
from sidecar.replay.service import ReplayService
from sidecar.runtime.api_wiring import build_api_services, build_letter_queries
from sidecar.runtime.insight_wiring import build_saga_monitor
from sidecar.runtime.metrics import StatusMetrics
from sidecar.runtime.replay_wiring import build_replays
from sidecar.runtime.wiring import BrokerSource, build_function_reducer, build_redactor
from tests.support.faulty_broker import FaultyBroker
from tests.support.schema_formats import FORMATS

OPERATOR, READER, REPORTER = "operators-token-0123456789", "readers-token-0123456789", "reporters-token-0123456789"
GROUP = "tracecar.shop"
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "eventId", "type": "string"},
            {"name": "eventType", "type": "string"},
            {"name": "aggregateId", "type": ["null", "string"], "default": None},
            {"name": "correlationId", "type": ["null", "string"], "default": None},
            {"name": "causationId", "type": ["null", "string"], "default": None},
            {"name": "data", "type": {"type": "map", "values": ["null", "string", "int", "double"]}, "default": {}},
        ],
    }
)


_WITHOUT_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For connections without TLS: loading the system's certificates takes longer than many a test."""


def _share_signatures() -> None:
    """Let all applications of this process share the parsed signatures of their routes.

    Each test builds an application, and a third of the time goes into reading the same annotations again.
    """
    parse = ParsedSignature.from_fn
    parsed: dict[Any, ParsedSignature] = {}

    def from_fn(fn: Any, signature_namespace: dict[str, Any]) -> ParsedSignature:
        if not inspect.isfunction(fn):
            return parse(fn, signature_namespace)
        key = (fn.__code__, fn.__defaults__, *(fn.__kwdefaults__ or {}).items())
        return parsed.get(key) or parsed.setdefault(key, parse(fn, signature_namespace))

    ParsedSignature.from_fn = from_fn  # type: ignore[method-assign, assignment]


_share_signatures()


def _build_log() -> MemoryLog:
    log = MemoryLog()
    log.create("orders", 4)
    log.create("payments", 1)
    log.create("free", 1)
    return log


class Sidecar:
    """The services behind the API. The test sets the status and the held streams."""

    operations: ReplayService

    def __init__(
        self,
        token_file: Path,
        *,
        redact: Sequence[str] = (),
        silenced: Sequence[str] = (),
        owners: Mapping[str, str] | None = None,
        sagas: Sequence[SagaConfig] = (),
        probes: bool = False,
        port: int = 0,
        aggregates: AggregatesConfig | None = None,
        history: History | None = None,
        sql: HistorySql | None = None,
    ) -> None:
        self.config = Config(
            service="shop",
            sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1", streams=["orders", "payments"])),
            registry=RegistryConfig(directory="unused"),
            api=ApiConfig(
                port=port,
                token=OPERATOR,
                token_file=str(token_file),
                tokens=[
                    TokenConfig(name="ada", token=READER, role="read"),
                    TokenConfig(name="svc", token=REPORTER, role="report"),
                ],
            ),
            health=HealthConfig(port=0 if probes else None),
            redact=list(redact),
            sagas=list(sagas),
            catalog=CatalogConfig(owners=dict(owners or {})),
            lint=LintConfig(ignore=list(silenced)),
            aggregates=aggregates or AggregatesConfig(),
            history=None if history is None else HistoryConfig(url="./history"),
        )
        self.log, self.registry = _build_log(), MemoryRegistry()
        self.registry.register("orders-value", SCHEMA)
        self.naming = self.config.stream_names(GROUP)
        self.broker = FaultyBroker(
            self.log, ["orders", "payments", "free"], GROUP, self.naming, start=StartPosition("earliest")
        )
        self.catalog = SchemaCache(self.registry, FORMATS)
        self.redactor = build_redactor(self.config)
        self.judge = EventDecoder(self.catalog, EnvelopeConfig(), hides=self.redactor.hides_place)
        self.index = MemoryIndex(10_000, join=self.config.correlation.join, max_flow=10_000)
        self.live = LiveStream()
        self.ready = True
        self.unready_reason = "kafka cannot be reached: check sources.kafka"
        self.held: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.follower = ConsumerGroupTracker([self.broker])
        source = BrokerSource(self.broker, GROUP, self.naming)
        self.cache, self.history, self.sql = PayloadCache(), history, sql
        stored = None if history is None else StoredPayloads(history)
        self.payloads = PayloadReader({self.broker.system: self.broker}, self.judge, self.cache, stored)
        self.redactor = build_redactor(self.config)
        self.metrics = MetricsRegistry([StatusMetrics(self.status)])
        self._build_services(source)

    def _build_services(self, source: BrokerSource) -> None:
        mapper = EventMapper(self.redactor)
        self.sagas = build_saga_monitor(self.config, self.index, self.history, self.payloads, mapper)
        queries = build_letter_queries([self.broker], self.index, self.payloads, mapper)
        self._letters = DeadLetterWriter(
            self.naming, GROUP, "shop", lambda: time.time_ns() // 1000, redactor=self.redactor
        )
        self.desk, self.operations = build_replays(
            [source],
            queries=queries,
            payloads=self.payloads,
            redactor=self.redactor,
            catalog=self.catalog,
            groups=self.follower,
            index=self.index,
            build_writer=lambda source: self._letters,
            limits=ReplayConfig(attempts=5, selection=1_000),
        )
        self.services = build_api_services(
            config=self.config,
            build_reducer=partial(build_function_reducer, self.config),
            brokers=[self.broker],
            index=self.index,
            history=self.history,
            sql=self.sql,
            recording=None,
            payloads=self.payloads,
            mapper=mapper,
            catalog=self.catalog,
            groups=self.follower,
            live=self.live,
            letters=self.desk,
            queries=queries,
            operations=self.operations,
            status=self,
            metrics=self.metrics,
            held=self,
            sagas=self.sagas,
        )
        self.serving = ApiServer(self.services, self.config)

    # --- sidecar.api.services.ports.StatusProvider

    async def status(self) -> models.ServiceStatus:
        held = self.index.coverage()
        return models.ServiceStatus(
            service="shop",
            version="0",
            ready=self.ready,
            filling=held.filling,
            streams=[self._stream(name) for name in ("orders", "payments")],
            index=models.IndexStatus(
                events=held.events, max_events=10_000, evicted=held.evicted, coverage=coverage(held)
            ),
            exporters=[],
            registry=models.RegistryStatus(reachable=self.catalog.reachable, schemas=self.catalog.schemas),
            uptime_s=1.5,
        )

    def _stream(self, name: str) -> models.StreamStatusModel:
        held = (
            models.HoldModel(since="2026-01-31T12:00:00Z", reason="9 of 10 were rejected")
            if name in self.held
            else None
        )
        return models.StreamStatusModel(
            stream=name, partitions=4, settled_here=4, lag=0, events=7, rejected=1, rate=0.5, held=held, system="memory"
        )

    # --- sidecar.api.services.ports.HeldStreams

    async def resume(self, stream: str) -> int:
        self.asked.append(("resume", stream))
        return self.held.pop(stream, 0)

    async def skip(self, stream: str) -> SkipOutcome:
        self.asked.append(("skip", stream))
        if stream in self.held:
            raise Refused("going on would lose dead letters")
        return SkipOutcome(0)

    # --- events

    async def pass_on(
        self, body: Any, stream: str = "orders", headers: Headers = (), key: bytes | None = None
    ) -> Decoded:
        """Publish an event and process it, as the pipeline does."""
        record = await self.broker.read(self.publish(body, stream, headers, key))
        assert record is not None
        return (await self.show([record]))[0]

    def publish(self, body: Any, stream: str = "orders", headers: Headers = (), key: bytes | None = None) -> Position:
        """Publish an event that the sidecar has not processed."""
        value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self.log.append(Outgoing(stream, key, value, headers, partition=0 if key is None else None))

    async def show(self, records: Sequence[Record]) -> list[Decoded]:
        decoded = await self.judge.decode_with_schemas(records)
        self.index.add([one.event for one in decoded])
        if self.sagas is not None:
            self.sagas.observe(decoded)
        self.cache.keep([one.record for one in decoded])
        self.live.publish(decoded)
        letters = [self._letters.write(one) for one in decoded if one.event.rejection is not None]
        if letters:
            await self.broker.publish(letters)
        return decoded

    # --- clients

    @property
    def url(self) -> str:
        return self.serving.url

    def client(self, token: str | None = OPERATOR) -> Client:
        return Client(self.url, token)

    def http(self, token: str | None = OPERATOR) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, trust_env=False, verify=_WITHOUT_CERTIFICATES)


@asynccontextmanager
async def serving(
    token_file: Path,
    *,
    redact: Sequence[str] = (),
    silenced: Sequence[str] = (),
    owners: Mapping[str, str] | None = None,
    sagas: Sequence[SagaConfig] = (),
    probes: bool = False,
    port: int = 0,
    aggregates: AggregatesConfig | None = None,
    history: History | None = None,
    sql: HistorySql | None = None,
) -> AsyncIterator[Sidecar]:
    """Run a sidecar with its API on a free port of the loopback interface."""
    sidecar = Sidecar(
        token_file,
        redact=redact,
        silenced=silenced,
        owners=owners,
        sagas=sagas,
        probes=probes,
        port=port,
        aggregates=aggregates,
        history=history,
        sql=sql,
    )
    await sidecar.broker.start()
    await sidecar.serving.start()
    try:
        yield sidecar
    finally:
        await sidecar.operations.close()
        await sidecar.serving.stop()
        await sidecar.broker.close()
        await sidecar.catalog.close()


def order(number: int, **more: Any) -> dict[str, Any]:
    """Build an event that matches its schema."""
    return {
        "eventId": f"e-{number}",
        "eventType": "OrderCreated",
        "aggregateId": f"o-{number}",
        "correlationId": None,
        "causationId": None,
        "data": {"total": 10 * number},
        **more,
    }


BAD = order(9, data={"total": [1]})
"""An event that breaks its schema."""


async def get_json(http: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    """Return the JSON of a route, which has to answer 200."""
    response = await http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def assert_problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """Assert that a response is a complete problem document (RFC 9457), and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem
