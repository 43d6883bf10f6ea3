"""Metrics as Prometheus reads them: counters, histograms, exemplars, bounds, labels."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from exporters.metrics.histograms import MAX_SERIES, OTHER, LabeledHistogram
from exporters.metrics.instruments import MAX_SERIES as MOST_POINTS
from exporters.metrics.instruments import MAX_STREAMS, EventMeasures, MetricsRegistry
from exporters.semantic_conventions import read_spelling
from exporters.tracing.sampling import sample_bound
from exporters.tracing.span_ids import span_id_at
from sidecar.api import models
from sidecar.domain.model import Decoded, Rejection
from sidecar.domain.ports.index import Node
from sidecar.domain.ports.metrics import Instrument
from sidecar.runtime.metrics import MembershipMetrics
from tests.support.event_measures import NOW, Given, batch, build_measures


async def test_rejections_are_counted_by_code_and_causes_once() -> None:
    found = build_measures()
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


async def test_causes_from_before_the_start_are_not_new() -> None:
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
    # The look-back window is read concurrently with new events.
    found.remember([one.event for one in (*failed("qty"), *failed("name"), *batch(1))])
    found.record_batch(failed("name"))
    now += 61_000_000
    assert await new() == "1"
    found.record_batch(failed("name") + failed("qty") + failed("price") + failed("total"))
    assert await new() == "2"


async def test_latencies_are_histograms_with_exemplars_in_openmetrics() -> None:
    found = build_measures()
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
    found = build_measures()
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


async def test_points_beyond_the_bound_are_summed_and_gauges_dropped() -> None:
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
async def test_labels_follow_the_selected_conventions(asked_for: str, named: set[str]) -> None:
    found = build_measures()
    found.record_batch(batch(1))
    metrics = MetricsRegistry([found], found.histograms, read_spelling({"OTEL_SEMCONV_STABILITY_OPT_IN": asked_for}))
    text = await metrics.exposition(open_metrics=False)
    for line in text.splitlines():
        if line.startswith(("tracecar_replays_total", "messaging_process_duration_seconds_count")):
            assert {name for name in re.findall(r"(\w+)=", line) if "system" in name} == named


async def test_the_environment_of_the_sdk_does_not_change_scraped_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    found = build_measures()
    found.record_batch(batch(1))
    metrics = MetricsRegistry([found], found.histograms)
    plain = await metrics.exposition(open_metrics=False)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", "nonsense")
    assert await MetricsRegistry([found], found.histograms).exposition(open_metrics=False) == plain
    assert "tracecar_replays_total{" in plain


async def test_exemplars_name_sampled_traces_only() -> None:
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


async def test_consumption_by_a_group_has_an_exemplar() -> None:
    found = build_measures()
    event = batch(1)[0].event
    node = Node(event, "ok", 0xABC, None, False, 0)
    found.record_delivery(("kafka", "orders", "billing"), 2.0, node, None)
    found.record_delivery(("kafka", "orders", "billing"), 20.0, node, 0xDEF)
    text = await MetricsRegistry([], found.histograms).exposition(open_metrics=True)
    exemplars = re.findall(r'delivery_duration\S+ \d+ # {trace_id="(\w+)",span_id="(\w+)"} (\S+)', text)
    span_id = f"{span_id_at(event.position):016x}"
    assert exemplars == [(f"{0xABC:032x}", span_id, "2"), (f"{0xDEF:032x}", span_id, "20")]


def test_members_are_counted_by_state() -> None:
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


async def test_concurrent_scrapes_are_answered() -> None:
    found = build_measures()
    found.record_batch(batch(3))
    metrics = MetricsRegistry([found], found.histograms)
    texts = await asyncio.gather(*(metrics.exposition(open_metrics=False) for _ in range(5)))
    assert len(set(texts)) == 1
