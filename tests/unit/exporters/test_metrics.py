"""What is measured, as Prometheus and a collector get it, and that dashboard and alerts ask for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality

from exporters.metrics.histograms import MAX_SERIES, OTHER, LabeledHistogram
from exporters.metrics.instruments import MAX_SERIES as MOST_POINTS
from exporters.metrics.instruments import MAX_STREAMS, EventMeasures, MetricsRegistry
from exporters.metrics.prometheus import family
from exporters.otlp.metric_exporter import OtlpMetricExporter, read_interval
from exporters.semantic_conventions import read_spelling
from exporters.tracing.sampling import sample_bound
from exporters.tracing.span_ids import span_id_at
from sidecar.api import models
from sidecar.config.schema import Config, OtlpConfig, RedisConfig, SourcesConfig
from sidecar.domain.model import Decoded, Event, Record, Rejection
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import Instrument
from sidecar.domain.position import Position
from sidecar.runtime.metrics import MembershipMetrics
from tests.servers.otlp import Receiver, attributes

NOW = 1_767_225_600_000
CHART = Path(__file__).parents[3] / "helm" / "tracecar"


def batch(count: int, stream: str = "orders", **words: Any) -> list[Decoded]:
    position = Position("kafka", stream, 0, 0)
    words = {"key": None, "appended_at": NOW, "observed_at": NOW * 1000} | words
    return [Decoded(Record(position, None, b"{}", (), NOW), Event(position, **words)) for _ in range(count)]


def measures() -> EventMeasures:
    return EventMeasures(clock=lambda: NOW * 1000 + 4_000, warm_up_s=0)


async def test_rejections_are_counted_by_code_and_causes_once() -> None:
    found = measures()
    found.record_batch(batch(3))
    for number in range(5):
        found.record_batch(
            batch(2, rejection=Rejection("schema.mismatch", f"qty: expected int, found {number}", "qty"))
        )
    found.record_batch(batch(1, rejection=Rejection("decode.truncated", "no more"), replay_of="g@x"))
    text = await MetricsRegistry([found], found.histograms).exposition(open_metrics=False)
    labels = 'messaging_system="kafka",messaging_destination_name="orders"'
    assert f'tracecar_rejections_total{{{labels},error_type="schema.mismatch"}} 10\n' in text
    assert f'tracecar_rejections_total{{{labels},error_type="decode.truncated"}} 1\n' in text
    assert f"tracecar_rejections_new_causes_total{{{labels}}} 2\n" in text
    assert f"tracecar_replays_total{{{labels}}} 1\n" in text
    assert "# TYPE tracecar_rejections_total counter\n" in text


async def test_after_a_start_what_failed_before_it_is_no_new_cause() -> None:
    now = NOW * 1000
    found = EventMeasures(clock=lambda: now)
    metrics = MetricsRegistry([found])

    async def new() -> str:
        text = await metrics.exposition(open_metrics=False)
        return text.partition("\ntracecar_rejections_new_causes_total{")[2].partition("} ")[2].partition("\n")[0]

    def failed(path: str) -> list[Decoded]:
        return batch(1, rejection=Rejection("schema.mismatch", f"{path}: expected int, found text", path))

    found.record_batch(failed("qty") + failed("price"))
    assert await new() == "0"
    # The look-back is read side by side with what comes.
    found.remember([one.event for one in (*failed("qty"), *failed("name"), *batch(1))])
    found.record_batch(failed("name"))
    now += 61_000_000
    assert await new() == "1"
    found.record_batch(failed("name") + failed("qty") + failed("price") + failed("total"))
    assert await new() == "2"


async def test_latencies_are_histograms_with_exemplars_where_openmetrics_is_spoken() -> None:
    found = measures()
    cause, effect = batch(1)[0].event, batch(1, "mail", trace_id=0xABC, appended_at=NOW + 300)[0].event
    found.record_edge(cause, effect, effect.trace_id, 0xDEF)
    found.record_batch(batch(1))
    plain = await MetricsRegistry([found], found.histograms).exposition(open_metrics=False)
    labels = 'tracecar_from="orders",tracecar_to="mail"'
    assert f'tracecar_edge_duration_seconds_bucket{{{labels},le="0.25"}} 0\n' in plain
    assert f'tracecar_edge_duration_seconds_bucket{{{labels},le="0.5"}} 1\n' in plain
    assert f'tracecar_edge_duration_seconds_bucket{{{labels},le="+Inf"}} 1\n' in plain
    assert f"tracecar_edge_duration_seconds_sum{{{labels}}} 0.3\n" in plain
    assert "messaging_process_duration_seconds_count" in plain
    assert " # {" not in plain
    rich = await MetricsRegistry([found], found.histograms).exposition(open_metrics=True)
    line = next(one for one in rich.splitlines() if f'{labels},le="0.5"' in one)
    assert f'1 # {{trace_id="{0xABC:032x}",span_id="{0xDEF:016x}"}} 0.3 ' in line
    assert "# TYPE tracecar_replays counter\n" in rich
    assert rich.endswith("# EOF\n")


async def test_label_sets_are_bounded() -> None:
    found = measures()
    for number in range(MAX_STREAMS + 50):
        found.record_batch(batch(1, f"s{number}", rejection=Rejection("decode.malformed", "no")))
    text = await MetricsRegistry([found]).exposition(open_metrics=False)
    assert f'tracecar_replays_total{{messaging_system="kafka",messaging_destination_name="{OTHER}"}} 0' in text
    assert text.count("tracecar_replays_total{") == MAX_STREAMS + 1
    latencies = LabeledHistogram("x", "", ("a", "b"))
    for number in range(MAX_SERIES + 50):
        latencies.add((str(number), "b"), 1.0)
    assert len(latencies.series) == MAX_SERIES + 1
    assert latencies.series[OTHER, OTHER].count == 50


class Given:
    """A source of these instruments."""

    def __init__(self, *instruments: Instrument) -> None:
        self._instruments = instruments

    def instruments(self) -> Sequence[Instrument]:
        return self._instruments

    async def refresh(self) -> None: ...


async def test_what_is_beyond_the_bound_counts_together_and_gauges_of_it_are_left_out() -> None:
    points = [(1.0, {"stream": f"s{number}", "system": "kafka"}) for number in range(MOST_POINTS + 40)]
    given = Given(
        Instrument("tracecar.many", "counter", "", lambda: points),
        Instrument("tracecar.much", "gauge", "", lambda: points),
    )
    text = await MetricsRegistry([given]).exposition(open_metrics=False)
    assert f'tracecar_many_total{{stream="{OTHER}",system="{OTHER}"}} 40\n' in text
    assert text.count("tracecar_many_total{") == MOST_POINTS + 1
    assert text.count("tracecar_much{") == MOST_POINTS
    assert OTHER not in text.partition("tracecar_much")[2]


@pytest.mark.parametrize(
    ("asked_for", "named"),
    [("messaging", {"messaging_system_name"}), ("messaging/dup", {"messaging_system_name", "messaging_system"})],
)
async def test_labels_have_the_names_of_the_conventions_that_are_asked_for(asked_for: str, named: set[str]) -> None:
    found = measures()
    found.record_batch(batch(1))
    metrics = MetricsRegistry([found], found.histograms, read_spelling({"OTEL_SEMCONV_STABILITY_OPT_IN": asked_for}))
    text = await metrics.exposition(open_metrics=False)
    for line in text.splitlines():
        if line.startswith(("tracecar_replays_total", "messaging_process_duration_seconds_count")):
            assert {name for name in re.findall(r"(\w+)=", line) if "system" in name} == named


async def test_metrics_are_there_whatever_the_environment_says_of_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measures()
    found.record_batch(batch(1))
    metrics = MetricsRegistry([found], found.histograms)
    plain = await metrics.exposition(open_metrics=False)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "nonsense")
    assert await MetricsRegistry([found], found.histograms).exposition(open_metrics=False) == plain
    assert "tracecar_replays_total{" in plain


async def test_exemplars_lead_to_traces_that_are_sent_only() -> None:
    found = EventMeasures(clock=lambda: NOW * 1000 + 4_000, bound=sample_bound(0.5))
    for trace_id in (1, (1 << 64) - 1):
        found.record_batch(batch(1, trace_id=trace_id))
        found.record_edge(batch(1)[0].event, batch(1, "mail")[0].event, trace_id, 9)
        found.record_delivery(
            ("kafka", "orders", "g"), 2.0, Node(batch(1)[0].event, "ok", trace_id, None, False, 0), None
        )
    text = await MetricsRegistry([], found.histograms).exposition(open_metrics=True)
    assert re.findall(r'trace_id="(\w+)"', text) == [f"{1:032x}"] * 3
    assert re.findall(r"_count\S+ (\d+)", text) == ["2"] * 3


async def test_a_group_that_has_passed_an_event_is_measured_with_its_trace() -> None:
    found = measures()
    event = batch(1)[0].event
    node = Node(event, "ok", 0xABC, None, False, 0)
    found.record_delivery(("kafka", "orders", "billing"), 2.0, node, None)
    found.record_delivery(("kafka", "orders", "billing"), 20.0, node, 0xDEF)
    text = await MetricsRegistry([], found.histograms).exposition(open_metrics=True)
    exemplars = re.findall(r'delivery_duration\S+ \d+ # {trace_id="(\w+)",span_id="(\w+)"} (\S+)', text)
    span_id = f"{span_id_at(event.position):016x}"
    assert exemplars == [(f"{0xABC:032x}", span_id, "2"), (f"{0xDEF:032x}", span_id, "20")]


def test_the_fleet() -> None:
    class Shared:
        waiting, not_indexed = 7, 3

    def row(alive: bool) -> models.MemberModel:
        words = dict.fromkeys(("member", "host", "service", "version"), "x")
        return models.MemberModel(
            **words, here=False, alive=alive, last_heartbeat=None, groups=[], started_at=None, streams=[], lag=None,
            rate=0.0, waiting=0, not_indexed=0,
        )  # fmt: skip

    def points(one: MembershipMetrics) -> dict[str, list[Any]]:
        return {instrument.name: list(instrument.read()) for instrument in one.instruments()}

    assert points(MembershipMetrics(None, list)) == {
        "tracecar.index.waiting": [(0, {})],
        "tracecar.index.not_indexed": [(0, {})],
        "tracecar.members": [(1, {"state": "alive"}), (0, {"state": "silent"})],
    }
    assert points(MembershipMetrics(Shared(), lambda: [row(True), row(False), row(True)])) == {
        "tracecar.index.waiting": [(7, {})],
        "tracecar.index.not_indexed": [(3, {})],
        "tracecar.members": [(2, {"state": "alive"}), (1, {"state": "silent"})],
    }


async def test_labels_cannot_break_the_text() -> None:
    odd = Instrument("tracecar.odd", "gauge", 'say "x"\nnow', lambda: [(1.5, {"a.b": 'x"\\\n\ud800'})])
    text = await MetricsRegistry([Given(odd)]).exposition(open_metrics=False)
    assert 'tracecar_odd{a_b="x\\"\\\\\\n\\\\ud800"} 1.5\n' in text
    text.encode()


async def test_a_mistake_does_not_end_the_sending(monkeypatch: pytest.MonkeyPatch) -> None:
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
        pushed = OtlpMetricExporter(otlp, MetricsRegistry([failing]), "shop")
        pushed.start()
        while pushed.trouble is None:
            await asyncio.sleep(0.01)
        assert pushed.trouble == "a mistake"
        broken = False
        while pushed.trouble is not None:
            await asyncio.sleep(0.01)
        await pushed.close()
        assert "tracecar.one" in receiver.metrics


async def test_streams_whose_names_are_not_utf_8_stay_apart() -> None:
    found = measures()
    for name in ("a\udcff", "a\udcfe"):
        found.record_batch(batch(1, name))
        found.record_edge(batch(1)[0].event, batch(1, name)[0].event, 7, 9)
    metrics = MetricsRegistry([found], found.histograms)
    text = await metrics.exposition(open_metrics=False)
    for name in ("a\\\\udcff", "a\\\\udcfe"):
        assert f'tracecar_replays_total{{messaging_system="kafka",messaging_destination_name="{name}"}} 0\n' in text
    with Receiver() as receiver:
        pushed = OtlpMetricExporter(OtlpConfig(endpoint=receiver.endpoint("grpc"), protocol="grpc"), metrics, "shop")
        pushed.start()
        await pushed.close()
        points = receiver.metrics["tracecar.edge.duration"].histogram.data_points
    assert [attributes(point.attributes)["tracecar.to"] for point in points] == ["a\\udcff", "a\\udcfe"]


async def test_many_scrapes_at_once_are_answered() -> None:
    found = measures()
    found.record_batch(batch(3))
    metrics = MetricsRegistry([found], found.histograms)
    texts = await asyncio.gather(*(metrics.exposition(open_metrics=False) for _ in range(5)))
    assert len(set(texts)) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_gets_the_same(protocol: Any) -> None:
    found = measures()
    found.record_batch(batch(3))
    found.record_edge(batch(1)[0].event, batch(1, "mail")[0].event, 7, 9)
    with Receiver() as receiver:
        otlp = OtlpConfig(endpoint=receiver.endpoint(protocol), protocol=protocol)
        pushed = OtlpMetricExporter(otlp, MetricsRegistry([found], found.histograms), "shop")
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
    assert pushed.counts()[0] == len(got)
    assert pushed.trouble is None


async def test_a_collector_that_prefers_deltas_gets_them() -> None:
    found = measures()
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


async def test_a_collector_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    assert read_interval() == 0.05
    assert [read_interval({"OTEL_METRIC_EXPORT_INTERVAL": said}) for said in ("", "soon", "-1", "nan", "1e12")] == [
        60.0
    ] * 5
    with Receiver() as receiver:
        endpoint = receiver.endpoint("http/protobuf")
        receiver.refusing = 400
        found = measures()
        found.record_batch(batch(1))
        pushed = OtlpMetricExporter(
            OtlpConfig(endpoint=endpoint, protocol="http/protobuf"), MetricsRegistry([found]), "shop"
        )
        pushed.start()
        while pushed.trouble is None:
            await asyncio.sleep(0.01)
        receiver.refusing = None
        while pushed.trouble is not None:
            await asyncio.sleep(0.01)
        await pushed.close()
        assert pushed.counts()[0] > 0 < pushed.counts()[2]


# --- dashboard and alerts

_NAME = re.compile(r"\b(?:tracecar|messaging)_[a-z_]+")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring) ?\(([^)]*)\)|\{([^}]*)\}")
_PARTS = re.compile(r"_(?:bucket|sum|count)$")


def asked(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    return set(_NAME.findall(_LABELS.sub("", expression)))


def expressions() -> Iterator[tuple[str, str]]:
    dashboard = json.loads((CHART / "dashboards" / "tracecar.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in yaml.safe_load((CHART / "rules" / "tracecar.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


async def measured() -> tuple[set[str], set[str]]:
    """The names that `/metrics` of a whole sidecar can have, and its labels."""
    from sidecar.runtime.wiring import build_service

    config = Config(
        service="shop", sources=SourcesConfig(redis=RedisConfig(url="redis://127.0.0.1:1", streams=["orders"]))
    )
    service = build_service(config)
    histograms = service.telemetry.metrics.histograms
    instruments = service.telemetry.metrics.instruments()
    known = {family(one.name, one.unit) + ("_total" if one.kind == "counter" else "") for one in instruments}
    known |= {f"{family(one.name, 's')}{part}" for one in histograms for part in ("_bucket", "_sum", "_count")}
    return known, {name.replace(".", "_") for one in histograms for name in one.names}


async def test_dashboard_and_alerts_ask_for_metrics_and_labels_that_exist() -> None:
    known, labels = await measured()
    labels |= {"job", "instance", "namespace", "system", "stream", "exporter", "error_type", "le", "state"}
    for where, expression in expressions():
        assert asked(expression), where
        assert asked(expression) <= known, f"{where}: {asked(expression) - known}"
        for first, _ in _LABELS.findall(expression):
            assert {name.strip() for name in first.split(",") if name.strip()} <= labels, where
    # Every metric is on a dashboard or in an alert.
    seen = {_PARTS.sub("", name) for _, expression in expressions() for name in asked(expression)}
    assert {_PARTS.sub("", name) for name in known} - seen <= {"tracecar_uptime_seconds"}


async def test_the_documentation_names_every_metric_and_no_other() -> None:
    known = {_PARTS.sub("", name) for name in (await measured())[0]}
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
