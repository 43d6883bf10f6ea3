"""Configuration file as typed structs. The names are stable; the loader is in `sidecar.config.loader`.

Every key has a description and, where not every text is valid, the format of its text. The loader's checks
(`sidecar.config.string_formats`) and the printed JSON Schema both use them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from sidecar.config.aggregate_schema import AggregatesConfig
from sidecar.config.exporter_schema import CHECKED, ExportersConfig, OtlpConfig, SamplingConfig, ZipkinConfig
from sidecar.config.insight_schema import CatalogConfig, LintConfig, SagaConfig, SagaStepConfig
from sidecar.config.source_schema import ExhaustedConfig, KafkaConfig, RedisConfig, SaslConfig, SourcesConfig, TlsConfig
from sidecar.config.value_types import (
    Bearer,
    Count,
    Duration,
    HistoryUrl,
    Host,
    HttpUrl,
    Name,
    Place,
    Port,
    Redacted,
    RedisUrl,
    Size,
    StrictStruct,
    Template,
    Text,
    Word,
)
from sidecar.domain.stream_names import StreamNames

__all__ = [
    "CHECKED",
    "DEAD_LETTER_NAMES",
    "ApiConfig",
    "BasicAuthConfig",
    "BreakerConfig",
    "CatalogConfig",
    "Config",
    "CorrelationConfig",
    "DeadLettersConfig",
    "EnvelopeConfig",
    "ExhaustedConfig",
    "ExportersConfig",
    "HealthConfig",
    "HistoryConfig",
    "HistoryKeepConfig",
    "IndexConfig",
    "KafkaConfig",
    "LintConfig",
    "MemoryIndexConfig",
    "OtlpConfig",
    "RedisConfig",
    "RedisIndexConfig",
    "RegistryConfig",
    "ReplayConfig",
    "SagaConfig",
    "SagaStepConfig",
    "SamplingConfig",
    "SaslConfig",
    "SourcesConfig",
    "TlsConfig",
    "TokenConfig",
    "ZipkinConfig",
]

"""The expected value of `exporters.otlp.tls.check_hostname` over gRPC."""
DEAD_LETTER_NAMES = ("{stream}.dlt", "{stream}-dlt", "{stream}.DLT", "{stream}.dlq", "{stream}-dlq", "{stream}.DLQ")


class BasicAuthConfig(StrictStruct, frozen=True):
    """User name and password, sent with every request."""

    username: Text
    password: Text


class RegistryConfig(StrictStruct, frozen=True):
    """The schema registry, or a directory with schemas."""

    url: Annotated[
        HttpUrl | list[HttpUrl] | None,
        Meta(description="URL of a Confluent-compatible registry, or a list of URLs that are tried in turn."),
    ] = None
    directory: Annotated[
        Text | None,
        Meta(description="Directory with SUBJECT.avsc and SUBJECT/VERSION.avsc files, instead of a registry."),
    ] = None
    on_outage: Annotated[
        Literal["hold", "pass"],
        Meta(description="During a registry outage: hold the stream, or pass events unchecked."),
    ] = "hold"
    require: Annotated[bool, Meta(description="Reject events without a registered schema.")] = False
    basic: BasicAuthConfig | None = None
    token: Annotated[Bearer | None, Meta(description="Bearer token, sent with every request.")] = None
    tls: TlsConfig | None = None


class EnvelopeConfig(StrictStruct, frozen=True):
    """Places of the fields of an event: body:PATH, header:NAME or key. First match wins; built-in ones come last."""

    event_id: list[Place] = []
    type: list[Place] = []
    version: list[Place] = []
    occurred_at: list[Place] = []
    aggregate_id: list[Place] = []
    aggregate_type: list[Place] = []
    correlation_id: list[Place] = []
    causation_id: list[Place] = []
    producer: list[Place] = []
    required: Annotated[list[Word], Meta(description="Fields without which an event is rejected.")] = []


class CorrelationConfig(StrictStruct, frozen=True):
    """Correlation of events into flows."""

    join: Annotated[
        list[Literal["trace", "correlation", "causation"]], Meta(description="Ids that join events into flows.")
    ] = field(default_factory=lambda: ["trace", "correlation", "causation"])
    max_flow: Annotated[Count, Meta(description="An id shared by more events than this no longer joins them.")] = 10_000


class BreakerConfig(StrictStruct, frozen=True):
    """Circuit breaker: holds a stream when too many of its events are rejected."""

    ratio: Annotated[
        float, Meta(gt=0, le=1, description="Ratio of rejected events above which the stream is held.")
    ] = 0.5
    window: Annotated[Duration, Meta(description="Time window of the ratio.")] = Duration(60)
    minimum: Annotated[
        Count, Meta(description="Minimum number of events in the window before the breaker can trip.")
    ] = 100


class ReplayConfig(StrictStruct, frozen=True):
    """Limits of replays."""

    attempts: Annotated[
        Count,
        Meta(description="A record that failed again after this many replays is parked: only --force sends it."),
    ] = 5
    selection: Annotated[
        Count, Meta(description="Maximum number of dead letters in one replay; the oldest are taken.")
    ] = 200_000


class DeadLettersConfig(StrictStruct, frozen=True):
    """Dead letters: storage of rejected events."""

    enabled: Annotated[bool, Meta(description="Write dead letters. false: rejections are shown and counted only.")] = (
        True
    )
    stream: Annotated[
        Template,
        Meta(description="Name of the dead-letter stream, with the placeholders {stream}, {service} and {group}."),
    ] = "{stream}.dlt"
    read: Annotated[
        list[Template],
        Meta(
            description="Streams to search for dead letters of our streams, written by Tracecar or by others. * "
            "matches"
            "any text. A name without {stream} is searched for letters of any stream."
        ),
    ] = field(default_factory=lambda: list(DEAD_LETTER_NAMES))
    dialects: Annotated[
        list[Literal["spring", "connect", "streams", "share-group"]],
        Meta(description="Also write the headers of these frameworks, so that their tools can read our dead letters."),
    ] = []
    breaker: BreakerConfig = BreakerConfig()
    replay: ReplayConfig = ReplayConfig()
    ledger_entries: Annotated[
        Count,
        Meta(description="Maximum number of entries of the Kafka ledger held in memory, about 500 bytes each."),
    ] = 500_000


class MemoryIndexConfig(StrictStruct, frozen=True):
    """An index in this process's memory."""

    max_events: Annotated[
        Count, Meta(description="Maximum number of events held; the oldest flows are evicted first.")
    ] = 200_000
    scope: Annotated[
        Literal["assigned", "all"],
        Meta(
            description="Partitions to index: those assigned to this sidecar, or all partitions of its streams (for "
            "several sidecars with little traffic and no shared index)."
        ),
    ] = "assigned"


