"""The exporter's promises over OTLP in both protocols, and what only a receiver of our own can do: refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporters.backend import Backend
from exporters.conventions import spelling
from exporters.otlp_spans import SpanEncoder
from exporters.otlp_transport import transport
from exporters.outbox import Bounds, Outbox
from sidecar.config import Otlp, Tls
from tests.contracts.exporter_contract import ExporterContract, Rig, events, ids, to, tracing, until
from tests.servers.otlp import Receiver


class OtlpRig(Rig):
    def __init__(self, protocol: Any, certificates: Path | None = None, **options: Any) -> None:
        self.receiver = Receiver(certificates)
        self._protocol, self._options = protocol, options

    def backend(self, bounds: Bounds) -> Backend:
        otlp = Otlp(endpoint=self.receiver.endpoint(self._protocol), protocol=self._protocol, **self._options)
        return Backend("otlp", SpanEncoder(spelling({})), Outbox("otlp", transport(otlp, "traces", "shop"), bounds))

    def arrived(self, trace_ids: Sequence[int]) -> list[tuple[int, int]]:
        wanted = set(trace_ids)
        found = [(int.from_bytes(span.trace_id), int.from_bytes(span.span_id)) for span in self.receiver.spans]
        return [one for one in found if one[0] in wanted]

    def start(self) -> None:
        self.receiver.start()

    def stop(self) -> None:
        self.receiver.stop()


@pytest.fixture(params=["grpc", "http/protobuf"])
def rig(request: pytest.FixtureRequest) -> Iterator[OtlpRig]:
    rig = OtlpRig(request.param)
    with rig.receiver:
        yield rig


class TestOtlp(ExporterContract):
    async def test_a_backend_that_is_busy_is_asked_again(self, rig: OtlpRig) -> None:
        rig.receiver.refusing = 503
        exporter, offered = tracing(rig), events(10)
        exporter.offer(offered)
        await until(lambda: rig.receiver.tried, "a try")
        rig.receiver.refusing = None
        await until(lambda: exporter.counts()[0] == 10, "the second try")
        await exporter.close()
        assert len(rig.arrived(ids(offered))) == 10

    async def test_what_a_backend_refuses_is_counted_and_the_next_goes_on(self, rig: OtlpRig) -> None:
        rig.receiver.refusing = 400
        exporter = tracing(rig)
        exporter.offer(events(10))
        await until(lambda: exporter.counts() == (0, 0, 10), "the refusal")
        assert "refus" in (exporter.trouble or "") or "400" in (exporter.trouble or "")
        rig.receiver.refusing = None
        offered = events(5)
        exporter.offer(offered)
        await exporter.close()
        assert exporter.counts() == (5, 0, 10)

    async def test_requests_say_who_reports(self, rig: OtlpRig) -> None:
        exporter = tracing(rig)
        exporter.offer(events(1))
        await exporter.close()
        resource = rig.receiver.requests["traces"][0].resource_spans[0]
        words = {one.key: one.value.string_value for one in resource.resource.attributes}
        assert (words["service.name"], words["tracecar.service"]) == ("tracecar", "shop")
        assert "service.instance.id" not in words
        assert resource.scope_spans[0].scope.name == "tracecar"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_tls_headers_and_compression(protocol: str, kafka_tls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What requests would take in place of the authorities that are configured.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(kafka_tls / "client.pem"))
    rig = OtlpRig(
        protocol, kafka_tls, tls=Tls(ca=str(kafka_tls / "ca.pem")), headers={"X-Team": "shop"}, compression="gzip"
    )
    with rig.receiver:
        exporter, offered = tracing(rig), events(20)
        exporter.offer(offered)
        await until(lambda: exporter.counts()[0] == 20, f"spans over TLS ({exporter.trouble})")
        await exporter.close()
        assert len(rig.arrived(ids(offered))) == 20
        assert rig.receiver.headers[0]["x-team"] == "shop"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_the_environment_fills_what_is_left_out(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint(protocol))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-tracecar")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        outbox = Outbox("otlp", transport(Otlp(), "traces", "shop"), Bounds(linger=0.05))
        exporter = to(Backend("otlp", SpanEncoder({}), outbox))
        exporter.offer(events(3))
        await exporter.close()
        assert len(receiver.spans) == 3
        assert receiver.headers[0]["x-team"] == "shop"
        resource = receiver.requests["traces"][0].resource_spans[0].resource
        words = {one.key: one.value.string_value for one in resource.attributes}
        assert words["service.name"] == "shop-tracecar"
        assert words["deployment.environment.name"] == "test"
