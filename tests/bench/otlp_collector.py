"""A collector for the bench: gRPC's own server, which parses what comes and counts the spans; a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens until it is left."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.otlp_collector"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Collector(process, process.stdout.readline().strip())
        assert process.stdin is not None
        process.stdin.close()


class Collector:
    def __init__(self, process: subprocess.Popen[str], endpoint: str) -> None:
        self._process, self.endpoint = process, endpoint

    def spans(self) -> int:
        """How many different spans came since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline()))


def main() -> None:
    from concurrent import futures

    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

    requests: list[traces.ExportTraceServiceRequest] = []

    class Service(services.TraceServiceServicer):
        def Export(
            self, request: traces.ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> traces.ExportTraceServiceResponse:
            requests.append(request)
            return traces.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    for _ in sys.stdin:
        seen = {
            (span.trace_id, span.span_id)
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }
        requests.clear()
        print(json.dumps(len(seen)), flush=True)
    server.stop(0).wait()


if __name__ == "__main__":
    main()
