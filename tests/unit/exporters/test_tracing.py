"""Tracing of events: flows, parents, sampling, and counts of spans that would be sent twice."""

from __future__ import annotations

import random

import pytest
from structlog.testing import capture_logs

from exporters.tracing.sampling import in_sample, sample_bound, sampling_from_environment
from sidecar.config.schema import SamplingConfig
from sidecar.config.value_types import Duration
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.model import Decoded, Record, Rejection, TraceOrigin
from tests.support.spans import Bench

NO = Rejection("decode.malformed", "no")


def test_an_event_with_a_trace_is_sent_at_once_below_its_senders_span() -> None:
    bench = Bench()
    (one,) = bench.pass_by(bench.event(trace_id=5, span_id=6, event_id="a"))
    assert (bench.span(one).trace_id, bench.span(one).parent_id) == (5, 6)


def test_an_event_with_a_known_cause_is_its_child_and_measures_the_edge() -> None:
    bench = Bench()
    cause, effect, by_span = bench.pass_by(
        bench.event(trace_id=5, span_id=6, event_id="a"),
        bench.event("payments", trace_id=5, span_id=7, event_id="b", causation_id="a"),
        bench.event("stock", trace_id=5, span_id=8, parent_span_id=7, event_id="c", trace_origin=TraceOrigin.B3),
    )
    assert bench.span(effect).parent_id == bench.id(cause)
    assert bench.span(by_span).parent_id == bench.id(effect)
    assert [link.span_id for link in bench.span(effect).links] == [7]
    assert bench.edges == [("orders", "payments"), ("payments", "stock")]


def test_an_event_waits_for_the_cause_that_it_names() -> None:
    bench = Bench()
    effect, cause = bench.pass_by(
        bench.event("payments", trace_id=5, span_id=7, event_id="b", causation_id="a"),
        bench.event(trace_id=5, span_id=6, event_id="a"),
    )
    bench.wait(3)
    assert bench.span(effect).parent_id == bench.id(cause)
    assert bench.tracing.changed == 0
    assert bench.edges == [("orders", "payments")]


def test_a_latency_has_an_exemplar_also_without_a_trace_in_the_event() -> None:
    bench = Bench()
    bench.pass_by(
        bench.event(trace_id=5, span_id=6, event_id="a", correlation_id="c"),
        bench.event("payments", event_id="b", causation_id="a", correlation_id="c"),
    )
    assert bench.edges == []
    bench.wait(3)
    assert (bench.edges, bench.edge_traces) == ([("orders", "payments")], [5])


@pytest.mark.parametrize("sampling", [SamplingConfig(keep="tail"), SamplingConfig(keep="ratio", ratio=0.0)])
def test_latencies_are_measured_of_what_sampling_leaves_out_too(sampling: SamplingConfig) -> None:
    bench = Bench(sampling)
    bench.pass_by(
        bench.event("payments", trace_id=5, span_id=7, event_id="b", causation_id="a"),
        bench.event(trace_id=5, span_id=6, event_id="a"),
        bench.event("mail", event_id="c", causation_id="b"),
    )
    bench.wait(3)
    assert (bench.spans, bench.tracing.unsampled) == ([], 3)
    assert sorted(bench.edges) == [("orders", "payments"), ("payments", "mail")]


def test_latencies_are_measured_of_what_finds_no_room_too() -> None:
    bench = Bench(max_held=2)
    bench.pass_by(bench.event(trace_id=5, span_id=6, event_id="a"))
    for number in range(6):
        bench.pass_by(bench.event("payments", event_id=f"b{number}", causation_id="a"))
    assert bench.backend.outbox.dropped == 2
    bench.wait(3)
    assert bench.edges == [("orders", "payments")] * 6


def test_unknown_causes_are_not_awaited_until_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.tracing.exporter.MAX_UNRESOLVED_CAUSES", 20)
    bench = Bench()

    def effect(number: int) -> None:
        words = {"event_id": f"b{number}", "causation_id": f"a{number}", "span_id": 7}
        bench.pass_by(bench.event("payments", trace_id=number, **words))

    for number in range(1, 21):
        effect(number)
    assert not bench.spans
    bench.wait(3)
    effect(21)
    assert [span.parent_id for span in bench.spans] == [7] * 21
    # The cause arrives too late: spans that were sent stay and are counted, and later events wait for it again.
    bench.pass_by(bench.event(trace_id=21, span_id=6, event_id="a21"))
    assert bench.tracing.changed == 1
    effect(22)
    assert (len(bench.spans), bench.tracing.held) == (22, 1)


