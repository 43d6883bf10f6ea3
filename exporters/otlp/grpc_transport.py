"""OTLP over gRPC: sends encoded requests over the channel of the official exporter."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from exporters.otlp.environment import compression, timeout
from exporters.otlp.settings import Signal, read_certificates
from sidecar.config.schema import OtlpConfig
from sidecar.domain.errors import Outage, Refused

METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def grpc_options(otlp: OtlpConfig, signal: str) -> dict[str, Any]:
    """Return the arguments of the official exporter. Raises ConfigError.

    The exporter reads settings that the configuration omits from the environment.
    """
    gzip = compression(otlp, signal) == "gzip"
    options: dict[str, Any] = {
        "endpoint": otlp.endpoint,
        "headers": {name.lower(): value for name, value in otlp.headers.items()},
        "compression": grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        "timeout": timeout(otlp, signal),
    }
    if otlp.tls is not None:
        ca, key, chain = read_certificates(otlp)
        options["credentials"] = grpc.ssl_channel_credentials(ca, key, chain)
    return options


class GrpcSender:
    """Sends requests over the channel of an official exporter (`exporters.otlp.transport.OtlpSender`)."""

    def __init__(self, otlp: OtlpConfig, signal: Signal) -> None:
        self._exporter = _exporter_class(signal)(**grpc_options(otlp, signal))
        self._method = METHODS[signal]
        self._create_call()

    def _create_call(self) -> None:
        self._call = self._exporter._channel.unary_unary(self._method)

    def __call__(self, request: bytes) -> bytes:
        """Send a request and return the response. Raises Outage or Refused."""
        exporter = self._exporter
        try:
            answer: bytes = self._call(request, timeout=exporter._timeout, metadata=exporter._headers)
        except grpc.RpcError as error:
            raise self._to_error(error) from error
        except ValueError as error:  # the channel was closed meanwhile
            raise Outage(f"the connection to {exporter._endpoint} is closed: {error}") from error
        return answer

    def _to_error(self, error: Any) -> Outage | Refused:
        exporter, code = self._exporter, error.code()
        message = f"{exporter._endpoint} answers {code.name}: {error.details()}"
        if code not in exporter._retryable_error_codes:
            return Refused(message)
        wait = None
        for name, value in error.trailing_metadata() or ():
            if name == "google.rpc.retryinfo-bin":
                info = RetryInfo.FromString(value)
                wait = min(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, 60.0)
        if code is grpc.StatusCode.UNAVAILABLE:
            # As the official exporter does: a channel in its own backoff would not notice that the server is back.
            exporter._channel.close()
            exporter._initialize_channel_and_stub()
            self._create_call()
        return Outage(message, wait or None)

    def close(self) -> None:
        """Close the channel."""
        self._exporter._channel.close()


def _exporter_class(signal: Signal) -> Any:
    """Return the official exporter class of a signal. The one for metrics is imported only when needed."""
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter
    return OTLPSpanExporter if signal == "traces" else OTLPLogExporter
