"""The configuration file as typed structs. The names are the contract; the loader is in `sidecar.config.loader`.

Every key carries its description, and the kind of text that it takes where not any text will do; the loader's checks
(`sidecar.config.string_formats`) and the printed JSON Schema both come from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from sidecar.domain.secrets import masked
from sidecar.domain.stream_names import StreamNames

CHECKED = "true: gRPC always checks it; it may be false with protocol: http/protobuf"
"""What `exporters.otlp.tls.check_hostname` must be over gRPC."""
DEAD_LETTER_NAMES = ("{stream}.dlt", "{stream}-dlt", "{stream}.DLT", "{stream}.dlq", "{stream}-dlq", "{stream}.DLQ")


class Duration(float):
    """Seconds, written `250ms`, `60s`, `15m`, `24h` or `7d` in the file."""


class StartPosition(Struct, frozen=True):
    """Where a group without committed offsets begins: `latest`, `earliest`, a duration back, or a time."""

    kind: Literal["latest", "earliest", "ago", "at"]
    value: int = 0
    """For `ago` milliseconds back from now; for `at` milliseconds since 1970."""


class StrictStruct(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A mapping of the file: unknown keys are refused. Its `repr` shows no secret."""

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in masked(values).items())})"


Text = Annotated[str, Meta(extra={"kind": "text"})]
Name = Annotated[str, Meta(extra={"kind": "name"})]
Servers = Annotated[str, Meta(extra={"kind": "servers"})]
Topic = Annotated[str, Meta(extra={"kind": "topic"})]
TopicPattern = Annotated[str, Meta(extra={"kind": "topic_pattern"})]
HttpUrl = Annotated[str, Meta(extra={"kind": "http_url"})]
RedisUrl = Annotated[str, Meta(extra={"kind": "redis_url"})]
Template = Annotated[str, Meta(extra={"kind": "template"})]
Place = Annotated[str, Meta(extra={"kind": "place"})]
Redacted = Annotated[str, Meta(extra={"kind": "redacted"})]
Host = Annotated[str, Meta(extra={"kind": "host"})]
Bearer = Annotated[str, Meta(extra={"kind": "bearer"})]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Word = Literal[
    "event_id",
    "type",
    "version",
    "occurred_at",
    "aggregate_id",
    "aggregate_type",
    "correlation_id",
    "causation_id",
    "producer",
]
"""What an event says about itself, and `envelope` can look for."""


class TlsConfig(StrictStruct, frozen=True):
    """TLS to this server. The key alone, with nothing in it, switches it on with the system's certificates."""

    ca: Annotated[Text | None, Meta(description="File of the certificate authorities to trust (PEM).")] = None
    cert: Annotated[Text | None, Meta(description="File of the client certificate (PEM).")] = None
    key: Annotated[Text | None, Meta(description="File of the client certificate's key (PEM).")] = None
    check_hostname: Annotated[bool, Meta(description="Whether the certificate must name the host.")] = True


class SaslConfig(StrictStruct, frozen=True):
    """How to authenticate to Kafka. `username` and `password`, or for OAUTHBEARER the token endpoint's keys."""

    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], Meta(description="The SASL mechanism.")
    ]
    username: Text | None = None
    password: Text | None = None
    token_endpoint: Annotated[HttpUrl | None, Meta(description="OAUTHBEARER: where tokens are fetched.")] = None
    client_id: Annotated[Text | None, Meta(description="OAUTHBEARER: the client's id.")] = None
    client_secret: Annotated[Text | None, Meta(description="OAUTHBEARER: the client's secret.")] = None
    scope: Annotated[Text | None, Meta(description="OAUTHBEARER: the scope to ask for.")] = None


class KafkaConfig(StrictStruct, frozen=True):
    """A Kafka cluster to read from."""

    bootstrap_servers: Annotated[Servers, Meta(description="HOST:PORT of some brokers, separated by commas.")]
    topics: Annotated[
        list[TopicPattern],
        Meta(
            description="Topics to read: names; a leading ^ makes a regular expression, re-evaluated as topics appear."
        ),
    ] = []
    group_id: Annotated[Text | None, Meta(description="The consumer group. Default: tracecar.SERVICE.")] = None
    start: Annotated[StartPosition, Meta(description="Where a group without offsets begins; committed at once.")] = (
        StartPosition("latest")
    )
    gate: Annotated[
        dict[Topic, Topic],
        Meta(description="Stand before the service: read the left topic, let only what passes through to the right."),
    ] = {}
    tls: TlsConfig | None = None
    sasl: SaslConfig | None = None
    client: Annotated[dict[str, Any], Meta(description="Any further plain option of the aiokafka client.")] = {}


