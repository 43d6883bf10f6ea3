"""A real OTLP receiver in both protocols: gRPC's server with the services of `opentelemetry-proto`, and HTTP with
protobuf.

It parses and keeps every request. It can refuse requests, be stopped, and start again on its ports.
"""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_KINDS: dict[str, tuple[Any, Any]] = {
    "traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


class Receiver:
    """Keeps every accepted request.

    `tls` is a folder with `server.pem` and `ca.pem`; with `mutual`, clients need a certificate of that authority.
    """

    def __init__(self, tls: Path | None = None, *, mutual: bool = False) -> None:
        self._tls, self._mutual = tls, mutual
        self.requests: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
        self.headers: list[dict[str, str]] = []
        """Headers of every request, names in lower case."""
        self.refusing: int | None = None
        """HTTP status (or its gRPC equivalent) that every request is answered with."""
        self.tried = 0
        """Number of refused requests."""
        self._lock = threading.Lock()
        self._grpc: Any = None
        self._http: ThreadingHTTPServer | None = None
        self._serving: threading.Thread | None = None
        self.grpc_port = self.http_port = 0

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def endpoint(self, protocol: str) -> str:
        scheme, port = ("https" if self._tls else "http"), self.grpc_port if protocol == "grpc" else self.http_port
        return f"{scheme}://{'localhost' if self._tls else '127.0.0.1'}:{port}"

    def start(self) -> None:
        """Listen; after a stop, on the same ports."""
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        traces_grpc.add_TraceServiceServicer_to_server(_Service(self, "traces"), self._grpc)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Service(self, "metrics"), self._grpc)
        logs_grpc.add_LogsServiceServicer_to_server(_Service(self, "logs"), self._grpc)
        address = f"127.0.0.1:{self.grpc_port}"
        if self._tls is None:
            self.grpc_port = self._grpc.add_insecure_port(address)
        else:
            pem = (self._tls / "server.pem").read_bytes()
            self.grpc_port = self._grpc.add_secure_port(address, self._credentials(pem))
        self._grpc.start()
        self._http = _HttpServer(("127.0.0.1", self.http_port), _handler(self))
        if self._tls is not None:
            import ssl

            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._tls / "server.pem")
            if self._mutual:
                context.load_verify_locations(self._tls / "ca.pem")
                context.verify_mode = ssl.CERT_REQUIRED
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.http_port = self._http.server_port
        self._serving = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._serving.start()

    def _credentials(self, pem: bytes) -> Any:
        assert self._tls is not None
        authority = (self._tls / "ca.pem").read_bytes() if self._mutual else None
        return grpc.ssl_server_credentials([(pem, pem)], authority, self._mutual)

    def stop(self) -> None:
        if self._grpc is not None:
            self._grpc.stop(0).wait()
        if self._http is not None and self._serving is not None:
            self._http.shutdown()
            self._serving.join()
            self._http.server_close()
        self._grpc = self._http = self._serving = None

    def take(self, kind: str, request: Any, headers: dict[str, str]) -> int | None:
        """Keep a request. Returns the HTTP status of its refusal, or None if it is accepted."""
        with self._lock:
            if self.refusing is not None:
                self.tried += 1
                return self.refusing
            self.requests[kind].append(request)
            self.headers.append(headers)
            return None

    # --- what came

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            requests = list(self.requests["traces"])
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def log_records(self) -> list[Any]:
        with self._lock:
            requests = list(self.requests["logs"])
        return [
            record
            for request in requests
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        """Latest metric of each name."""
        with self._lock:
            requests = list(self.requests["metrics"])
        return {
            metric.name: metric
            for request in requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def wait(self, condition: Callable[[], object], what: str = "what was to come", seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.01)


class _Service:
    """One of the three services."""

    def __init__(self, receiver: Receiver, kind: str) -> None:
        self._receiver, self._kind = receiver, kind

    def Export(self, request: Any, context: Any) -> Any:  # the name is gRPC's
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        refusal = self._receiver.take(self._kind, request, headers)
        if refusal is not None:
            busy = refusal in (429, 502, 503, 504)
            context.abort(grpc.StatusCode.UNAVAILABLE if busy else grpc.StatusCode.INVALID_ARGUMENT, "refusing")
        return _KINDS[self._kind][1]()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have disconnected."""

    def server_close(self) -> None:
        super().server_close()
        for connection in list(_Connections.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Connections:
    open: set[socket.socket] = set()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            _Connections.open.add(self.connection)

        def finish(self) -> None:
            _Connections.open.discard(self.connection)
            super().finish()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request_type, response_type = _KINDS[self.path.rpartition("/")[2]]
            headers = {name.lower(): value for name, value in self.headers.items()}
            refusal = receiver.take(self.path.rpartition("/")[2], request_type.FromString(body), headers)
            answer = response_type().SerializeToString()
            self.send_response(200 if refusal is None else refusal)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return Handler


def attributes(found: Any) -> dict[str, Any]:
    """Convert attributes to Python values."""
    return {one.key: _plain(one.value) for one in found}


def _plain(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
