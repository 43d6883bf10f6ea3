"""The configuration file as typed structs. The names are the contract; the loader is in `sidecar.config_file`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

DEAD_LETTER_NAMES = ("{stream}.dlt", "{stream}-dlt", "{stream}.DLT", "{stream}.dlq", "{stream}-dlq", "{stream}.DLQ")


class Duration(float):
    """Seconds, written `250ms`, `60s`, `15m`, `24h` or `7d` in the file."""


class Start(Struct, frozen=True):
    """Where a group without settled offsets begins: `latest`, `earliest`, a duration back, or a time."""

    kind: Literal["latest", "earliest", "ago", "at"]
    value: int = 0
    """For `ago` milliseconds back from now; for `at` milliseconds since 1970."""


class Strict(Struct, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file: unknown keys are refused."""


class Tls(Strict):
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    check_hostname: bool = True


class Sasl(Strict):
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
    username: str | None = None
    password: str | None = None
    token_endpoint: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    scope: str | None = None


class Kafka(Strict):
    bootstrap_servers: str
    topics: list[str] = []
    group_id: str | None = None
    start: Start = Start("latest")
    gate: dict[str, str] = {}
    tls: Tls | None = None
    sasl: Sasl | None = None
    client: dict[str, Any] = {}


class Redis(Strict):
    url: str
    streams: list[str] = []
    group: str | None = None
    start: Start = Start("latest")
    gate: dict[str, str] = {}
    body_field: str = "payload"
    claim_idle: Duration = Duration(60)
    tls: Tls | None = None


class Sources(Strict):
    kafka: Kafka | None = None
    redis: Redis | None = None


class BasicAuth(Strict):
    username: str
    password: str


class Registry(Strict):
    url: str | list[str] | None = None
    directory: str | None = None
    on_outage: Literal["hold", "pass"] = "hold"
    require: bool = False
    basic: BasicAuth | None = None
    token: str | None = None
    tls: Tls | None = None


class Envelope(Strict):
    event_id: list[str] = []
    type: list[str] = []
    version: list[str] = []
    occurred_at: list[str] = []
    aggregate_id: list[str] = []
    aggregate_type: list[str] = []
    correlation_id: list[str] = []
    causation_id: list[str] = []
    producer: list[str] = []
    required: list[str] = []


class Correlation(Strict):
    join: list[Literal["trace", "correlation", "causation"]] = field(
        default_factory=lambda: ["trace", "correlation", "causation"]
    )
    max_flow: int = 10_000


class Breaker(Strict):
    ratio: float = 0.5
    window: Duration = Duration(60)
    minimum: int = 100


class DeadLetters(Strict):
    enabled: bool = True
    stream: str = "{stream}.dlt"
    read: list[str] = field(default_factory=lambda: list(DEAD_LETTER_NAMES))
    dialects: list[Literal["spring", "connect", "streams", "share-group"]] = []
    breaker: Breaker = Breaker()


class MemoryIndex(Strict):
    max_events: int = 200_000


class RedisIndex(Strict):
    url: str
    ttl: Duration = Duration(86_400)


class Index(Strict):
    memory: MemoryIndex | None = None
    redis: RedisIndex | None = None
    lookback: Duration = Duration(900)


class Otlp(Strict):
    endpoint: str | None = None
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    headers: dict[str, str] = {}


class Zipkin(Strict):
    endpoint: str


class Exporters(Strict):
    otlp: Otlp | None = None
    zipkin: Zipkin | None = None


class Token(Strict):
    name: str
    token: str
    role: Literal["report", "read", "operate"]


class Api(Strict):
    host: str = "127.0.0.1"
    port: int = 8425
    token: str = ""
    token_file: str = "~/.local/state/tracecar/token"
    tokens: list[Token] = []


class Health(Strict):
    host: str = "127.0.0.1"
    port: int | None = None


class Config(Strict):
    service: str
    sources: Sources
    registry: Registry = Registry()
    envelope: Envelope = Envelope()
    correlation: Correlation = Correlation()
    dead_letters: DeadLetters = DeadLetters()
    index: Index = Index()
    exporters: Exporters = Exporters()
    api: Api = Api()
    health: Health = field(default_factory=Health)
    redact: list[str] = []