class ExhaustedConfig(StrictStruct, frozen=True):
    """When an entry that another group cannot process is taken from it: it becomes a dead letter and is acknowledged
    for that group."""

    deliveries: Annotated[
        Count, Meta(description="Given to the group so often, and not acknowledged since the last time for `idle`.")
    ] = 5
    idle: Annotated[
        Duration,
        Meta(description="How long it must have been left alone since the last time: longer than work takes."),
    ] = Duration(60)
    pending: Annotated[
        Duration | None,
        Meta(description="Taken as well once it was left alone so long, however often it was given; by default never."),
    ] = None


class RedisConfig(StrictStruct, frozen=True):
    """A Redis or Valkey server, Sentinel or Cluster to read streams from."""

    url: Annotated[
        RedisUrl,
        Meta(
            description="redis://HOST:PORT/DB, rediss:// for TLS, redis+sentinel://H1:P1,H2:P2/MASTER/DB, "
            "redis+cluster://H1:P1,H2:P2."
        ),
    ]
    streams: Annotated[list[Text], Meta(description="Streams to read: names or glob patterns.")] = []
    group: Annotated[Text | None, Meta(description="The consumer group. Default: tracecar.SERVICE.")] = None
    start: Annotated[StartPosition, Meta(description="Where a new group begins.")] = StartPosition("latest")
    gate: Annotated[
        dict[Text, Text],
        Meta(description="Stand before the service: read the left stream, let only what passes through to the right."),
    ] = {}
    body_field: Annotated[
        Text, Meta(description="The field with the body; the others are headers. An entry without it is the body.")
    ] = "payload"
    claim_idle: Annotated[Duration, Meta(description="Entries of a dead consumer are claimed after this.")] = Duration(
        60
    )
    exhausted: Annotated[
        dict[Text, ExhaustedConfig],
        Meta(description="Other groups by name: when an entry that they cannot process becomes a dead letter."),
    ] = {}
    tls: TlsConfig | None = None


class SourcesConfig(StrictStruct, frozen=True):
    """Where events are read: Kafka, Redis, or both."""

    kafka: KafkaConfig | None = None
    redis: RedisConfig | None = None


class BasicAuthConfig(StrictStruct, frozen=True):
    """A user name and password, sent with every request."""

    username: Text
    password: Text


class RegistryConfig(StrictStruct, frozen=True):
    """Where schemas are: a registry or a directory."""

    url: Annotated[
        HttpUrl | list[HttpUrl] | None,
        Meta(description="Any Confluent-compatible registry; several are tried in turn."),
    ] = None
    directory: Annotated[
        Text | None, Meta(description="A directory of SUBJECT.avsc and SUBJECT/VERSION.avsc files instead.")
    ] = None
    on_outage: Annotated[
        Literal["hold", "pass"],
        Meta(description="While the registry cannot be asked: hold events back, or let them pass unchecked."),
    ] = "hold"
    require: Annotated[bool, Meta(description="Whether an event without a registered schema is rejected.")] = False
    basic: BasicAuthConfig | None = None
    token: Annotated[Bearer | None, Meta(description="A bearer token, sent with every request.")] = None
    tls: TlsConfig | None = None


class EnvelopeConfig(StrictStruct, frozen=True):
    """Where an event's words are: places of the form body:PATH, header:NAME or key. The first that is found wins,
    before the built-in places."""

    event_id: list[Place] = []
    type: list[Place] = []
    version: list[Place] = []
    occurred_at: list[Place] = []
    aggregate_id: list[Place] = []
    aggregate_type: list[Place] = []
    correlation_id: list[Place] = []
    causation_id: list[Place] = []
    producer: list[Place] = []
    required: Annotated[list[Word], Meta(description="Words without which an event is rejected.")] = []


