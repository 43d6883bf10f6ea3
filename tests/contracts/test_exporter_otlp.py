"""The exporter contract over OTLP in both protocols, and refusals by a receiver of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from exporters.batch_queue import BatchQueue, QueueBounds
from exporters.otlp.span_encoder import OtlpSpanEncoder
from exporters.otlp.transport import create_transport
from exporters.semantic_conventions import read_spelling
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import OtlpConfig, TlsConfig
from tests.contracts.exporter_contract import ExporterContract, Rig, events, ids, to, tracing
from tests.servers.otlp import Receiver
from tests.support.conditions import until


class OtlpRig(Rig):
    def __init__(self, protocol: Any, receiver: Receiver | None = None, **options: Any) -> None:
        self.receiver = receiver or Receiver()
        self._protocol, self._options = protocol, options

    def backend(self, bounds: QueueBounds) -> SpanSink:
        otlp = OtlpConfig(endpoint=self.receiver.endpoint(self._protocol), protocol=self._protocol, **self._options)
        return SpanSink(
            "otlp",
            OtlpSpanEncoder(read_spelling({})),
            BatchQueue("otlp", create_transport(otlp, "traces", "shop"), bounds),
        )

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

    async def test_refused_spans_are_counted_and_the_next_ones_are_sent(self, rig: OtlpRig) -> None:
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


async def arrive(rig: OtlpRig) -> None:
    """Assert that all spans arrive."""
    exporter, offered = tracing(rig), events(20)
    exporter.offer(offered)
    await until(lambda: exporter.counts()[0] == 20, f"spans to be taken ({exporter.trouble})")
    await exporter.close()
    assert len(rig.arrived(ids(offered))) == 20


async def fail(rig: OtlpRig) -> str:
    """Assert that no span arrives, and return the reason."""
    exporter = tracing(rig)
    exporter.offer(events(3))
    await until(lambda: exporter.trouble is not None, "the trouble")
    trouble = exporter.trouble
    await exporter.close()
    assert exporter.counts() == (0, 3, 0)
    assert rig.receiver.spans == []
    return trouble or ""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_tls_headers_and_compression(protocol: str, kafka_tls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Variables that `requests` would use instead of the configured authorities.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(kafka_tls / "client.pem"))
    tls = TlsConfig(ca=str(kafka_tls / "ca.pem"))
    rig = OtlpRig(protocol, Receiver(kafka_tls), tls=tls, headers={"X-Team": "shop"}, compression="gzip")
    with rig.receiver:
        await arrive(rig)
        assert rig.receiver.headers[0]["x-team"] == "shop"
        assert "gzip" in rig.receiver.headers[0].get("content-encoding", "gzip")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_that_asks_for_certificates_gets_ours(protocol: str, kafka_tls: Path) -> None:
    authority = str(kafka_tls / "ca.pem")
    ours = TlsConfig(ca=authority, cert=str(kafka_tls / "client.pem"), key=str(kafka_tls / "client.key"))
    with Receiver(kafka_tls, mutual=True) as receiver:
        assert await fail(OtlpRig(protocol, receiver, tls=TlsConfig(ca=authority)))
        await arrive(OtlpRig(protocol, receiver, tls=ours))


@pytest.fixture
def elsewhere_tls(tmp_path: Path) -> Path:
    """A folder with `ca.pem`, and a `server.pem` for another host name."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("collector.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_certificate_must_name_the_host(protocol: str, elsewhere_tls: Path) -> None:
    with Receiver(elsewhere_tls) as receiver:
        trouble = await fail(OtlpRig(protocol, receiver, tls=TlsConfig(ca=str(elsewhere_tls / "ca.pem"))))
    assert "ostname" in trouble


async def test_host_names_are_not_checked_if_configured_so(elsewhere_tls: Path, kafka_tls: Path) -> None:
    with Receiver(elsewhere_tls) as receiver:
        # Without a check of the host name, the certificate's issuer is still checked.
        stranger = TlsConfig(ca=str(kafka_tls / "ca.pem"), check_hostname=False)
        assert "certificate verify failed" in await fail(OtlpRig("http/protobuf", receiver, tls=stranger))
        tls = TlsConfig(ca=str(elsewhere_tls / "ca.pem"), check_hostname=False)
        await arrive(OtlpRig("http/protobuf", receiver, tls=tls))


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_the_environment_fills_what_is_left_out(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint(protocol))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-tracecar")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        outbox = BatchQueue("otlp", create_transport(OtlpConfig(), "traces", "shop"), QueueBounds(linger=0.05))
        exporter = to(SpanSink("otlp", OtlpSpanEncoder({}), outbox))
        exporter.offer(events(3))
        await exporter.close()
        assert len(receiver.spans) == 3
        assert receiver.headers[0]["x-team"] == "shop"
        resource = receiver.requests["traces"][0].resource_spans[0].resource
        words = {one.key: one.value.string_value for one in resource.attributes}
        assert words["service.name"] == "shop-tracecar"
        assert words["deployment.environment.name"] == "test"
