"""The dashboard, the alerts and the documentation use metrics and labels that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from exporters.metrics.prometheus import family
from sidecar.config.schema import Config, HistoryConfig, RedisConfig, SagaConfig, SourcesConfig
from sidecar.config.value_types import Duration
from tests.support.promql import CHART, LABELS, PARTS, metrics_of, promql_expressions

SAGA = SagaConfig(name="order", start="OrderPlaced", deadline=Duration(1))


async def exposed_names(**parts: Any) -> tuple[set[str], set[str]]:
    """Return all metric names and labels that `/metrics` of a sidecar has, with these further parts configured."""
    from sidecar.runtime.wiring import build_service

    config = Config(
        service="shop",
        sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1:1", streams=["orders"])),
        **parts,
    )
    service = build_service(config)
    histograms = service.telemetry.metrics.histograms
    instruments = service.telemetry.metrics.instruments()
    known = {family(one.name, one.unit) + ("_total" if one.kind == "counter" else "") for one in instruments}
    known |= {f"{family(one.name, 's')}{part}" for one in histograms for part in ("_bucket", "_sum", "_count")}
    return known, {name.replace(".", "_") for one in histograms for name in one.names}


async def test_dashboard_and_alerts_use_metrics_and_labels_that_exist() -> None:
    known, labels = await exposed_names(sagas=[SAGA])
    labels |= {"job", "instance", "namespace", "system", "stream", "exporter", "error_type", "le", "state"}
    labels |= {"saga", "step", "rule", "severity"}
    for where, expression in promql_expressions():
        assert metrics_of(expression), where
        assert metrics_of(expression) <= known, f"{where}: {metrics_of(expression) - known}"
        for first, _ in LABELS.findall(expression):
            assert {name.strip() for name in first.split(",") if name.strip()} <= labels, where
    # Every metric is on a dashboard or in an alert.
    seen = {PARTS.sub("", name) for _, expression in promql_expressions() for name in metrics_of(expression)}
    assert {PARTS.sub("", name) for name in known} - seen <= {"tracecar_uptime_seconds"}


async def test_the_documentation_names_every_metric_and_no_other(tmp_path: Path) -> None:
    names, _ = await exposed_names(history=HistoryConfig(url=str(tmp_path)), sagas=[SAGA])
    known = {PARTS.sub("", name) for name in names}
    page = (CHART.parents[1] / "docs" / "telemetry.md").read_text()
    table = page[page.index("| metric |") : page.index("(system, destination, group")]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == known


def test_alerts_say_what_is_wrong() -> None:
    rules = yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")
