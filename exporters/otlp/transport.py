"""To an OpenTelemetry collector: the official exporters' transport, TLS, headers, compression and environment
variables, with the bytes of our own encoder.

The official gRPC exporter builds its request in `_translate_data`, the HTTP one within `export`, from spans of the SDK:
26 microseconds each. Here a request is joined from spans (or log records) that are encoded already, and goes out over
the channel or the client that those exporters make. Trying again is the outbox's: theirs gives a batch up after ten
seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from exporters.otlp.environment import protocol
from exporters.otlp.protobuf_writer import delimited, varint
from exporters.otlp.settings import Signal, resource
from sidecar.config.schema import OtlpConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SCOPE = "tracecar"


class OtlpRequest:
    """Requests of one resource and one scope: `resource_spans {1 resource, 2 scope_spans {1 scope, 2 spans}}`, and the
    same numbers for log records."""

    def __init__(self, resource: Resource) -> None:
        from importlib.metadata import version

        from opentelemetry.proto.common.v1 import common_pb2
        from opentelemetry.proto.resource.v1 import resource_pb2

        attributes = [
            common_pb2.KeyValue(key=name, value=common_pb2.AnyValue(string_value=str(value)))
            for name, value in resource.attributes.items()
        ]
        scope = common_pb2.InstrumentationScope(name=SCOPE, version=version("tracecar"))
        self._resource = delimited(1, resource_pb2.Resource(attributes=attributes).SerializeToString())
        self._scope = delimited(1, scope.SerializeToString())

    def of(self, items: Sequence[bytes]) -> bytes:
        """`items`: each a span or a log record as field 2 of its scope."""
        size = len(self._scope) + sum(map(len, items))
        inner = b"\x12" + varint(size)
        outer = b"\x0a" + varint(len(self._resource) + len(inner) + size)
        return b"".join((outer, self._resource, inner, self._scope, *items))


class OtlpSender(Protocol):
    """Sends requests of one signal over one protocol. Called from one thread."""

    def __call__(self, request: bytes) -> bytes:
        """Returns the response. Raises Outage and Refused."""

    def close(self) -> None: ...


class OtlpTransport:
    """Spans or log records to a collector (`exporters.batch_queue.BatchTransport`); of metrics only a request without
    any, to try
    whether it is taken."""

    def __init__(self, sending: OtlpSender, resource: Resource, signal: Signal) -> None:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        self._sending, self._request = sending, OtlpRequest(resource)
        responses: dict[Signal, tuple[Any, str]] = {
            "traces": (ExportTraceServiceResponse, "rejected_spans"),
            "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
            "logs": (ExportLogsServiceResponse, "rejected_log_records"),
        }
        self._response, self._rejected = responses[signal]

    def send(self, items: Sequence[bytes]) -> int:
        answer = self._sending(self._request.of(items))
        if not answer:
            return 0
        said = self._response.FromString(answer).partial_success
        return min(int(getattr(said, self._rejected)), len(items))

    def close(self) -> None:
        self._sending.close()


def transport(otlp: OtlpConfig, signal: Signal, service: str) -> OtlpTransport:
    """How a signal gets to the collector. Raises ConfigError where files of `tls` cannot be read."""
    # Their own words about every try would flood the log; the outbox says when trouble begins and ends.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    sending: OtlpSender
    if protocol(otlp, signal) == "grpc":
        from exporters.otlp.grpc_transport import GrpcSender

        sending = GrpcSender(otlp, signal)
    else:
        from exporters.otlp.http_transport import HttpSender

        sending = HttpSender(otlp, signal)
    return OtlpTransport(sending, resource(service, instance=signal != "traces"), signal)