class CorrelationConfig(StrictStruct, frozen=True):
    """Which events belong together."""

    join: Annotated[
        list[Literal["trace", "correlation", "causation"]], Meta(description="Which ids join events into flows.")
    ] = field(default_factory=lambda: ["trace", "correlation", "causation"])
    max_flow: Annotated[Count, Meta(description="A key that joins more events than this stops joining.")] = 10_000


class BreakerConfig(StrictStruct, frozen=True):
    """Holds a stream of which too much is rejected."""

    ratio: Annotated[float, Meta(gt=0, le=1, description="The share of rejected events that holds the stream.")] = 0.5
    window: Annotated[Duration, Meta(description="The time over which the share is taken.")] = Duration(60)
    minimum: Annotated[Count, Meta(description="Fewer events than this in the window never hold the stream.")] = 100


class ReplayConfig(StrictStruct, frozen=True):
    """Bounds of what is replayed."""

    attempts: Annotated[
        Count,
        Meta(description="A record that was replayed so often and failed again is parked: only --force sends it."),
    ] = 5
    selection: Annotated[Count, Meta(description="How many dead letters one replay takes at most; the oldest.")] = (
        200_000
    )


class DeadLettersConfig(StrictStruct, frozen=True):
    """What happens to events that are rejected."""

    enabled: Annotated[bool, Meta(description="false: rejections are shown and counted, nothing is written.")] = True
    stream: Annotated[
        Template, Meta(description="Where dead letters go; {stream}, {service} and {group} are filled in.")
    ] = "{stream}.dlt"
    read: Annotated[
        list[Template],
        Meta(
            description="Streams that hold dead letters of ours, whoever wrote them; * stands for anything, and a name "
            "without {stream} is searched whatever streams its letters are of."
        ),
    ] = field(default_factory=lambda: list(DEAD_LETTER_NAMES))
    dialects: Annotated[
        list[Literal["spring", "connect", "streams", "share-group"]],
        Meta(description="Headers of other frameworks to write beside our own, so that their tools understand them."),
    ] = []
    breaker: BreakerConfig = BreakerConfig()
    replay: ReplayConfig = ReplayConfig()
    ledger_entries: Annotated[
        Count,
        Meta(description="How many entries of Kafka's ledger are held in memory at most, 500 bytes each."),
    ] = 500_000


class MemoryIndexConfig(StrictStruct, frozen=True):
    """The index in this process's memory."""

    max_events: Annotated[Count, Meta(description="How many events are held; the oldest flows go first.")] = 200_000
    scope: Annotated[
        Literal["assigned", "all"],
        Meta(
            description="What is read for the index: the partitions that this sidecar commits, or all of the streams', "
            "for several sidecars with little traffic and no shared index."
        ),
    ] = "assigned"


class RedisIndexConfig(StrictStruct, frozen=True):
    """An index that several sidecars share: any one of them answers for all."""

    url: Annotated[RedisUrl, Meta(description="A Redis or Valkey server, Sentinel or Cluster, as in sources.redis.")]
    ttl: Annotated[
        Duration,
        Meta(
            description="How long a flow is held after its latest event; one that was read late, from its reading on."
        ),
    ] = Duration(86_400)
    max_events: Annotated[
        Count, Meta(description="How many events are held, of all sidecars; the oldest flows go first.")
    ] = 1_000_000
    prefix: Annotated[Text, Meta(description="What all keys begin with. Sidecars with the same one share.")] = (
        "tracecar"
    )
    tls: TlsConfig | None = None


class IndexConfig(StrictStruct, frozen=True):
    """The index of recent events, which answers the questions."""

    memory: MemoryIndexConfig | None = None
    redis: RedisIndexConfig | None = None
    lookback: Annotated[Duration, Meta(description="How far back a start fills the index.")] = Duration(900)


class OtlpConfig(StrictStruct, frozen=True):
    """Traces, metrics and logs to an OpenTelemetry collector. OTEL_EXPORTER_OTLP_* fill what is left out."""

    endpoint: Annotated[HttpUrl | None, Meta(description="The collector's base address.")] = None
    protocol: Annotated[
        Literal["grpc", "http/protobuf"] | None,
        Meta(description="The OTLP protocol; grpc, unless OTEL_EXPORTER_OTLP_PROTOCOL says otherwise."),
    ] = None
    headers: Annotated[dict[str, str], Meta(description="Sent with every request; never shown.")] = {}
    compression: Annotated[Literal["none", "gzip"] | None, Meta(description="How requests are compressed.")] = None
    timeout: Annotated[Duration | None, Meta(description="How long one request may take; 10s by default.")] = None
    signals: Annotated[
        list[Literal["traces", "metrics", "logs"]], Meta(description="What is sent; logs are those of rejections.")
    ] = field(default_factory=lambda: ["traces", "metrics", "logs"])
    tls: Annotated[
        TlsConfig | None,
        Meta(description="Certificates for an https endpoint; check_hostname: false over http/protobuf only."),
    ] = None


