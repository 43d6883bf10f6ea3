"""Options of the Kafka client, built from `sources.kafka`: what is passed through, and what is refused with which
message."""

from __future__ import annotations

import pytest

from sidecar.adapters.brokers.kafka.broker import KafkaBroker
from sidecar.adapters.brokers.kafka.client_options import KafkaConnector
from sidecar.config.schema import Config, KafkaConfig, SaslConfig, SourcesConfig, TlsConfig
from sidecar.domain.errors import ConfigError
from sidecar.domain.stream_names import LEDGER


def _source(**more: object) -> KafkaConfig:
    return KafkaConfig(bootstrap_servers="one:9092, two:9093", **more)  # type: ignore[arg-type]


def _mistakes(**more: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        KafkaConnector(_source(**more))
    return {one.path: str(one) for one in caught.value.mistakes}


def test_plain_options_pass_through():
    connecting = KafkaConnector(_source(client={"request_timeout_ms": 5_000, "check_crcs": False, "client_id": "x"}))
    assert connecting.servers == ["one:9092", "two:9093"]
    assert connecting.options.request_timeout_ms == 5_000
    assert connecting.options.check_crcs is False
    assert connecting._arguments["client_id"] == "x"
    assert connecting._arguments["security_protocol"] == "PLAINTEXT"


def test_options_with_keys_of_their_own_are_refused_with_the_key():
    mistakes = _mistakes(client={"group_id": "x", "enable_auto_commit": True, "nonsense": 1, "request_timeout_ms": "5"})
    assert set(mistakes) == {
        f"sources.kafka.client.{name}" for name in ("group_id", "enable_auto_commit", "nonsense", "request_timeout_ms")
    }
    assert "set sources.kafka.group_id" in mistakes["sources.kafka.client.group_id"]
    assert "only when a batch is committed" in mistakes["sources.kafka.client.enable_auto_commit"]
    assert "expected int, found '5'" in mistakes["sources.kafka.client.request_timeout_ms"]


def test_secrets_are_not_shown():
    (mistake,) = _mistakes(client={"sasl_plain_password": "hush"}).values()
    assert "hush" not in mistake
    assert "set sources.kafka.sasl" in mistake


def test_an_unknown_codec_is_refused():
    assert "zstd" in _mistakes(client={"compression_type": "zip"})["sources.kafka.client.compression_type"]


@pytest.mark.parametrize(
    ("sasl", "missing"),
    [
        (SaslConfig(mechanism="PLAIN"), {"username", "password"}),
        (SaslConfig(mechanism="OAUTHBEARER", client_id="x"), {"token_endpoint", "client_secret"}),
    ],
)
def test_required_keys_of_each_mechanism(sasl: SaslConfig, missing: set[str]):
    assert set(_mistakes(sasl=sasl)) == {f"sources.kafka.sasl.{name}" for name in missing}


def test_tls_that_cannot_be_read():
    assert "nowhere.pem" in _mistakes(tls=TlsConfig(ca="/nowhere.pem"))["sources.kafka.tls"]


def test_tls_and_sasl_make_the_protocol():
    sasl = SaslConfig(mechanism="SCRAM-SHA-512", username="u", password="p")
    connecting = KafkaConnector(_source(tls=TlsConfig(check_hostname=False), sasl=sasl))
    assert connecting._arguments["security_protocol"] == "SASL_SSL"
    assert connecting._arguments["ssl_context"].check_hostname is False


def test_topics_by_name_and_pattern():
    source = _source(topics=["orders", r"^payments\..*"], gate={"orders.in": "orders"})
    broker = KafkaBroker(source, "shop", Config(service="shop", sources=SourcesConfig()).stream_names("tracecar.shop"))
    assert broker.group == "tracecar.shop"
    wanted = ["orders", "orders.in", "payments.eu"]
    others = ["orders2", "payments", "x.payments.eu", "payments.eu.dlt", "payments.eu-DLT.dlq", LEDGER]
    assert [name for name in wanted + others if broker.wants(name)] == wanted


def test_a_pattern_that_is_none():
    with pytest.raises(ConfigError, match=r"topics\[1\]: expected a regular expression"):
        KafkaBroker(
            _source(topics=["a", "^(b"]), "shop", Config(service="s", sources=SourcesConfig()).stream_names("g")
        )
