"""Telemetry that the file enables, that the environment enables, or that is off."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import Any

import pytest

from exporters.preflight import check_backends
from exporters.telemetry import Telemetry, TelemetrySession
from sidecar.config.schema import (
    Config,
    ExportersConfig,
    OtlpConfig,
    RedisConfig,
    SourcesConfig,
    TlsConfig,
    ZipkinConfig,
)
from sidecar.config.value_types import Duration
from sidecar.domain.errors import ConfigError
from sidecar.domain.model import Decoded, Event, Record, Rejection
from sidecar.domain.position import Position
from tests.contracts.exporter_contract import events
from tests.servers.otlp import Receiver, attributes


def config(**exporters: Any) -> Config:
    source = SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1:1", streams=["orders"]))
    return Config(service="shop", sources=source, exporters=ExportersConfig(**exporters))


def names(made: Config) -> list[str]:
    return [one.name for one in Telemetry(made, {}, {}).destinations]


def test_nothing_is_sent_unless_asked_for() -> None:
    assert names(config()) == []


def test_the_environment_alone_switches_it_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    assert names(config()) == ["otlp", "otlp.logs", "otlp.metrics"]
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    assert names(config()) == ["otlp", "otlp.metrics"]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    zipkin = ZipkinConfig(endpoint="http://127.0.0.1:1/api/v2/spans")
    assert names(config(zipkin=zipkin)) == ["otlp.metrics"]
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    assert names(config(zipkin=zipkin)) == ["otlp", "zipkin", "otlp.metrics"]
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert names(config(otlp=OtlpConfig(), zipkin=zipkin)) == []


def test_unusable_settings_are_reported_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json")
    made = config(otlp=OtlpConfig(signals=["metrics"]))
    for run in (lambda: Telemetry(made, {}, {}), lambda: list(check_backends(made))):
        with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: expected grpc or http/protobuf"):
            run()


def test_backends_are_independent() -> None:
    zipkin = ZipkinConfig(endpoint="http://127.0.0.1:1/api/v2/spans")
    assert names(config(otlp=OtlpConfig(signals=["traces"]), zipkin=zipkin)) == ["otlp", "zipkin"]


def test_unreadable_certificates_are_reported() -> None:
    for protocol_name in ("grpc", "http/protobuf"):
        otlp = OtlpConfig(endpoint="https://127.0.0.1:1", protocol=protocol_name, tls=TlsConfig(ca="/not/there.pem"))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"exporters\.otlp\.tls\.ca: expected a readable file"):
            Telemetry(config(otlp=otlp), {}, {})
    zipkin = ZipkinConfig(endpoint="https://127.0.0.1:1", tls=TlsConfig(ca="/not/there.pem"))
    with pytest.raises(ConfigError, match=r"exporters\.zipkin\.tls"):
        Telemetry(config(zipkin=zipkin), {}, {})


def test_check_tries_every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver:
        good = OtlpConfig(endpoint=receiver.endpoint("grpc"), protocol="grpc")
        found = list(check_backends(config(otlp=good, zipkin=ZipkinConfig(endpoint="http://127.0.0.1:1/api/v2/spans"))))
        assert [one.ok for one in found] == [True, True, True, False]
        assert found[0].what.startswith("exporters.otlp: traces by grpc to http://127.0.0.1:")
        assert found[1].what.startswith("exporters.otlp: metrics by grpc to ")
        assert "cannot connect" in found[3].detail
        plain = OtlpConfig(endpoint=receiver.endpoint("http/protobuf"), protocol="http/protobuf")
        assert [one.ok for one in check_backends(config(otlp=plain))] == [True, True, True]
        receiver.refusing = 400
        assert [one.ok for one in check_backends(config(otlp=good))] == [False, False, False]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:1/v1/logs")
    (logs,) = check_backends(config())
    assert logs.what == "exporters.otlp: logs by grpc to http://127.0.0.1:1/v1/logs (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT)"
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
    assert list(check_backends(config())) == []


@pytest.mark.slow  # a process
def test_a_sidecar_without_exporters_loads_none_of_their_libraries() -> None:
    text = (
        "import sys; from exporters.telemetry import Telemetry"
        "; from sidecar.config.schema import Config, RedisConfig, SourcesConfig;"
        "source = SourcesConfig(redis=RedisConfig(url='redis://127.0.0.1:1', streams=['orders']));"
        "Telemetry(Config(service='shop', sources=source), {}, {});"
        "print(sorted({'grpc', 'opentelemetry', 'requests', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("protocol_name", ["grpc", "http/protobuf"])
async def test_a_backend_that_never_answers_does_not_keep_the_process(
    protocol_name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend accepts connections and answers after an hour. Neither the stop nor the event loop waits for it."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        otlp = OtlpConfig(endpoint=where, protocol=protocol_name, timeout=Duration(3600))
        made = config(otlp=otlp, zipkin=ZipkinConfig(endpoint=f"{where}/api/v2/spans", timeout=Duration(3600)))
        telemetry = Telemetry(made, {}, {})
        session = TelemetrySession(telemetry, [])
        session.start()
        telemetry.offer(events(10))
        assert session.metric_exporter is not None
        while not session.metric_exporter._in_flight:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(120):
            await session.close()
        assert telemetry.counts()[:2] == (0, 20)


async def test_a_rejection_in_a_waiting_flow_is_exported_at_the_end() -> None:
    with Receiver() as receiver:
        endpoint = receiver.endpoint("grpc")
        telemetry = Telemetry(
            config(otlp=OtlpConfig(endpoint=endpoint, protocol="grpc", signals=["traces", "logs"])), {}, {}
        )
        telemetry.start()
        position = Position("redis", "orders", 0, 1 << 64)
        event = Event(position, None, 1, 1_000, event_id="a", rejection=Rejection("decode.malformed", "no"))
        telemetry.offer([Decoded(Record(position, None, b"{}", (), 1), event)])
        await telemetry.close()
        assert (len(receiver.spans), len(receiver.log_records)) == (1, 1)


async def test_a_reported_record_without_position_is_exported_without_one() -> None:
    with Receiver() as receiver:
        endpoint = receiver.endpoint("grpc")
        telemetry = Telemetry(config(otlp=OtlpConfig(endpoint=endpoint, protocol="grpc", signals=["logs"])), {}, {})
        no = Rejection("reported.error", "KeyError: no such customer")
        event = Event(Position("redis", "orders", 0, 0), None, -1, 5_000_000, event_id="a", trace_id=7, rejection=no)
        telemetry.dead_lettered(event, "billing", "billing@sha256:0123")
        await telemetry.close()
        (record,) = receiver.log_records
    words = attributes(record.attributes)
    assert (words["tracecar.dead_letter.id"], words["messaging.consumer.group.name"]) == (
        "billing@sha256:0123",
        "billing",
    )
    assert "tracecar.position" not in words
    assert record.body.string_value == "orders rejected: reported.error: KeyError: no such customer"
    assert (int.from_bytes(record.trace_id), record.span_id) == (7, b"")
    assert record.time_unix_nano == record.observed_time_unix_nano == 5_000_000_000