def test_an_event_without_a_trace_gets_that_of_its_quiet_flow() -> None:
    bench = Bench(hold=3)
    order, mail = bench.pass_by(
        bench.event(trace_id=5, span_id=6, event_id="a", correlation_id="c"),
        bench.event("mail", event_id="m", correlation_id="c", at=1),
    )
    bench.wait(2)
    (more,) = bench.pass_by(bench.event("mail", event_id="n", correlation_id="c", causation_id="m", at=50))
    bench.wait(2)
    assert len(bench.spans) == 1
    assert bench.tracing.held == 2
    bench.wait(1)
    assert bench.tracing.held == 0
    assert (bench.span(mail).trace_id, bench.span(mail).parent_id) == (5, bench.id(order))
    assert ("tracecar.parent.inferred", True) in bench.span(mail).further
    assert (bench.span(more).trace_id, bench.span(more).parent_id) == (5, bench.id(mail))
    assert not bench.span(more).further


def test_a_flow_without_any_trace_has_the_derived_one() -> None:
    bench = Bench()
    first, second, alone = bench.pass_by(
        bench.event(event_id="a", correlation_id="c"),
        bench.event("mail", event_id="b", causation_id="a", correlation_id="c", at=9),
        bench.event("stock", event_id="z"),
    )
    bench.wait(3)
    assert {bench.span(first).trace_id, bench.span(second).trace_id} == {derive_trace_id("c")}
    assert bench.span(second).parent_id == bench.id(first)
    assert (bench.span(alone).trace_id, bench.span(alone).parent_id) == (derive_trace_id("z"), None)


def test_a_flow_that_continues_after_its_export_stays_in_its_trace() -> None:
    bench = Bench()
    bench.pass_by(bench.event("mail", event_id="b", correlation_id="c", at=9))
    bench.wait(3)
    # An earlier event with a trace arrives late: the spans that were sent would differ now.
    bench.pass_by(bench.event(trace_id=5, span_id=6, event_id="a", correlation_id="c", at=1))
    (late,) = bench.pass_by(bench.event("mail", event_id="d", correlation_id="c", at=10))
    bench.wait(3)
    assert bench.span(late).trace_id == derive_trace_id("c")
    assert (len(bench.spans), bench.tracing.changed) == (3, 1)


def test_backfilled_events_give_trace_and_parent_and_are_not_sent() -> None:
    bench = Bench()
    order = bench.event(trace_id=5, span_id=6, event_id="a", correlation_id="c")
    bench.tracing.remember([order])
    mail, effect = bench.pass_by(
        bench.event("mail", event_id="m", correlation_id="c", causation_id="a"),
        bench.event("payments", trace_id=5, span_id=9, causation_id="a"),
    )
    bench.wait(3)
    assert (bench.span(mail).trace_id, bench.span(mail).parent_id) == (5, bench.id(order))
    assert bench.span(effect).parent_id == bench.id(order)
    assert len(bench.spans) == 2


def test_a_flow_that_is_never_quiet_does_not_wait_for_ever() -> None:
    bench = Bench(hold=3)
    for number in range(40):
        bench.pass_by(bench.event("mail", event_id=f"m{number}", correlation_id="session"))
        bench.wait(1)
    assert 25 < len(bench.spans) < 40
    assert bench.tracing.early > 0


def test_events_beyond_the_waiting_limit_are_sent_early_and_counted() -> None:
    bench = Bench(max_held=10)
    bench.pass_by(*(bench.event(event_id=f"e{number}") for number in range(18)))
    bench.wait(0)
    assert (bench.tracing.held, len(bench.spans), bench.tracing.early) == (10, 8, 8)


def test_events_beyond_the_queue_are_dropped_and_counted() -> None:
    bench = Bench(max_held=10)
    bench.pass_by(*(bench.event(event_id=f"e{number}") for number in range(50)))
    assert (bench.tracing.held, bench.tracing.counts()) == (20, (0, 30, 0))


def test_a_key_of_too_many_joins_none() -> None:
    bench = Bench(max_flow=5)
    events = bench.pass_by(*(bench.event(event_id=f"e{number}", correlation_id="all") for number in range(9)))
    bench.wait(3)
    assert len(bench.spans) == 9
    assert all(bench.span(event).parent_id is None for event in events)