class ZipkinConfig(StrictStruct, frozen=True):
    """Spans to Zipkin."""

    endpoint: Annotated[HttpUrl, Meta(description="Such as http://127.0.0.1:9411/api/v2/spans.")]
    headers: Annotated[dict[str, str], Meta(description="Sent with every request; never shown.")] = {}
    timeout: Annotated[Duration, Meta(description="How long one request may take.")] = Duration(10)
    tls: Annotated[TlsConfig | None, Meta(description="Certificates for an https endpoint.")] = None


class SamplingConfig(StrictStruct, frozen=True):
    """Which spans are sent. What is not is counted."""

    keep: Annotated[
        Literal["always", "ratio", "tail"],
        Meta(
            description="always: every span. ratio: those of a share of the traces. tail: whole flows, once they are "
            "quiet, that failed, were slow or match the query."
        ),
    ] = "always"
    ratio: Annotated[
        Share | None, Meta(description="The share of traces that is kept; for tail, of all other flows.")
    ] = None
    failed: Annotated[bool, Meta(description="tail: keep flows in which something was rejected.")] = True
    slow: Annotated[Duration | None, Meta(description="tail: keep flows that took at least so long.")] = None
    query: Annotated[Text | None, Meta(description="tail: keep flows in which an event matches this query.")] = None


class ExportersConfig(StrictStruct, frozen=True):
    """Where traces of the events are sent."""

    otlp: OtlpConfig | None = None
    zipkin: ZipkinConfig | None = None
    sampling: SamplingConfig | None = None
    hold: Annotated[
        Duration,
        Meta(
            description="How long a flow must be quiet before spans are sent that depend on it: those of events "
            "without trace context, and all with tail sampling."
        ),
    ] = Duration(3)
    max_held: Annotated[
        Count, Meta(description="How many events wait for their flows; beyond, the oldest go as they stand.")
    ] = 20_000
    queue: Annotated[Count, Meta(description="Spans that wait for each backend; beyond, they are dropped.")] = 50_000


class TokenConfig(StrictStruct, frozen=True):
    """A further token of the API."""

    name: Annotated[Text, Meta(description="Who this is: the audit's `who`.")]
    token: Bearer
    role: Annotated[
        Literal["report", "read", "operate"], Meta(description="Hand over failures; look as well; act as well.")
    ]


class ApiConfig(StrictStruct, frozen=True):
    """Where the API listens, and who may use it."""

    host: Annotated[Host, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The port to listen on; 0 takes a free one.")] = 8425
    token: Annotated[
        Bearer,
        Meta(description="The operator's token. Empty: one is made and kept in token_file.", extra={"empty": True}),
    ] = ""
    token_file: Annotated[Text, Meta(description="Where the token that was made is kept (mode 0600).")] = (
        "~/.local/state/tracecar/token"
    )
    tokens: list[TokenConfig] = []


class HealthConfig(StrictStruct, frozen=True):
    """/healthz, /readyz and /metrics on a listener of their own as well, for probes and scrapers."""

    host: Annotated[Host, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[Port | None, Meta(description="The port to listen on; without one there is no such listener.")] = (
        None
    )


class Config(StrictStruct, frozen=True):
    """The configuration of one sidecar. In every text ${VAR} and ${VAR:-default} come from the environment."""

    service: Annotated[Name, Meta(description="Whose sidecar this is.")]
    sources: SourcesConfig
    registry: RegistryConfig = RegistryConfig()
    envelope: EnvelopeConfig = EnvelopeConfig()
    correlation: CorrelationConfig = CorrelationConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    index: IndexConfig = IndexConfig()
    exporters: ExportersConfig = ExportersConfig()
    api: ApiConfig = ApiConfig()
    health: HealthConfig = HealthConfig()
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
