"""To an OpenTelemetry collector: the official exporters' transport, TLS, headers, compression and environment
variables, with the bytes of our own encoder.

The official gRPC exporter builds its request in `_translate_data`, the HTTP one within `export`, from spans of the SDK:
26 microseconds each. Here a request is joined from spans (or log records) that are encoded already, and goes out over
the channel or the client that those exporters make. Trying again is the outbox's: theirs gives a batch up after ten
seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from exporters.otlp_wire import delimited, varint
from sidecar.config import Otlp
from sidecar.errors import ConfigError, Mistake

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

SIGNALS = ("traces", "metrics", "logs")
SCOPE = "tracecar"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Raw = Literal["traces", "logs"]
"""The signals that are encoded here."""
_METHODS: dict[Raw, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


def wanted(otlp: Otlp | None, environ: Mapping[str, str] = os.environ) -> Otlp | None:
    """What is configured, by the file or by the environment alone; None where nothing is."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if otlp is None and not any(environ.get(name) for name in _ENDPOINTS):
        return None
    return otlp or Otlp()


def signals(otlp: Otlp, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Which signals are sent: those of the file, but for the ones that `OTEL_TRACES_EXPORTER` and its like turn off."""
    off = {name for name in SIGNALS if environ.get(f"OTEL_{name.upper()}_EXPORTER", "").strip().lower() == "none"}
    return [name for name in SIGNALS if name in otlp.signals and name not in off]


def protocol(otlp: Otlp, signal: str, environ: Mapping[str, str] = os.environ) -> str:
    """`grpc` or `http/protobuf`. Raises ConfigError where the environment asks for another one."""
    if otlp.protocol is not None:
        return otlp.protocol
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if found := environ.get(name, "").strip():
            if found not in ("grpc", "http/protobuf"):
                raise ConfigError([Mistake(name, "grpc or http/protobuf", repr(found))], "the environment")
            return found
    return "grpc"


def resource(service: str, environ: Mapping[str, str] = os.environ, *, instance: bool = True) -> Resource:
    """Who reports: the sidecar, never the service beside it; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count.
    Without `instance` it is the same for all sidecars of a service, as their spans are."""
    from importlib.metadata import version

    from opentelemetry.sdk.resources import Resource

    own = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or "tracecar",
        "service.version": version("tracecar"),
        "tracecar.service": service,
    }
    found = Resource.create(own)
    if instance or "service.instance.id=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return found
    kept = {name: value for name, value in found.attributes.items() if name != "service.instance.id"}
    return Resource(kept, found.schema_url)


class Request:
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


class Sending(Protocol):
    """Sends requests of one signal over one protocol. Called from one thread."""

    def __call__(self, request: bytes) -> bytes:
        """Returns the response. Raises Outage and Refused."""

    def close(self) -> None: ...


class OtlpTransport:
    """Spans or log records to a collector (`exporters.outbox.Transport`)."""

    def __init__(self, sending: Sending, resource: Resource, signal: Raw) -> None:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        self._sending, self._signal, self._request = sending, signal, Request(resource)
        self._response: Any = ExportTraceServiceResponse if signal == "traces" else ExportLogsServiceResponse

    def send(self, items: Sequence[bytes]) -> int:
        answer = self._sending(self._request.of(items))
        if not answer:
            return 0
        said = self._response.FromString(answer).partial_success
        unwanted = said.rejected_spans if self._signal == "traces" else said.rejected_log_records
        return min(int(unwanted), len(items))

    def close(self) -> None:
        self._sending.close()


def transport(otlp: Otlp, signal: Raw, service: str) -> OtlpTransport:
    """How spans or log records get to the collector. Raises ConfigError where files of `tls` cannot be read."""
    # Their own words about every try would flood the log; the outbox says when trouble begins and ends.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    sending: Sending
    if protocol(otlp, signal) == "grpc":
        from exporters.otlp_grpc import GrpcSending

        sending = GrpcSending(otlp, signal)
    else:
        from exporters.otlp_http import HttpSending

        sending = HttpSending(otlp, signal)
    return OtlpTransport(sending, resource(service, instance=signal != "traces"), signal)


def address(otlp: Otlp, signal: str) -> str | None:
    """The full HTTP address of a signal; None where the environment's is to be taken."""
    return None if otlp.endpoint is None else f"{otlp.endpoint.rstrip('/')}/v1/{signal}"


def certificates(otlp: Otlp) -> list[bytes | None]:
    """The authorities, the client's key and its chain, as bytes. Raises ConfigError."""
    tls = otlp.tls
    found: list[bytes | None] = []
    for name in ("ca", "key", "cert"):
        path = None if tls is None else getattr(tls, name)
        try:
            found.append(None if path is None else _read(path))
        except OSError as error:
            mistake = Mistake(f"exporters.otlp.tls.{name}", "a file that can be read", f"{path!r} ({error.strerror})")
            raise ConfigError([mistake]) from error
    return found


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