def test_duplicates_are_marked_and_replays_are_none() -> None:
    bench = Bench()
    first, again, replay = bench.pass_by(
        bench.event(trace_id=5, span_id=6, event_id="a"),
        bench.event(trace_id=5, span_id=6, event_id="a"),
        bench.event(trace_id=5, span_id=6, event_id="a", replay_of="g@memory://orders/0/0"),
    )
    assert ("duplicate_of", bench.id(first)) in [(link.kind, link.span_id) for link in bench.span(again).links]
    assert ("replay_of", bench.id(first)) in [(link.kind, link.span_id) for link in bench.span(replay).links]


def test_a_late_rejection_is_exported_and_its_span_is_not_sent_twice() -> None:
    bench = Bench()
    one = bench.event(trace_id=5, span_id=6, event_id="a", unchecked=True)
    bench.pass_by(one, bench.event(trace_id=5, span_id=7, event_id="b", unchecked=True))
    bench.pass_by(bench.event(offset=0, trace_id=5, span_id=6, event_id="a", rejection=NO))
    assert (len(bench.spans), bench.tracing.changed) == (2, 1)
    assert bench.rejected == [(one.position, 5)]
    # An entry of another member arrives out of order and is new here.
    bench.pass_by(bench.event("stock", offset=9, trace_id=9, span_id=6, event_id="x"))
    bench.pass_by(bench.event("stock", offset=3, trace_id=9, span_id=6, event_id="y", rejection=NO))
    assert len(bench.spans) == 4


def test_rejections_are_logged_with_the_trace_of_their_span() -> None:
    bench = Bench()
    bench.pass_by(bench.event(trace_id=5, span_id=6, rejection=NO), bench.event("mail", event_id="m", rejection=NO))
    assert [trace for _, trace in bench.rejected] == [5]
    bench.wait(3)
    assert [trace for _, trace in bench.rejected] == [5, derive_trace_id("m")]


def test_hidden_words_are_in_no_span() -> None:
    places = {"event_id": ["body:secret"], "aggregate_id": ["body:id"]}
    bench = Bench(redact=["body:secret"], places=places)
    (one,) = bench.pass_by(
        bench.event(trace_id=5, span_id=6, event_id="hidden", rejection=Rejection("schema.mismatch", 'found "hidden"'))
    )
    span = bench.span(one)
    assert "hidden" not in repr((span.values, span.further, span.notes, span.error))


# --- sampling


def test_sampling_selects_the_same_traces_everywhere() -> None:
    dice = random.Random(1)
    traces = [dice.getrandbits(128) for _ in range(2_000)]
    first, second = Bench(SamplingConfig(keep="ratio", ratio=0.25)), Bench(SamplingConfig(keep="ratio", ratio=0.25))
    for bench in (first, second):
        bench.pass_by(*(bench.event(trace_id=trace, span_id=1) for trace in traces))
    kept = {span.trace_id for span in first.spans}
    assert kept == {span.trace_id for span in second.spans}
    assert 400 < len(kept) < 600
    assert first.tracing.unsampled == 2_000 - len(kept)
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    sampler = TraceIdRatioBased(0.25)
    theirs = {trace for trace in traces if sampler.should_sample(None, trace, "x").decision is not Decision.DROP}
    assert kept == theirs


def test_a_flow_is_in_the_sample_as_a_whole() -> None:
    bench = Bench(SamplingConfig(keep="ratio", ratio=0.5))
    dice = random.Random(2)
    for number in range(100):
        words = {"correlation_id": f"c{number}"}
        bench.pass_by(bench.event(trace_id=dice.getrandbits(128), span_id=1, event_id=f"a{number}", **words))
        bench.pass_by(bench.event("mail", event_id=f"m{number}", **words))
    bench.wait(3)
    sizes = {trace: sum(span.trace_id == trace for span in bench.spans) for trace in {s.trace_id for s in bench.spans}}
    assert set(sizes.values()) == {2}
    assert bench.tracing.unsampled == 200 - len(bench.spans)


