"""Metrics as a collector receives them over OTLP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality

from exporters.metrics.instruments import MetricsRegistry
from exporters.otlp.metric_exporter import MetricDestination, OtlpMetricExporter, read_interval
from sidecar.config.schema import OtlpConfig
from sidecar.domain.ports.metrics import Instrument
from tests.servers.otlp import Receiver, attributes
from tests.support.event_measures import Given, batch, build_measures


async def test_an_unexpected_error_does_not_end_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    broken = True

    def read() -> list[Any]:
        return [(1.0, {})]

    class Failing(Given):
        async def refresh(self) -> None:
            if broken:
                raise ZeroDivisionError("a mistake")

    with Receiver() as receiver:
        otlp = OtlpConfig(endpoint=receiver.endpoint("http/protobuf"), protocol="http/protobuf")
        failing = Failing(Instrument("tracecar.one", "gauge", "", read))
        state = MetricDestination()
        pushed = OtlpMetricExporter(otlp, MetricsRegistry([failing]), "shop", state)
        pushed.start()
        while state.trouble is None:
            await asyncio.sleep(0.01)
        assert state.trouble == "a mistake"
        broken = False
        while state.trouble is not None:
            await asyncio.sleep(0.01)
        await pushed.close()
        assert "tracecar.one" in receiver.metrics


async def test_stream_names_that_are_not_utf_8_are_distinguished() -> None:
    found = build_measures()
    for name in ("a\udcff", "a\udcfe"):
        found.record_batch(batch(1, name))
        found.record_edge(batch(1)[0].event, batch(1, name)[0].event, 7, 9)
    metrics = MetricsRegistry([found], found.histograms)
    text = await metrics.exposition(open_metrics=False)
    for name in ("a\\\\udcff", "a\\\\udcfe"):
        assert f'tracecar_replays_total{{messaging_system="kafka",messaging_destination_name="{name}"}} 0\n' in text
    with Receiver() as receiver:
        otlp = OtlpConfig(endpoint=receiver.endpoint("grpc"), protocol="grpc")
        pushed = OtlpMetricExporter(otlp, metrics, "shop", MetricDestination())
        pushed.start()
        await pushed.close()
        points = receiver.metrics["tracecar.edge.duration"].histogram.data_points
    assert [attributes(point.attributes)["tracecar.to"] for point in points] == ["a\\udcff", "a\\udcfe"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_receives_the_same_metrics(protocol: Any) -> None:
    found = build_measures()
    found.record_batch(batch(3))
    found.record_edge(batch(1)[0].event, batch(1, "mail")[0].event, 7, 9)
    with Receiver() as receiver:
        otlp = OtlpConfig(endpoint=receiver.endpoint(protocol), protocol=protocol)
        state = MetricDestination()
        pushed = OtlpMetricExporter(otlp, MetricsRegistry([found], found.histograms), "shop", state)
        pushed.start()
        await pushed.close()
        got = receiver.metrics
        resource = receiver.requests["metrics"][0].resource_metrics[0].resource
    assert got["tracecar.replays"].sum.is_monotonic
    (point,) = got["tracecar.edge.duration"].histogram.data_points
    assert attributes(point.attributes) == {"tracecar.from": "orders", "tracecar.to": "mail"}
    assert (point.count, len(point.exemplars)) == (1, 1)
    assert int.from_bytes(point.exemplars[0].trace_id) == 7
    assert attributes(resource.attributes)["service.name"] == "tracecar"
    assert state.counts()[0] == len(got)
    assert state.trouble is None


async def test_a_collector_can_prefer_deltas() -> None:
    found = build_measures()
    delta = {Histogram: AggregationTemporality.DELTA, Counter: AggregationTemporality.DELTA}
    metrics = MetricsRegistry([found], found.histograms)
    reader = await metrics.reader(delta)
    counts = []
    for _ in range(3):
        found.process.add(("kafka", "orders", "process"), 0.2)
        (metric,) = [one for one in await metrics.collect(reader) if one.name == "messaging.process.duration"]
        assert metric.data.aggregation_temporality is AggregationTemporality.DELTA
        counts.append((metric.data.data_points[0].count, round(metric.data.data_points[0].sum, 3)))
    assert counts == [(1, 0.2)] * 3
    reader.close()


async def test_an_unreachable_collector_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    assert read_interval() == 0.05
    assert [read_interval({"OTEL_METRIC_EXPORT_INTERVAL": said}) for said in ("", "soon", "-1", "nan", "1e12")] == [
        60.0
    ] * 5
    with Receiver() as receiver:
        endpoint = receiver.endpoint("http/protobuf")
        receiver.refusing = 400
        found = build_measures()
        found.record_batch(batch(1))
        otlp, state = OtlpConfig(endpoint=endpoint, protocol="http/protobuf"), MetricDestination()
        pushed = OtlpMetricExporter(otlp, MetricsRegistry([found]), "shop", state)
        pushed.start()
        while state.trouble is None:
            await asyncio.sleep(0.01)
        receiver.refusing = None
        while state.trouble is not None:
            await asyncio.sleep(0.01)
        await pushed.close()
        assert state.counts()[0] > 0 < state.counts()[2]
