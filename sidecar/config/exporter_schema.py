"""The configuration of exporters: OTLP, Zipkin and sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from sidecar.config.source_schema import TlsConfig
from sidecar.config.value_types import (
    Count,
    Duration,
    HttpUrl,
    Share,
    StrictStruct,
    Text,
)

CHECKED = "true: gRPC always checks it; it may be false with protocol: http/protobuf"


class OtlpConfig(StrictStruct, frozen=True):
    """Traces, metrics and logs to an OpenTelemetry collector. OTEL_EXPORTER_OTLP_* variables set what is left out."""

    endpoint: Annotated[HttpUrl | None, Meta(description="Base URL of the collector.")] = None
    protocol: Annotated[
        Literal["grpc", "http/protobuf"] | None,
        Meta(description="OTLP protocol. Default: OTEL_EXPORTER_OTLP_PROTOCOL, or grpc."),
    ] = None
    headers: Annotated[
        dict[str, str], Meta(description="Headers to send with every request; masked wherever they are shown.")
    ] = {}
    compression: Annotated[Literal["none", "gzip"] | None, Meta(description="Compression of requests.")] = None
    timeout: Annotated[Duration | None, Meta(description="Timeout of one request. Default: 10s.")] = None
    signals: Annotated[
        list[Literal["traces", "metrics", "logs"]], Meta(description="Signals to send; logs are those of rejections.")
    ] = field(default_factory=lambda: ["traces", "metrics", "logs"])
    tls: Annotated[
        TlsConfig | None,
        Meta(description="TLS of an https endpoint. `check_hostname: false` works with http/protobuf only."),
    ] = None


class ZipkinConfig(StrictStruct, frozen=True):
    """Export of spans to Zipkin."""

    endpoint: Annotated[HttpUrl, Meta(description="URL to send spans to, such as http://127.0.0.1:9411/api/v2/spans.")]
    headers: Annotated[
        dict[str, str], Meta(description="Headers to send with every request; masked wherever they are shown.")
    ] = {}
    timeout: Annotated[Duration, Meta(description="Timeout of one request.")] = Duration(10)
    tls: Annotated[TlsConfig | None, Meta(description="TLS of an https endpoint.")] = None


class SamplingConfig(StrictStruct, frozen=True):
    """Sampling of spans. Spans that are not sent are counted."""

    keep: Annotated[
        Literal["always", "ratio", "tail"],
        Meta(
            description="always: every span. ratio: a share of the traces. tail: whole flows that failed, were slow or "
            "match the query, sent once they are quiet."
        ),
    ] = "always"
    ratio: Annotated[
        Share | None, Meta(description="Share of traces to keep; with tail, the share of all other flows.")
    ] = None
    failed: Annotated[bool, Meta(description="tail: keep flows with a rejected event.")] = True
    slow: Annotated[Duration | None, Meta(description="tail: keep flows that took at least this long.")] = None
    query: Annotated[Text | None, Meta(description="tail: keep flows with an event that matches this query.")] = None


class ExportersConfig(StrictStruct, frozen=True):
    """Exporters of traces, metrics and logs."""

    otlp: OtlpConfig | None = None
    zipkin: ZipkinConfig | None = None
    sampling: SamplingConfig | None = None
    hold: Annotated[
        Duration,
        Meta(
            description="Quiet time of a flow before the spans that depend on it are sent: those of events "
            "without trace"
            "context, and with tail sampling all of them."
        ),
    ] = Duration(3)
    max_held: Annotated[
        Count,
        Meta(
            description="Maximum number of events that wait for their flows; beyond it, the oldest are sent as "
            "they are."
        ),
    ] = 20_000
    queue: Annotated[
        Count,
        Meta(description="Maximum number of spans queued for each backend; beyond it, spans are dropped and counted."),
    ] = 50_000
