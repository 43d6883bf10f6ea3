"""The exporter contract on a real Zipkin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from exporters.batch_queue import BatchQueue, QueueBounds
from exporters.tracing.span_sink import SpanSink
from exporters.zipkin import ZipkinSpanEncoder, ZipkinTransport
from sidecar.config.schema import ZipkinConfig
from tests.contracts.exporter_contract import ExporterContract, Rig
from tests.servers.zipkin import Zipkin

pytestmark = pytest.mark.zipkin


class ZipkinRig(Rig):
    """A Zipkin. `stop` replaces it by a server of its own, because other tests use the session's."""

    def __init__(self, server: Zipkin) -> None:
        self._server = server

    def backend(self, bounds: QueueBounds) -> SpanSink:
        settings = ZipkinConfig(endpoint=self._server.endpoint)
        return SpanSink("zipkin", ZipkinSpanEncoder({}), BatchQueue("zipkin", ZipkinTransport(settings), bounds))

    def arrived(self, trace_ids: Sequence[int]) -> list[tuple[int, int]]:
        wanted = {f"{trace:032x}" for trace in trace_ids}
        spans = [span for trace in self._server.traces() for span in trace if span["traceId"] in wanted]
        return [(int(span["traceId"], 16), int(span["id"], 16)) for span in spans]

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server = Zipkin()

    def close(self, shared: Zipkin) -> None:
        if self._server is not shared:
            self._server.__exit__()


@pytest.fixture
def rig(zipkin: Zipkin) -> Iterator[ZipkinRig]:
    rig = ZipkinRig(zipkin)
    yield rig
    rig.close(zipkin)


class TestZipkin(ExporterContract):
    """The whole contract."""
