"""From configuration to adapters: the only module that names concrete ones. Each is imported when it is asked for, so
that a Redis sidecar never loads the Kafka client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.config.schema import Config, ExhaustedConfig
from sidecar.domain.errors import ConfigError, Mistake
from sidecar.domain.ports.broker import Broker, Finding
from sidecar.domain.ports.registry import Registry
from sidecar.domain.stream_names import StreamNames

if TYPE_CHECKING:
    from exporters.telemetry import Telemetry
    from sidecar.adapters.index.memory.index import MemoryIndex
    from sidecar.adapters.index.redis.index import RedisIndex
    from sidecar.decoding.formats.schema_format import SchemaFormats

BATCH = 500
"""Records of a batch: some five milliseconds of work."""


@dataclass(frozen=True)
class BrokerSource:
    """A broker and the names that go with it."""

    broker: Broker
    group: str
    naming: StreamNames
    gate: Mapping[str, str] = field(default_factory=dict)
    """For each raw stream the one that what passes goes to."""
    exhausted: Mapping[str, ExhaustedConfig] = field(default_factory=dict)
    """By group: when entries that it cannot process are taken from it."""


def sources(config: Config) -> list[BrokerSource]:
    """The brokers that the configuration names."""
    found: list[BrokerSource] = []
    default = f"tracecar.{config.service}"
    if config.sources.kafka is not None:
        from sidecar.adapters.brokers.kafka.broker import KafkaBroker

        group = config.sources.kafka.group_id or default
        naming = config.stream_names(group)
        found.append(
            BrokerSource(
                KafkaBroker(
                    config.sources.kafka,
                    config.service,
                    naming,
                    max_records=BATCH,
                    ledger_entries=config.dead_letters.ledger_entries,
                ),
                group,
                naming,
                config.sources.kafka.gate,
            )
        )
    if config.sources.redis is not None:
        from sidecar.adapters.brokers.redis.broker import RedisBroker

        group = config.sources.redis.group or default
        if group in config.sources.redis.exhausted:
            path = f"sources.redis.exhausted.{group}"
            raise ConfigError(
                [Mistake(path, "another group: what this one cannot use is dead-lettered anyway", "our own")]
            )
        naming = config.stream_names(group)
        found.append(
            BrokerSource(
                RedisBroker(config.sources.redis, config.service, naming, max_records=BATCH),
                group,
                naming,
                config.sources.redis.gate,
                config.sources.redis.exhausted,
            )
        )
    return found


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
    return Telemetry(config, letters, _servers(config), Redactor(config.redact, places))


def try_exporters(config: Config) -> list[Finding]:
    """Whether telemetry gets to where it goes. Blocks. Raises ConfigError."""
    from exporters.preflight import findings

    return list(findings(config))


def _servers(config: Config) -> dict[str, tuple[str, int]]:
    """The address and port of each broker's server, where it has only one."""
    from urllib.parse import urlsplit

    kafka, redis = config.sources.kafka, config.sources.redis
    found: dict[str, tuple[str, int]] = {}
    for system, address, usual in (
        ("kafka", f"//{kafka.bootstrap_servers}" if kafka is not None else "", 9092),
        ("redis", redis.url if redis is not None and redis.url.startswith(("redis://", "rediss://")) else "", 6379),
    ):
        parts = urlsplit(address)
        if address and "," not in parts.netloc and parts.hostname:
            found[system] = parts.hostname, parts.port or usual
    return found