class RedisIndexConfig(StrictStruct, frozen=True):
    """An index shared by several sidecars: each of them answers for all."""

    url: Annotated[RedisUrl, Meta(description="A Redis or Valkey server, Sentinel or Cluster, as in sources.redis.")]
    ttl: Annotated[
        Duration,
        Meta(description="Time to live of a flow after its latest event, or after it was read if that is later."),
    ] = Duration(86_400)
    max_events: Annotated[
        Count, Meta(description="Maximum number of events held for all sidecars; the oldest flows are evicted first.")
    ] = 1_000_000
    prefix: Annotated[Text, Meta(description="Prefix of all keys. Sidecars with the same prefix share the index.")] = (
        "tracecar"
    )
    tls: TlsConfig | None = None


class IndexConfig(StrictStruct, frozen=True):
    """The index of recent events, in memory or shared in Redis."""

    memory: MemoryIndexConfig | None = None
    redis: RedisIndexConfig | None = None
    lookback: Annotated[Duration, Meta(description="How far back the index is filled at startup.")] = Duration(900)


class HistoryKeepConfig(StrictStruct, frozen=True):
    """Limits of the history; the one that is reached first counts."""

    age: Annotated[Duration, Meta(description="Events that were read longer ago are deleted.")] = Duration(30 * 86_400)
    size: Annotated[
        Size,
        Meta(description="Maximum size of all files; beyond it the oldest hours are deleted. In B, KB, MB, GB or TB."),
    ] = "50GB"


