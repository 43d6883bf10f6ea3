"""OTLP over gRPC: the channel of the official exporter, and calls with bytes over it."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from exporters.otlp.environment import compression, timeout
from exporters.otlp.settings import Signal, certificates
from sidecar.config.schema import OtlpConfig
from sidecar.domain.errors import Outage, Refused

METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def grpc_options(otlp: OtlpConfig, signal: str) -> dict[str, Any]:
    """What the file says, as arguments of an official exporter; what it leaves out they take from the environment.
    Raises ConfigError."""
    gzip = compression(otlp, signal) == "gzip"
    options: dict[str, Any] = {
        "endpoint": otlp.endpoint,
        "headers": {name.lower(): value for name, value in otlp.headers.items()},
        "compression": grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        "timeout": timeout(otlp, signal),
    }
    if otlp.tls is not None:
        ca, key, chain = certificates(otlp)
        options["credentials"] = grpc.ssl_channel_credentials(ca, key, chain)
    return options


class GrpcSender:
    """Sends requests over the channel that an official exporter has opened (`exporters.otlp.Sending`)."""

    def __init__(self, otlp: OtlpConfig, signal: Signal) -> None:
        self._exporter = _exporter(signal)(**grpc_options(otlp, signal))
        self._method = METHODS[signal]
        self._open()

    def _open(self) -> None:
        self._call = self._exporter._channel.unary_unary(self._method)

    def __call__(self, request: bytes) -> bytes:
        theirs = self._exporter
        try:
            answer: bytes = self._call(request, timeout=theirs._timeout, metadata=theirs._headers)
        except grpc.RpcError as error:
            raise self._said(error) from error
        except ValueError as error:  # the channel was closed under us
            raise Outage(f"the connection to {theirs._endpoint} is closed: {error}") from error
        return answer

    def _said(self, error: Any) -> Outage | Refused:
        theirs, code = self._exporter, error.code()
        sentence = f"{theirs._endpoint} answers {code.name}: {error.details()}"
        if code not in theirs._retryable_error_codes:
            return Refused(sentence)
        wait = None
        for name, value in error.trailing_metadata() or ():
            if name == "google.rpc.retryinfo-bin":
                info = RetryInfo.FromString(value)
                wait = min(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, 60.0)
        if code is grpc.StatusCode.UNAVAILABLE:
            # As the official exporter does: a channel in back-off of its own would not hear that the server is back.
            theirs._channel.close()
            theirs._initialize_channel_and_stub()
            self._open()
        return Outage(sentence, wait or None)

    def close(self) -> None:
        self._exporter._channel.close()


def _exporter(signal: Signal) -> Any:
    """The official exporter of a signal. That of metrics is loaded where it is wanted only."""
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter
    return OTLPSpanExporter if signal == "traces" else OTLPLogExporter
