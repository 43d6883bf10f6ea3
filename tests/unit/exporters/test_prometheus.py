"""Parses the rendered metrics with the parsers of prometheus-client and compares what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporters.metrics.prometheus import render

Parse = Callable[[str], Iterable[Any]]
FORMATS = pytest.mark.parametrize(("parse", "open_metrics"), [(parse_text, False), (parse_open_metrics, True)])
TEXT = st.text(max_size=12)
DESCRIPTION = st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just("\n"), max_size=12)
"""Descriptions without spaces around them, which both parsers drop."""
LABELS = st.dictionaries(st.sampled_from(["messaging.system", "a.b", "from"]), TEXT)
VALUES = st.one_of(st.integers(0, 1 << 53), st.floats(0, 1e12))


def samples(parse: Parse, text: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    parsed: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for metric_family in parse(text):
        for sample in metric_family.samples:
            parsed.setdefault(sample.name, []).append((sample.labels, sample.value))
    return parsed


def renamed(labels: Mapping[str, str]) -> dict[str, str]:
    return {name.replace(".", "_"): value for name, value in labels.items()}


@FORMATS
@given(description=DESCRIPTION, labels=LABELS, value=VALUES)
def test_counters_and_gauges_are_read_back(
    parse: Parse, open_metrics: bool, description: str, labels: dict[str, str], value: float
) -> None:
    point = NumberDataPoint(labels, 0, 1, value)
    metrics = [
        Metric("tracecar.replays", description, "1", Sum([point], AggregationTemporality.CUMULATIVE, True)),
        Metric("tracecar.held", description, "1", Gauge([point])),
    ]
    text = render(metrics, open_metrics=open_metrics)
    assert samples(parse, text) == {
        "tracecar_replays_total": [(renamed(labels), value)],
        "tracecar_held": [(renamed(labels), value)],
    }
    assert {metric_family.documentation for metric_family in parse(text)} == {description}


@FORMATS
@given(labels=LABELS, counts=st.lists(st.integers(0, 1_000), min_size=3, max_size=3), total=st.floats(0, 1e9))
def test_histograms_are_read_back(
    parse: Parse, open_metrics: bool, labels: dict[str, str], counts: list[int], total: float
) -> None:
    point = HistogramDataPoint(labels, 0, 1, sum(counts), total, counts, [0.5, 60.0], 0.0, 1.0)
    data = Histogram([point], AggregationTemporality.CUMULATIVE)
    parsed = samples(parse, render([Metric("tracecar.edge.duration", "Time.", "s", data)], open_metrics=open_metrics))
    name, rows = "tracecar_edge_duration_seconds", renamed(labels)
    assert [(float(row["le"]), value) for row, value in parsed[f"{name}_bucket"]] == [
        (0.5, counts[0]),
        (60.0, counts[0] + counts[1]),
        (float("inf"), sum(counts)),
    ]
    assert parsed[f"{name}_sum"] == [(rows, total)]
    assert parsed[f"{name}_count"] == [(rows, sum(counts))]


def test_an_exemplar_is_read_back() -> None:
    exemplar = Exemplar({}, 0.3, 1_767_225_600_000_000_000, 0xDEF, 0xABC)
    point = HistogramDataPoint({}, 0, 1, 1, 0.3, [1, 0], [0.5], 0.3, 0.3, [exemplar])
    data = Histogram([point], AggregationTemporality.CUMULATIVE)
    (parsed,) = parse_open_metrics(render([Metric("tracecar.edge.duration", "Time.", "s", data)], open_metrics=True))
    (bucket,) = [sample for sample in parsed.samples if sample.exemplar is not None]
    assert bucket.exemplar.labels == {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
    assert (bucket.exemplar.value, float(bucket.exemplar.timestamp)) == (0.3, 1_767_225_600.0)