def _flow(bench: Bench, name: str, **last: object) -> None:
    bench.pass_by(
        bench.event(trace_id=derive_trace_id(name), span_id=1, event_id=f"{name}-1", at=0),
        bench.event("stock", trace_id=derive_trace_id(name), span_id=2, event_id=f"{name}-2", **({"at": 10} | last)),
    )


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (SamplingConfig(keep="tail"), {"failed"}),
        (SamplingConfig(keep="tail", slow=Duration(5)), {"failed", "slow"}),
        (SamplingConfig(keep="tail", failed=False, query="type:Special"), {"special"}),
        (SamplingConfig(keep="tail", failed=False, query="body.total:>100 header.h:v stream:stock"), {"dear"}),
        (SamplingConfig(keep="tail", failed=False, ratio=1.0), {"failed", "slow", "special", "dear", "plain"}),
    ],
)
def test_tail_sampling_keeps_whole_flows(sampling: SamplingConfig, kept: set[str]) -> None:
    bench = Bench(sampling)
    _flow(bench, "failed", rejection=NO)
    _flow(bench, "slow", at=5_000)
    _flow(bench, "special", type="Special")
    _flow(bench, "plain")
    bench.pass_by(bench.event(trace_id=derive_trace_id("dear"), span_id=1, event_id="dear-1"))
    bench.pass_by(
        bench.event("stock", trace_id=derive_trace_id("dear"), span_id=2, event_id="d-2"), body={"total": 500}
    )
    assert not bench.spans
    bench.wait(3)
    names = {derive_trace_id(name): name for name in ("failed", "slow", "special", "dear", "plain")}
    assert {names[span.trace_id] for span in bench.spans} == kept
    assert len(bench.spans) == 2 * len(kept)
    assert bench.tracing.unsampled == 10 - len(bench.spans)


def test_events_of_a_kept_flow_are_kept() -> None:
    bench = Bench(SamplingConfig(keep="tail"))
    _flow(bench, "failed", rejection=NO)
    bench.wait(3)
    bench.pass_by(bench.event("mail", trace_id=derive_trace_id("failed"), span_id=3, event_id="late"))
    bench.wait(3)
    assert len(bench.spans) == 3


def test_failures_after_the_sampling_decision_are_counted() -> None:
    bench = Bench(SamplingConfig(keep="tail"))
    _flow(bench, "plain")
    bench.wait(3)
    bench.pass_by(bench.event("mail", trace_id=derive_trace_id("plain"), span_id=3, event_id="late", rejection=NO))
    bench.wait(3)
    assert (len(bench.spans), bench.tracing.changed) == (1, 2)


def test_the_environment_sets_the_sampling_ratio() -> None:
    assert sampling_from_environment({}) == SamplingConfig()
    assert sampling_from_environment(
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    ) == (SamplingConfig(keep="ratio", ratio=0.5))
    assert sampling_from_environment({"OTEL_TRACES_SAMPLER": "always_off"}).ratio == 0.0
    assert sampling_from_environment({"OTEL_TRACES_SAMPLER": "traceidratio"}).ratio == 1.0
    assert not in_sample(0, sample_bound(0.0))
    assert in_sample((1 << 128) - 1, sample_bound(1.0))


@pytest.mark.parametrize(
    ("sampler", "argument", "told"),
    [
        ("traceidratio", "lots", "OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1, found 'lots'"),
        ("traceidratio", "10", "OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1, found '10'"),
        ("traceidratio", "nan", "OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1, found 'nan'"),
        ("jaeger_remote", "", "OTEL_TRACES_SAMPLER: expected always_on, "),
        ("parentbased_always_on", "", ""),
    ],
)
def test_an_invalid_sampler_keeps_all_traces_and_is_reported(sampler: str, argument: str, told: str) -> None:
    with capture_logs() as logs:
        found = sampling_from_environment({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert found == SamplingConfig()
    assert [told in one["reason"] for one in logs] == ([True] if told else [])


async def test_waiting_events_are_sent_at_the_stop() -> None:
    bench = Bench()
    bench.tracing.start()
    bench.pass_by(bench.event("mail", event_id="m"))
    await bench.tracing.close()
    assert len(bench.spans) == 1


def test_nothing_an_event_holds_stops_the_others() -> None:
    bench = Bench()
    odd = bench.event(event_id="", correlation_id="\ud800", trace_id=None, appended_at=-(1 << 62), occurred_at=1 << 62)
    itself = bench.event("mail", event_id="m", causation_id="m", correlation_id="m")
    loop = [bench.event("stock", event_id=id, causation_id=cause) for id, cause in (("a", "b"), ("b", "a"))]
    bench.pass_by(odd, itself, *loop)
    bench.tracing.offer([Decoded(Record(odd.position, None, None, (), 0), bench.event("x", event_id="y"))])
    bench.wait(3)
    assert len(bench.spans) == 5
