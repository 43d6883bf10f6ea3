"""Telemetry of a real sidecar on a real Valkey, received by a real collector and a real Zipkin."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from redis import Redis

from exporters.tracing.span_ids import span_id_at
from sidecar.adapters.brokers.redis.traits import parse_entry_id
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.derived_ids import derive_trace_id
from sidecar.domain.position import Position
from tests.servers.otlp import Receiver, attributes
from tests.servers.zipkin import Zipkin
from tests.support.sidecar_process import TOKEN, Sidecar

pytestmark = pytest.mark.valkey

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "eventId", "type": "string"}, {"name": "qty", "type": "int"}],
}


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Shop:
    """The streams of a test, and a sidecar."""

    def __init__(self, valkey: EmbeddedValkey, directory: Path, exporters: dict[str, Any], **more: Any) -> None:
        self.client = Redis.from_url(valkey.url)
        self.name = f"t{time.time_ns()}"
        schemas = directory / "schemas"
        schemas.mkdir(exist_ok=True)
        for stream in ("orders", "payments", "mail"):
            (schemas / f"{self.stream(stream)}-value.avsc").write_text(json.dumps(SCHEMA))
        source = {"url": valkey.url, "streams": [f"{self.name}.*"], "start": "earliest"}
        config = {"service": "shop", "sources": {"redis": source}, "registry": {"directory": str(schemas)}}
        self.sidecar = Sidecar(directory, {**config, "exporters": {"hold": "1s", **exporters}, **more})

    def stream(self, stem: str) -> str:
        return f"{self.name}.{stem}"

    def publish(self, stem: str, id: str, headers: dict[str, str] | None = None, qty: object = 1) -> Position:
        body = json.dumps({"eventId": id, "qty": qty})
        entry = self.client.xadd(self.stream(stem), {**(headers or {}), "payload": body})
        return Position("redis", self.stream(stem), 0, parse_entry_id(entry.decode()))


def traceparent(trace: int, span: int) -> dict[str, str]:
    return {"traceparent": f"00-{trace:032x}-{span:016x}-01"}


def test_flows_are_connected_across_a_kill_and_no_span_is_doubled(
    valkey: EmbeddedValkey, otlp: Receiver, zipkin: Zipkin, tmp_path: Path
) -> None:
    exporters = {
        "otlp": {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc", "signals": ["traces", "logs"]},
        "zipkin": {"endpoint": zipkin.endpoint},
    }
    shop = Shop(valkey, tmp_path, exporters)
    trace, plain = uuid.uuid4().int, uuid.uuid4().hex
    order = shop.publish("orders", "o", {**traceparent(trace, 11), "correlation-id": plain})
    shop.sidecar.start()
    try:
        payment = shop.publish(
            "payments", "p", {**traceparent(trace, 12), "correlation-id": plain, "causation-id": "o"}, qty="two"
        )
        bare = shop.publish("orders", "bare", {"correlation-id": f"{plain}-bare"})
        otlp.wait(lambda: len(otlp.spans) >= 3, f"the first spans\n{shop.sidecar.log}")
        shop.sidecar.kill()
        # Half of the flow is exported. The rest arrives without trace context, at a sidecar without memory of it.
        mail = shop.publish("mail", "m", {"correlation-id": plain, "causation-id": "p"})
        later = shop.publish("mail", "n", {"correlation-id": f"{plain}-bare", "causation-id": "bare"})
        replayed = {"tracecar.replay-of": f"tracecar.shop@{payment}", "tracecar.replay-id": "r-1"}
        context = {**traceparent(trace, 12), "correlation-id": plain, "causation-id": "o"}
        replay = shop.publish("payments", "p", {**context, **replayed})
        shop.sidecar.start()
        otlp.wait(lambda: len(otlp.spans) >= 6, f"the spans after the kill\n{shop.sidecar.log}")
        otlp.wait(lambda: len(otlp.log_records) >= 1, "the rejection's log record")
    finally:
        shop.sidecar.stop()

    spans = {attributes(span.attributes)["tracecar.position"]: span for span in otlp.spans}
    assert len(otlp.spans) == len(spans) == 6
    found = {position: spans[str(position)] for position in (order, payment, mail, replay, bare, later)}
    assert {int.from_bytes(found[one].trace_id) for one in (order, payment, mail, replay)} == {trace}
    assert found[later].trace_id == found[bare].trace_id
    parents = {one: int.from_bytes(span.parent_span_id) for one, span in found.items()}
    assert parents == {
        order: 11, payment: span_id_at(order), mail: span_id_at(payment), replay: span_id_at(order), bare: 0,
        later: span_id_at(bare),
    }  # fmt: skip
    links = {attributes(link.attributes)["tracecar.link"]: int.from_bytes(link.span_id) for link in found[replay].links}
    assert links == {"creation": 12, "replay_of": span_id_at(payment)}
    assert found[payment].status.code == 2
    assert [note.name for note in found[payment].events] == ["tracecar.rejection", "tracecar.dead_letter"]

    (record,) = otlp.log_records
    assert (int.from_bytes(record.trace_id), int.from_bytes(record.span_id)) == (trace, span_id_at(payment))
    assert attributes(record.attributes)["tracecar.code"] == "schema.mismatch"
    assert "schema.mismatch" in record.body.string_value
    assert shop.client.xlen(f"{shop.stream('payments')}.dlt") == 1

    in_zipkin = _read_from_zipkin(zipkin, trace, 4)
    assert {position: int(span["parentId"], 16) for position, span in in_zipkin.items()} == {
        str(one): parents[one] for one in (order, payment, mail, replay)
    }
    assert in_zipkin[str(payment)]["tags"]["error.type"] == "schema.mismatch"
    assert in_zipkin[str(replay)]["tags"]["tracecar.link.replay_of"].endswith(f"-{span_id_at(payment):016x}")


def _read_from_zipkin(zipkin: Zipkin, trace: int, spans: int) -> dict[str, dict[str, Any]]:
    """Return the spans of a trace by position, once Zipkin has that many."""
    zipkin.wait(lambda: len(zipkin.trace(f"{trace:032x}")) == spans, "the trace in Zipkin")
    return {span["tags"]["tracecar.position"]: span for span in zipkin.trace(f"{trace:032x}")}


def test_a_kill_loses_what_waited_for_its_flow_and_the_rest_of_the_flow_is_connected_all_the_same(
    valkey: EmbeddedValkey, otlp: Receiver, tmp_path: Path
) -> None:
    """Commits do not wait for telemetry: committed events are not read again, and a kill loses their waiting spans.

    An orderly stop sends them.
    """
    exporters = {"otlp": {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc", "signals": ["traces"]}, "hold": "1h"}
    shop = Shop(valkey, tmp_path, exporters)
    plain = uuid.uuid4().hex
    bare = shop.publish("orders", "bare", {"correlation-id": plain})
    with shop.sidecar:
        shop.sidecar.wait(
            lambda: _lag(shop) == 0 and _held(shop) == 1, "the event to be committed, and its span to wait"
        )
        shop.sidecar.kill()
        shop.sidecar.start()
        shop.sidecar.wait_ready()
        shop.sidecar.wait(lambda: _status(shop)["index"]["events"] == 1, "what was before to be read again")
        later = shop.publish("mail", "later", {"correlation-id": plain, "causation-id": "bare"})
        shop.sidecar.wait(lambda: _held(shop) == 1, "the second span to wait")
        assert otlp.spans == []
    otlp.wait(lambda: otlp.spans, "what waited when the sidecar was stopped")
    (span,) = otlp.spans
    assert attributes(span.attributes)["tracecar.position"] == str(later)
    assert int.from_bytes(span.parent_span_id) == span_id_at(bare)
    assert int.from_bytes(span.trace_id) == derive_trace_id(plain)


def test_a_kill_before_the_commit_sends_the_same_spans_again(
    valkey: EmbeddedValkey, otlp: Receiver, tmp_path: Path
) -> None:
    """Held events (here because the registry is unreachable) are shown and exported, but not committed."""
    exporters = {"otlp": {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc", "signals": ["traces"]}}
    shop = Shop(valkey, tmp_path, exporters, registry={"url": "http://127.0.0.1:1"})
    one, two = (shop.publish("orders", id, traceparent(uuid.uuid4().int, 7)) for id in ("a", "b"))
    with shop.sidecar:
        otlp.wait(lambda: len(otlp.spans) == 2, "the spans")
        shop.sidecar.kill()
        shop.sidecar.start()
        shop.sidecar.wait_ready()
        otlp.wait(lambda: len(otlp.spans) == 4, "the spans again")
    first, again = otlp.spans[:2], otlp.spans[2:]
    assert [span.SerializeToString() for span in again] == [span.SerializeToString() for span in first]
    assert [int.from_bytes(span.span_id) for span in first] == [span_id_at(one), span_id_at(two)]


def test_spans_hang_among_those_of_instrumented_services(
    valkey: EmbeddedValkey, otlp: Receiver, tmp_path: Path
) -> None:
    """The services send spans of their own with the SDK; ours is in the same trace, below the span of the sender."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = otlp.endpoint("http/protobuf")
    provider = TracerProvider(resource=Resource.create({"service.name": "orders"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    tracer = provider.get_tracer("shop")
    shop = Shop(valkey, tmp_path, {"otlp": {"endpoint": endpoint, "protocol": "http/protobuf", "signals": ["traces"]}})
    with shop.sidecar:
        with tracer.start_as_current_span("place order"):
            headers: dict[str, str] = {}
            with tracer.start_as_current_span("send orders", kind=SpanKind.PRODUCER) as sending:
                TraceContextTextMapPropagator().inject(headers)
                position = shop.publish("orders", "o", headers)
        provider.shutdown()
        otlp.wait(lambda: len(otlp.spans) >= 3, f"the spans\n{shop.sidecar.log}")
    assert len({span.trace_id for span in otlp.spans}) == 1
    (ours,) = [span for span in otlp.spans if "tracecar.position" in attributes(span.attributes)]
    assert int.from_bytes(ours.parent_span_id) == sending.get_span_context().span_id
    assert int.from_bytes(ours.span_id) == span_id_at(position)
    services = [
        attributes(resource.resource.attributes)["service.name"]
        for request in otlp.requests["traces"]
        for resource in request.resource_spans
    ]
    assert sorted(services) == ["orders", "tracecar"]


def test_a_backend_that_is_down_harms_nothing_and_gets_what_fits_once_it_is_back(
    valkey: EmbeddedValkey, otlp: Receiver, tmp_path: Path
) -> None:
    otlp.stop()
    exporters = {"otlp": {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc"}, "queue": 1000}
    shop = Shop(valkey, tmp_path, exporters)
    with shop.sidecar:
        for number in range(3_000):
            shop.publish("orders", f"o{number}", traceparent(number + 1, 1), qty=1 if number % 100 else "two")
        shop.sidecar.wait(lambda: _status(shop)["index"]["events"] == 3_000, "everything to be indexed")
        shop.sidecar.wait(lambda: _lag(shop) == 0, "everything to be committed")
        shop.sidecar.wait(lambda: shop.client.xlen(f"{shop.stream('orders')}.dlt") == 30, "the dead letters")
        told = {one["name"]: one for one in _status(shop)["exporters"]}
        assert told["otlp"]["sent"] == 0
        assert told["otlp"]["dropped"] >= 1_000
        shop.sidecar.wait(
            lambda: 'tracecar_exporter_up{exporter="otlp"} 0' in httpx2.get(f"{shop.sidecar.url}/metrics").text,
            "the trouble to be told",
        )
        assert shop.sidecar.log.count("telemetry is not taken") <= 2
        otlp.start()
        shop.sidecar.wait(lambda: _sent(shop) + _dropped(shop) == 3_000, "what waited to be sent", 120)
        otlp.wait(lambda: len(otlp.spans) == _sent(shop), "what was sent to arrive")
        otlp.wait(lambda: len(otlp.log_records) == 30, "the log records")
    assert len({span.span_id for span in otlp.spans}) == len(otlp.spans) <= 2_000


def test_every_dead_letter_is_counted_for_any_origin(valkey: EmbeddedValkey, otlp: Receiver, tmp_path: Path) -> None:
    """Of a rejection, of a report (made twice), and of an entry that a group gave up.

    Each is also a rejection by its code, and a log record.
    """
    shop = Shop(valkey, tmp_path, {"otlp": {"endpoint": otlp.endpoint("grpc"), "protocol": "grpc"}})
    source = shop.sidecar.config["sources"]["redis"] | {"exhausted": {"billing": {"deliveries": 1, "idle": "100ms"}}}
    sidecar = Sidecar(tmp_path, shop.sidecar.config | {"sources": {"redis": source}})
    shop.publish("orders", "bad", qty="two")
    trace = uuid.uuid4().int
    reported = shop.publish("orders", "reported", traceparent(trace, 5))
    stuck = shop.publish("payments", "stuck")
    shop.client.xgroup_create(shop.stream("payments"), "billing", "0")
    shop.client.xreadgroup("billing", "b-1", {shop.stream("payments"): ">"})
    with sidecar:
        report = {"position": str(reported), "group": "billing", "error": {"type": "KeyError", "message": "no"}}
        for status in (True, False):
            answer = httpx2.post(
                f"{sidecar.url}/v1/failures", json=report, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
            )
            assert answer.is_success
            assert answer.json()["created"] is status
        sidecar.wait(lambda: shop.client.xlen(f"{shop.stream('payments')}.dlt") == 1, f"{stuck} to be given up")

        def counted(stem: str) -> str:
            labels = f'messaging_system="redis",messaging_destination_name="{shop.stream(stem)}"'
            text = httpx2.get(f"{sidecar.url}/metrics").text
            return text.partition(f"tracecar_dead_letters_total{{{labels}}} ")[2].partition("\n")[0]

        sidecar.wait(lambda: (counted("orders"), counted("payments")) == ("2", "1"), "all letters to be counted")
        assert shop.client.xlen(f"{shop.stream('orders')}.dlt") == 2
        text = httpx2.get(f"{sidecar.url}/metrics").text
        codes = {
            code: int(count) for code, count in re.findall(r'tracecar_rejections_total{.*error_type="(.*)"} (.*)', text)
        }
        assert codes == {"schema.mismatch": 1, "reported.error": 1, "delivery.exhausted": 1}
        otlp.wait(lambda: len(otlp.log_records) == 3, "the log records")
    records = {attributes(record.attributes)["tracecar.code"]: record for record in otlp.log_records}
    words = attributes(records["reported.error"].attributes)
    assert (words["tracecar.position"], words["messaging.consumer.group.name"]) == (str(reported), "billing")
    assert words["tracecar.dead_letter.id"] == f"billing@{reported}"
    assert words["tracecar.dead_letter.stream"] == f"{shop.stream('orders')}.dlt"
    ids = records["reported.error"].trace_id, records["reported.error"].span_id
    assert tuple(map(int.from_bytes, ids)) == (trace, span_id_at(reported))
    assert attributes(records["delivery.exhausted"].attributes)["tracecar.dead_letter.id"] == f"billing@{stuck}"


def _status(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = shop.sidecar.get("/v1/status")
    return found


def _lag(shop: Shop) -> int:
    return sum((one["lag"] or 0) + (one["pending"] or 0) for one in _status(shop)["streams"])


def _held(shop: Shop) -> int:
    text = httpx2.get(f"{shop.sidecar.url}/metrics", timeout=30).text
    return int(text.partition("\ntracecar_spans_held ")[2].partition("\n")[0])


def _sent(shop: Shop) -> int:
    return next(int(one["sent"]) for one in _status(shop)["exporters"] if one["name"] == "otlp")


def _dropped(shop: Shop) -> int:
    return next(int(one["dropped"]) for one in _status(shop)["exporters"] if one["name"] == "otlp")
