"""The composition root: builds a sidecar from its configuration.

Only this module names adapters. Client libraries are imported when a broker is built, so that a Redis sidecar never
loads the Kafka client. Every object is complete when its constructor returns: what two objects need of each other is
built as a third object before both, or passed to `SidecarService.run` as an event hook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from sidecar.adapters.brokers.kafka.adapter import KafkaAdapter
from sidecar.adapters.brokers.redis.adapter import RedisAdapter
from sidecar.adapters.brokers.source import BrokerAdapter
from sidecar.adapters.brokers.source import BrokerSource as BrokerSource
from sidecar.api.http.server import ApiServer
from sidecar.api.mappers.events import EventMapper
from sidecar.api.services.letter_queries import LetterQueryCompiler
from sidecar.api.services.payloads import PayloadCache, PayloadReader
from sidecar.api.services.stored_payloads import StoredPayloads
from sidecar.config.schema import Config, MemoryIndexConfig
from sidecar.config.string_formats import parse_size
from sidecar.dead_letters.store import DeadLetterStore
from sidecar.dead_letters.writer import DeadLetterCallback, DeadLetterWriter
from sidecar.decoding.decoder import EventDecoder
from sidecar.decoding.envelope.extractor import BUILT_IN_LOCATIONS
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.broker_traits import register_traits
from sidecar.domain.model import Event
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.history_sql import HistorySql
from sidecar.domain.ports.metrics import InstrumentSource
from sidecar.domain.ports.reducer import Reducer
from sidecar.domain.ports.registry import Registry
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.pipeline.event_fan_out import EventFanOut, EventViewers
from sidecar.pipeline.held_streams import HeldStreamControl
from sidecar.pipeline.history_writer import MaintainedHistory
from sidecar.pipeline.index_backfill import IndexBackfill
from sidecar.pipeline.live_stream import LiveStream
from sidecar.pipeline.output_router import OutputRouter
from sidecar.pipeline.pending_entry_reaper import PendingEntryBroker, PendingEntryReaper
from sidecar.pipeline.pipeline import Pipeline, now_micros
from sidecar.pipeline.stream_counters import StreamCounters
from sidecar.pipeline.unowned_partition_reader import UnownedPartitionReader
from sidecar.replay.job_control import ReplaySource
from sidecar.replay.service import ReplayService
from sidecar.runtime.api_wiring import build_api_services, build_letter_queries
from sidecar.runtime.cluster_members import MemberDirectory
from sidecar.runtime.history_metrics import HistoryMetrics
from sidecar.runtime.history_wiring import HistoryRecording, build_history_recording, describe_history_trouble
from sidecar.runtime.insight_wiring import Insights, build_insights, build_ownership
from sidecar.runtime.membership_wiring import build_membership, build_relay, build_unowned_reader
from sidecar.runtime.memory_trimmer import MemoryTrimmer
from sidecar.runtime.metrics import (
    ConsumerGroupMetrics,
    DeadLetterMetrics,
    ExporterMetrics,
    MembershipMetrics,
    StatusMetrics,
)
from sidecar.runtime.replay_wiring import build_replays
from sidecar.runtime.service import SidecarService
from sidecar.runtime.status import StatusReporter, StatusSources
from sidecar.runtime.telemetry_wiring import build_telemetry, build_telemetry_session

if TYPE_CHECKING:
    from exporters.telemetry import Telemetry
    from sidecar.adapters.index.memory.index import MemoryIndex
    from sidecar.adapters.index.redis.index import RedisIndex
    from sidecar.decoding.formats.schema_format import SchemaFormats

MAX_RECORDS_PER_BATCH = 500
"""Records of a batch: about five milliseconds of work."""

BROKER_ADAPTERS: tuple[BrokerAdapter, ...] = (
    KafkaAdapter(),
    RedisAdapter(),
)
"""Every kind of broker. A new one is a package and one line here."""


def register_brokers() -> None:
    """Make positions of every kind of broker readable and writable, also of brokers that this sidecar does not use."""
    for adapter in BROKER_ADAPTERS:
        register_traits(adapter.traits)


def build_sources(config: Config) -> list[BrokerSource]:
    """Build the brokers that the configuration names. Raises ConfigError."""
    register_brokers()
    sources = [adapter.build_source(config, max_records=MAX_RECORDS_PER_BATCH) for adapter in BROKER_ADAPTERS]
    return [source for source in sources if source is not None]


def build_registry(config: Config) -> Registry | None:
    """Build the schema registry; None if none is configured, so that events stay unchecked."""
    if config.registry.url is not None:
        from sidecar.adapters.registry.confluent import ConfluentRegistry

        return ConfluentRegistry(config.registry)
    if config.registry.directory is not None:
        from sidecar.adapters.registry.directory import DirectoryRegistry

        return DirectoryRegistry(config.registry.directory)
    return None


def build_schema_formats() -> SchemaFormats:
    """Build the schema languages with which events can be decoded and checked, by the kind that registries name."""
    from sidecar.decoding.formats.avro.avro_format import AvroFormat

    return {"AVRO": AvroFormat()}


def build_memory_index(config: Config) -> MemoryIndex:
    """Build the index of a sidecar without a shared index."""
    from sidecar.adapters.index.memory.index import MemoryIndex

    bound = (config.index.memory or MemoryIndexConfig()).max_events
    return MemoryIndex(bound, join=config.correlation.join, max_flow=config.correlation.max_flow)


def build_shared_index(config: Config) -> RedisIndex | None:
    """Build the index that several sidecars share; None if none is configured."""
    shared = config.index.redis
    if shared is None:
        return None
    from sidecar.adapters.index.redis.index import RedisIndex

    return RedisIndex(
        shared.url,
        join=config.correlation.join,
        max_flow=config.correlation.max_flow,
        ttl_ms=int(float(shared.ttl) * 1000),
        max_events=shared.max_events,
        prefix=shared.prefix,
        tls=shared.tls,
        redact=build_redactor(config).stored_event if config.redact else None,
    )


def build_history(config: Config) -> tuple[MaintainedHistory, HistorySql] | tuple[None, None]:
    """Build the history and its SQL; None without one. Raises ConfigError, or Refused for unusable storage."""
    if config.history is None:
        return None, None
    from sidecar.adapters.history.builder import build_parquet_history

    return build_parquet_history(config.history)


def build_redactor(config: Config) -> Redactor:
    """Build the redactor, through which everything passes that leaves the process."""
    places = {word: [*getattr(config.envelope, word), *built_in] for word, built_in in BUILT_IN_LOCATIONS.items()}
    return Redactor(config.redact, places, free_text=config.redact_messages)


def build_function_reducer(config: Config, name: str) -> Reducer:
    """Build a reducer that is a Python function, `module:function`."""
    from sidecar.adapters.reducers.process import ProcessReducer

    process = config.aggregates.process
    return ProcessReducer(
        name, path=process.path, timeout_s=float(process.timeout), memory_bytes=parse_size(process.memory)
    )


@dataclass(frozen=True)
class _Foundation:
    """Objects that most others need, and that need none of them."""

    config: Config
    sources: list[BrokerSource]
    brokers: list[Broker]
    shared_index: RedisIndex | None
    index: MemoryIndex | RedisIndex
    history: MaintainedHistory | None
    sql: HistorySql | None
    recording: HistoryRecording | None
    catalog: SchemaCache
    decoder: EventDecoder
    counters: StreamCounters
    telemetry: Telemetry
    groups: ConsumerGroupTracker
    live: LiveStream
    cache: PayloadCache
    payloads: PayloadReader
    mapper: EventMapper
    backfill: IndexBackfill


def _build_foundation(config: Config) -> _Foundation:
    sources = build_sources(config)
    brokers = [source.broker for source in sources]
    shared_index = build_shared_index(config)
    index = shared_index or build_memory_index(config)
    history, sql = build_history(config)
    catalog = SchemaCache(build_registry(config), build_schema_formats(), require=config.registry.require)
    redactor = build_redactor(config)
    decoder = EventDecoder(catalog, config.envelope, hides=redactor.hides_place)
    telemetry, cache = build_telemetry(config, sources, build_redactor(config)), PayloadCache()
    return _Foundation(
        config=config,
        sources=sources,
        brokers=brokers,
        shared_index=shared_index,
        index=index,
        history=history,
        sql=sql,
        recording=build_history_recording(config, history, decoder, build_redactor(config)),
        catalog=catalog,
        decoder=decoder,
        counters=StreamCounters(),
        telemetry=telemetry,
        groups=ConsumerGroupTracker(brokers),
        live=LiveStream(),
        cache=cache,
        payloads=PayloadReader(
            {broker.system: broker for broker in brokers},
            decoder,
            cache,
            None if history is None else StoredPayloads(history),
        ),
        mapper=EventMapper(redactor),
        backfill=IndexBackfill(
            index,
            decoder,
            lookback=float(config.index.lookback),
            max_events=index.max_events,
            remember=telemetry.remember,
        ),
    )


def build_service(config: Config) -> SidecarService:
    """Build a sidecar without starting it. Call it within a running event loop. Raises ConfigError."""
    base = _build_foundation(config)
    viewers = EventViewers(base.live, base.cache)
    shared, groups = base.shared_index, [source.group for source in base.sources]
    directory = None if shared is None else MemberDirectory(shared, groups=groups)
    relay = build_relay(shared, directory, base.live, base.backfill, viewers, base.brokers, secret=bool(config.redact))
    insights = build_insights(config, base.index, base.history, base.payloads, base.mapper)
    fan_out = EventFanOut(base.index, viewers, relay, [base.telemetry], insights.observers)
    pipelines = [_build_pipeline(base, source, fan_out) for source in base.sources]
    on_dead_letter = _late_dead_letter_hook(base)
    reapers = _build_reapers(base, on_dead_letter)
    letters, queries, replays = _build_dead_letters(base, on_dead_letter)
    trouble = [*(reaper.sentences for reaper in reapers), replays.trouble, *describe_history_trouble(base.recording)]
    status = StatusReporter(_build_status_sources(base, pipelines), members=directory, further_trouble=trouble)
    ownership = build_ownership(directory, pipelines)
    metrics = [*_build_metrics(base, status, directory), *insights.build_metrics(ownership)]
    telemetry = build_telemetry_session(base.telemetry, metrics)
    services = build_api_services(
        config=config,
        build_reducer=partial(build_function_reducer, config),
        brokers=base.brokers,
        index=base.index,
        history=base.history,
        sql=base.sql,
        recording=base.recording,
        payloads=base.payloads,
        mapper=base.mapper,
        catalog=base.catalog,
        groups=base.groups,
        live=base.live,
        letters=letters,
        queries=queries,
        operations=replays,
        status=status,
        metrics=telemetry.metrics,
        held=HeldStreamControl(pipelines),
        sagas=insights.sagas,
    )
    return SidecarService(
        server=ApiServer(services, config),
        status=status,
        counters=base.counters,
        index=base.index,
        history=base.history,
        recording=base.recording,
        catalog=base.catalog,
        telemetry=telemetry,
        membership=build_membership(shared, relay, status, base.counters, base.live, config.service, groups),
        backfill=base.backfill,
        pipelines=pipelines,
        groups=base.groups,
        unowned_reader=build_unowned_reader(
            config, base.brokers, base.index, base.backfill, viewers, insights.observers
        ),
        replays=replays,
        reapers=reapers,
        monitors=insights.build_monitors(services.lint, ownership),
        trimmer=MemoryTrimmer(),
    )


def _build_unowned_reader(
    base: _Foundation, viewers: EventViewers, insights: Insights
) -> UnownedPartitionReader | None:
    return build_unowned_reader(base.config, base.brokers, base.index, base.backfill, viewers, insights.observers)


def _build_metrics(
    base: _Foundation, status: StatusReporter, directory: MemberDirectory | None
) -> list[InstrumentSource]:
    return [
        StatusMetrics(status.status),
        DeadLetterMetrics(base.counters),
        ExporterMetrics(base.telemetry.destinations, base.telemetry.tracing),
        ConsumerGroupMetrics(base.groups, base.index, base.telemetry.record_delivery),
        MembershipMetrics(base.shared_index, list if directory is None else directory.rows),
        HistoryMetrics(base.recording),
    ]


def _build_status_sources(base: _Foundation, pipelines: Sequence[Pipeline]) -> StatusSources:
    return StatusSources(
        config=base.config,
        counters=base.counters,
        catalog=base.catalog,
        live=base.live,
        index=base.index,
        exporters=base.telemetry.destinations,
        pipelines=pipelines,
    )


def _build_pipeline(base: _Foundation, source: BrokerSource, fan_out: EventFanOut) -> Pipeline:
    write_letter = _build_writer(base, source).write if base.config.dead_letters.enabled else None
    return Pipeline(
        source.broker,
        base.decoder,
        base.catalog,
        fan_out,
        OutputRouter(write_letter, source.naming, source.gate),
        base.counters,
        base.backfill,
        base.config,
        source.group,
        None if base.recording is None else base.recording.feed,
    )


def _build_writer(base: _Foundation, source: ReplaySource) -> DeadLetterWriter:
    config, redactor = base.config, base.mapper.redactor
    return DeadLetterWriter(
        source.naming, source.group, config.service, now_micros, config.dead_letters.dialects, redactor
    )


def _late_dead_letter_hook(base: _Foundation) -> DeadLetterCallback:
    def on_dead_letter(event: Event, group: str, id: str) -> None:
        """Count a durable dead letter that no commit wrote: of a failure report, or of an exhausted entry."""
        base.counters.add_late_dead_letter(event.position.system, event.position.stream)
        base.telemetry.dead_lettered(event, group, id)

    return on_dead_letter


def _build_reapers(base: _Foundation, on_dead_letter: DeadLetterCallback) -> list[PendingEntryReaper]:
    return [
        PendingEntryReaper(
            cast("PendingEntryBroker", source.broker),
            source.exhausted,
            base.payloads,
            _build_writer(base, source),
            on_dead_letter,
        )
        for source in base.sources
        if source.exhausted and base.config.dead_letters.enabled
    ]


def _build_dead_letters(
    base: _Foundation, on_dead_letter: DeadLetterCallback
) -> tuple[DeadLetterStore, LetterQueryCompiler, ReplayService]:
    queries = build_letter_queries(base.brokers, base.index, base.payloads, base.mapper)
    letters, replays = build_replays(
        base.sources,
        queries=queries,
        payloads=base.payloads,
        redactor=base.mapper.redactor,
        catalog=base.catalog,
        groups=base.groups,
        index=base.index,
        build_writer=partial(_build_writer, base),
        limits=base.config.dead_letters.replay,
        on_dead_letter=on_dead_letter,
    )
    return letters, queries, replays
