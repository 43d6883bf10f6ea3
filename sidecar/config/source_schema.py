"""The configuration of sources: Kafka and Redis, with their TLS and authentication."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from sidecar.config.value_types import (
    Count,
    Duration,
    HttpUrl,
    RedisUrl,
    Servers,
    StartPosition,
    StrictStruct,
    Text,
    Topic,
    TopicPattern,
)


class TlsConfig(StrictStruct, frozen=True):
    """TLS for this connection. An empty mapping enables TLS with the system's certificate authorities."""

    ca: Annotated[Text | None, Meta(description="File with the certificate authorities to trust (PEM).")] = None
    cert: Annotated[Text | None, Meta(description="File with the client certificate (PEM).")] = None
    key: Annotated[Text | None, Meta(description="File with the private key of the client certificate (PEM).")] = None
    check_hostname: Annotated[bool, Meta(description="Verify that the certificate names the host.")] = True


class SaslConfig(StrictStruct, frozen=True):
    """SASL authentication to Kafka: `username` and `password`, or for OAUTHBEARER the keys of the token endpoint."""

    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], Meta(description="The SASL mechanism.")
    ]
    username: Text | None = None
    password: Text | None = None
    token_endpoint: Annotated[HttpUrl | None, Meta(description="OAUTHBEARER: URL of the token endpoint.")] = None
    client_id: Annotated[Text | None, Meta(description="OAUTHBEARER: client id.")] = None
    client_secret: Annotated[Text | None, Meta(description="OAUTHBEARER: client secret.")] = None
    scope: Annotated[Text | None, Meta(description="OAUTHBEARER: scope to request.")] = None


class KafkaConfig(StrictStruct, frozen=True):
    """A Kafka cluster to read from."""

    bootstrap_servers: Annotated[Servers, Meta(description="Bootstrap brokers as HOST:PORT, separated by commas.")]
    topics: Annotated[
        list[TopicPattern],
        Meta(
            description="Topics to consume. A leading ^ makes a regular expression, which also matches topics "
            "created later."
        ),
    ] = []
    group_id: Annotated[Text | None, Meta(description="Consumer group. Default: tracecar.SERVICE.")] = None
    start: Annotated[
        StartPosition,
        Meta(
            description="Where a consumer group without offsets begins: latest, earliest, a duration back, or a time. "
            "A topic that is deleted takes the group's offsets with it: one that is created again while no member runs "
            "counts as a topic without offsets."
        ),
    ] = StartPosition("latest")
    gate: Annotated[
        dict[Topic, Topic],
        Meta(description="Gate: consume the left topic and forward only valid events to the right one."),
    ] = {}
    tls: TlsConfig | None = None
    sasl: SaslConfig | None = None
    client: Annotated[dict[str, Any], Meta(description="Additional options of the aiokafka client.")] = {}


class ExhaustedConfig(StrictStruct, frozen=True):
    """Limits after which a pending entry of another group becomes a dead letter and is acknowledged for that group."""

    deliveries: Annotated[
        Count,
        Meta(description="Dead-letter entries that were delivered this often and then stayed pending for `idle`."),
    ] = 5
    idle: Annotated[
        Duration,
        Meta(description="Time since the last delivery. Choose it longer than processing takes."),
    ] = Duration(60)
    pending: Annotated[
        Duration | None,
        Meta(
            description="Also dead-letter entries that have been pending longer than this, regardless of their "
            "delivery count. Default: off."
        ),
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
    group: Annotated[Text | None, Meta(description="Consumer group. Default: tracecar.SERVICE.")] = None
    start: Annotated[
        StartPosition,
        Meta(
            description="Where a new consumer group begins: latest, earliest, a duration back, or a time. "
            "A stream that is deleted takes its groups with it: on one that is created again while no member runs, the "
            "group is new."
        ),
    ] = StartPosition("latest")
    gate: Annotated[
        dict[Text, Text],
        Meta(description="Gate: read the left stream and forward only valid events to the right one."),
    ] = {}
    body_field: Annotated[
        Text,
        Meta(
            description="Entry field that holds the body; the other fields are headers. An entry without this "
            "field is itself the body."
        ),
    ] = "payload"
    claim_idle: Annotated[
        Duration, Meta(description="Claim pending entries of consumers that have been idle for this long.")
    ] = Duration(60)
    exhausted: Annotated[
        dict[Text, ExhaustedConfig],
        Meta(description="Dead-letter entries that other consumer groups (by name) fail to process."),
    ] = {}
    tls: TlsConfig | None = None


class SourcesConfig(StrictStruct, frozen=True):
    """The brokers to read events from: Kafka, Redis, or both."""

    kafka: KafkaConfig | None = None
    redis: RedisConfig | None = None
