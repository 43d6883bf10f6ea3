"""Transport of telemetry to an OpenTelemetry collector.

Transport, TLS, headers, compression and environment variables are those of the official exporters; the bytes come from
our own encoder. The official gRPC exporter builds its request in `_translate_data`, the HTTP one within `export`, from
spans of the SDK: 26 microseconds each. Here a request is joined from spans (or log records) that are already encoded,
and is sent over the channel or client that those exporters create. `exporters.batch_queue` does the retries, because
the official exporters give up a batch after ten seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from exporters.otlp.environment import protocol
from exporters.otlp.protobuf_writer import varint, write_field
from exporters.otlp.settings import Signal, build_resource
from sidecar.config.schema import OtlpConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SCOPE = "tracecar"


class OtlpRequest:
    """Builds requests of one resource and one scope.

    The fields are `resource_spans {1 resource, 2 scope_spans {1 scope, 2 spans}}`; log records have the same numbers.
    """

    def __init__(self, resource: Resource) -> None:
        from importlib.metadata import version

        from opentelemetry.proto.common.v1 import common_pb2
        from opentelemetry.proto.resource.v1 import resource_pb2

        attributes = [
            common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=str(value)))
            for name, value in resource.attributes.items()
        ]
        scope = common_pb2.InstrumentationScope(name=SCOPE, version=version("tracecar"))
        self._resource = write_field(1, resource_pb2.Resource(attributes=attributes).SerializeToString())
        self._scope = write_field(1, scope.SerializeToString())

    def build(self, items: Sequence[bytes]) -> bytes:
        """Join a request. Each item is a span or a log record, encoded as field 2 of its scope."""
        size = len(self._scope) + sum(map(len, items))
        inner = b"\x12" + varint(size)
        outer = b"\x0a" + varint(len(self._resource) + len(inner) + size)
        return b"".join((outer, self._resource, inner, self._scope, *items))


class OtlpSender(Protocol):
    """Sends requests of one signal over one protocol. Called from one thread."""

    def __call__(self, request: bytes) -> bytes:
        """Send a request and return the response. Raises Outage or Refused."""

    def close(self) -> None:
        """Close the connections."""


class OtlpTransport:
    """Sends spans or log records to a collector (`exporters.batch_queue.BatchTransport`).

    For metrics it sends empty requests only, to check that the collector accepts them.
    """

    def __init__(self, sender: OtlpSender, resource: Resource, signal: Signal) -> None:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        self._sender, self._request = sender, OtlpRequest(resource)
        responses: dict[Signal, tuple[Any, str]] = {
            "traces": (ExportTraceServiceResponse, "rejected_spans"),
            "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
            "logs": (ExportLogsServiceResponse, "rejected_log_records"),
        }
        self._response, self._rejected = responses[signal]

    def send(self, items: Sequence[bytes]) -> int:
        """Send these items and return how many of them the collector rejected."""
        answer = self._sender(self._request.build(items))
        if not answer:
            return 0
        partial_success = self._response.FromString(answer).partial_success
        return min(int(getattr(partial_success, self._rejected)), len(items))

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()


def create_transport(otlp: OtlpConfig, signal: Signal, service: str) -> OtlpTransport:
    """Create the transport of a signal. Raises ConfigError if a file of `tls` cannot be read."""
    # The official exporters log every attempt; the batch queue logs when an outage begins and ends.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    sender: OtlpSender
    if protocol(otlp, signal) == "grpc":
        from exporters.otlp.grpc_transport import GrpcSender

        sender = GrpcSender(otlp, signal)
    else:
        from exporters.otlp.http_transport import HttpSender

        sender = HttpSender(otlp, signal)
    return OtlpTransport(sender, build_resource(service, instance=signal != "traces"), signal)
