"""From configuration to adapters: the only module that names concrete ones. Client libraries are imported when a broker
is built, so that a Redis sidecar never loads the Kafka client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.adapters.brokers.kafka.adapter import KafkaAdapter
from sidecar.adapters.brokers.redis.adapter import RedisAdapter
from sidecar.adapters.brokers.source import BrokerAdapter
from sidecar.adapters.brokers.source import BrokerSource as BrokerSource
from sidecar.config.schema import Config
from sidecar.domain.broker_traits import register_traits
from sidecar.domain.ports.broker import Broker, Finding
from sidecar.domain.ports.registry import Registry

if TYPE_CHECKING:
    from exporters.telemetry import Telemetry
    from sidecar.adapters.index.memory.index import MemoryIndex
    from sidecar.adapters.index.redis.index import RedisIndex
    from sidecar.decoding.formats.schema_format import SchemaFormats

BATCH = 500
"""Records of a batch: some five milliseconds of work."""


BROKER_ADAPTERS: tuple[BrokerAdapter, ...] = (
    KafkaAdapter(),
    RedisAdapter(),
)
"""Every kind of broker: a new one is a package and a line here."""


def register_brokers() -> None:
    """Make positions of every kind of broker readable and writable, also of brokers that this sidecar does not read."""
    for adapter in BROKER_ADAPTERS:
        register_traits(adapter.traits)


def sources(config: Config) -> list[BrokerSource]:
    """Build the brokers that the configuration names. Raises ConfigError."""
    register_brokers()
    found = [adapter.build_source(config, max_records=BATCH) for adapter in BROKER_ADAPTERS]
    return [source for source in found if source is not None]


def brokers(config: Config) -> list[Broker]:
    return [source.broker for source in sources(config)]


def registry(config: Config) -> Registry | None:
    """The schema registry; None where none is configured: nothing is checked then."""
    if config.registry.url is not None:
        from sidecar.adapters.registry.confluent import ConfluentRegistry

        return ConfluentRegistry(config.registry)
    if config.registry.directory is not None:
        from sidecar.adapters.registry.directory import DirectoryRegistry

        return DirectoryRegistry(config.registry.directory)
    return None


def schema_formats() -> SchemaFormats:
    """The schema languages that events can be decoded and checked with, by the kind that registries name."""
    from sidecar.decoding.formats.avro.avro_format import AvroFormat

    return {"AVRO": AvroFormat()}


def index(config: Config) -> MemoryIndex | RedisIndex:
    """The index: in memory, unless a shared one is configured."""
    shared = shared_index(config)
    if shared is not None:
        return shared
    from sidecar.adapters.index.memory.index import MemoryIndex
    from sidecar.config.schema import MemoryIndexConfig

    bound = (config.index.memory or MemoryIndexConfig()).max_events
    return MemoryIndex(bound, join=config.correlation.join, max_flow=config.correlation.max_flow)


def shared_index(config: Config) -> RedisIndex | None:
    """The index that several sidecars share, where one is configured."""
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
    )


def telemetry(config: Config, sources: Sequence[BrokerSource]) -> Telemetry:
    """What leaves about the events: traces, metrics and logs, as configured. Raises ConfigError."""
    from exporters.telemetry import Telemetry
    from exporters.tracing.span_mapper import DeadLetterTarget
    from sidecar.decoding.envelope.extractor import BUILT_IN_LOCATIONS
    from sidecar.domain.redaction import Redactor

    places = {word: [*getattr(config.envelope, word), *built_in] for word, built_in in BUILT_IN_LOCATIONS.items()}
    letters = {
        source.broker.system: DeadLetterTarget(
            source.group, source.naming.dead_letter_stream if config.dead_letters.enabled else None
        )
        for source in sources
    }
    servers = {source.broker.system: source.server for source in sources if source.server is not None}
    redactor = Redactor(config.redact, places, free_text=config.redact_messages)
    return Telemetry(config, letters, servers, redactor)


def try_exporters(config: Config) -> list[Finding]:
    """Whether telemetry gets to where it goes. Blocks. Raises ConfigError."""
    from exporters.preflight import check_backends

    return list(check_backends(config))
