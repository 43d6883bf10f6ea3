"""Results of `tracecar check` about a gate with a late start."""

from __future__ import annotations

import pytest

from sidecar.config.schema import Config, KafkaConfig, SourcesConfig
from sidecar.config.value_types import StartPosition
from sidecar.runtime.preflight import gates
from sidecar.runtime.wiring import build_sources


@pytest.mark.parametrize(("start", "said"), [("latest", 1), ("ago", 1), ("at", 1), ("earliest", 0)])
def test_records_before_a_new_gate_are_reported(start, said):
    kafka = KafkaConfig(bootstrap_servers="kafka:9092", gate={"orders.in": "orders"}, start=StartPosition(start))
    findings = list(gates(build_sources(Config(service="shop", sources=SourcesConfig(kafka=kafka)))))
    assert len(findings) == said
    assert all(finding.ok and "orders.in" in finding.detail for finding in findings)


def test_a_source_without_gate_may_start_anywhere():
    kafka = KafkaConfig(bootstrap_servers="kafka:9092", topics=["orders"])
    assert list(gates(build_sources(Config(service="shop", sources=SourcesConfig(kafka=kafka))))) == []
