"""OpenTelemetry's standard environment variables: their effect, and messages about values that cannot be used."""

from __future__ import annotations

import pytest

from exporters.otlp.environment import compression, protocol, service_name, timeout
from exporters.otlp.settings import check_settings, effective_config, enabled_signals
from sidecar.config.schema import OtlpConfig, TlsConfig
from sidecar.config.value_types import Duration
from sidecar.domain.errors import ConfigError

ALL = ["traces", "metrics", "logs"]


@pytest.mark.parametrize("signal", ALL)
def test_an_endpoint_of_one_signal_switches_that_one_on_and_no_other(signal: str) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": "http://collector:4318/here"}
    found = effective_config(None, environ)
    assert found == OtlpConfig()
    assert enabled_signals(OtlpConfig(), environ) == [signal]
    # The address of the file is for all signals, and so is the general one of the environment.
    assert enabled_signals(OtlpConfig(endpoint="http://collector:4317"), environ) == ALL
    assert enabled_signals(OtlpConfig(), environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}) == ALL


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (" None ", False),
        ("", True),
        ("otlp", True),
        ("otlp_proto_http", True),
        ("console, otlp", True),
        ("prometheus", False),
    ],
)
def test_the_exporter_variable_selects_the_exporter_of_a_signal(said: str, sent: bool) -> None:
    assert ("metrics" in enabled_signals(OtlpConfig(), {"OTEL_METRICS_EXPORTER": said})) is sent


def test_a_signals_variable_precedes_the_general_one_and_the_file_precedes_both() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "7",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "2500",
    }
    assert [protocol(OtlpConfig(), signal, environ) for signal in ALL] == ["http/protobuf", "http/protobuf", "grpc"]
    assert [compression(OtlpConfig(), signal, environ) for signal in ALL] == ["none", "gzip", "gzip"]
    # Milliseconds by the specification; small numbers are taken as seconds, as in Python's SDK.
    assert [timeout(OtlpConfig(), signal, environ) for signal in ALL] == [7.0, 2.5, 7.0]
    said = OtlpConfig(protocol="grpc", compression="none", timeout=Duration(3))
    assert {protocol(said, signal, environ) for signal in ALL} == {"grpc"}
    assert {compression(said, signal, environ) for signal in ALL} == {"none"}
    assert {timeout(said, signal, environ) for signal in ALL} == {3.0}


def test_unusable_values_are_reported_together() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/not/there.pem",
    }
    with pytest.raises(ConfigError) as told:
        check_settings(OtlpConfig(), environ)
    assert str(told.value).splitlines() == [
        "the environment: OTEL_EXPORTER_OTLP_COMPRESSION: expected none or gzip, found 'brotli'",
        "the environment: OTEL_EXPORTER_OTLP_TIMEOUT: expected a number of milliseconds, such as 10000, found '10s'",
        "the environment: OTEL_EXPORTER_OTLP_CERTIFICATE: expected a readable file, found '/not/there.pem' "
        "(No such file or directory)",
        "the environment: OTEL_EXPORTER_OTLP_METRICS_PROTOCOL: expected grpc or http/protobuf, found 'http/json'",
    ]
    check_settings(OtlpConfig(signals=[]), environ)
    for word in ("0", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_TIMEOUT"):
            check_settings(OtlpConfig(), {"OTEL_EXPORTER_OTLP_TIMEOUT": word})


def test_grpc_requires_the_host_name() -> None:
    otlp = OtlpConfig(endpoint="https://collector:4317", tls=TlsConfig(check_hostname=False))
    with pytest.raises(ConfigError, match=r"check_hostname: expected true: gRPC always checks it; .* http/protobuf"):
        check_settings(otlp, {})
    check_settings(otlp, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})


def test_the_reporters_name() -> None:
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "team=shop, service.name=our%20tracecar ,x=y"}
    assert service_name({}) == "tracecar"
    assert service_name(attributes) == "our tracecar"
    assert service_name(attributes | {"OTEL_SERVICE_NAME": "mine"}) == "mine"