class HistoryConfig(StrictStruct, frozen=True):
    """Weeks of events as Parquet files, beyond the index and the broker's retention."""

    url: Annotated[
        HistoryUrl,
        Meta(
            description="Where the files are: a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "az://CONTAINER/PREFIX. Credentials come from the environment, as the provider's own tools read them."
        ),
    ]
    keep: HistoryKeepConfig = HistoryKeepConfig()
    bodies: Annotated[
        bool, Meta(description="Keep bodies and headers too. `redact` applies before anything is written.")
    ] = False
    flush: Annotated[Duration, Meta(description="An event is in a file after this time at the latest.")] = Duration(30)


class TokenConfig(StrictStruct, frozen=True):
    """An additional API token."""

    name: Annotated[Text, Meta(description="Name of the token's owner, as the audit log shows it.")]
    token: Bearer
    role: Annotated[
        Literal["report", "read", "operate"],
        Meta(
            description="report: report failures. read: also read everything. operate: also replay, discard and resume."
        ),
    ]


class ApiConfig(StrictStruct, frozen=True):
    """The HTTP API: its listener and its tokens."""

    host: Annotated[Host, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 chooses a free one.")] = 8425
    token: Annotated[
        Bearer,
        Meta(
            description="The operator's token. Empty: a token is generated and stored in token_file.",
            extra={"empty": True},
        ),
    ] = ""
    token_file: Annotated[Text, Meta(description="File for the generated token (mode 0600).")] = (
        "~/.local/state/tracecar/token"
    )
    tokens: list[TokenConfig] = []


class HealthConfig(StrictStruct, frozen=True):
    """An additional listener with /healthz, /readyz and /metrics only, for probes and scrapers."""

    host: Annotated[Host, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port | None, Meta(description="Port to listen on. Default: no such listener.")] = None


class Config(StrictStruct, frozen=True):
    """The configuration of one sidecar. Texts may contain ${VAR} and ${VAR:-default} from the environment."""

    service: Annotated[Name, Meta(description="Name of the service.")]
    sources: SourcesConfig
    registry: RegistryConfig = RegistryConfig()
    envelope: EnvelopeConfig = EnvelopeConfig()
    correlation: CorrelationConfig = CorrelationConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    aggregates: AggregatesConfig = AggregatesConfig()
    index: IndexConfig = IndexConfig()
    history: HistoryConfig | None = None
    exporters: ExportersConfig = ExportersConfig()
    api: ApiConfig = ApiConfig()
    health: HealthConfig = HealthConfig()
    sagas: list[SagaConfig] = []
    catalog: CatalogConfig = CatalogConfig()
    lint: LintConfig = LintConfig()
    redact: Annotated[
        list[Redacted],
        Meta(
            description="Fields and headers to redact everywhere: `body:PATH` or `header:NAME`. `*` matches any part "
            'of a name, and everything below a match is redacted too, such as `body:card.*` or `body:limits["a.b"]`.'
        ),
    ] = []
    redact_messages: Annotated[
        bool,
        Meta(
            description="Also redact the error messages and stack traces of other programs (dead letters of other "
            "frameworks, failures that services report), if `redact` names anything: they often quote the event."
        ),
    ] = True

    def stream_names(self, group: str) -> StreamNames:
        """Build the names of dead-letter streams, as `dead_letters` configures them, for a consumer group."""
        letters = self.dead_letters
        return StreamNames(
            letters.stream, service=self.service, group=group, read=letters.read, written=letters.enabled
        )
