"""The demo with only OpenTelemetry's standard variables set: each order is one trace, and the dashboard has data."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest

from tests.servers.otlp import Receiver, attributes
from tests.support import demo_process
from tests.support.promql import metrics_of, promql_expressions

pytestmark = pytest.mark.valkey


@pytest.fixture
def otlp() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


async def _await_metrics_of_all_panels(process: asyncio.subprocess.Process) -> set[str]:
    """Wait until the demo exposes the metrics of every panel or ends. Returns those that are missing."""
    assert process.stderr is not None
    said = ""
    while (url := re.search(r"TRACECAR_URL=(http://\S+)", said)) is None:
        line = await process.stderr.readline()
        assert line, said
        said += line.decode()
    panels = [expression for where, expression in promql_expressions() if not where.startswith("Tracecar")]
    wanted = {name for expression in panels for name in metrics_of(expression)}
    async with httpx2.AsyncClient(base_url=url[1]) as http:
        missing = wanted
        while missing and process.returncode is None:
            try:
                text = (await http.get("/metrics")).text
            except httpx2.TransportError:
                break
            missing = wanted - {re.split(r"[ {]", line)[0] for line in text.splitlines()}
    return missing


async def test_each_order_is_one_connected_trace_and_every_panel_has_data(otlp: Receiver) -> None:
    process = await demo_process.start(
        *("--headless", "--json", "--seconds", "14"),
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp.endpoint("http/protobuf"),
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_METRIC_EXPORT_INTERVAL="2000",
    )
    missing = await _await_metrics_of_all_panels(process)
    out, rest = await process.communicate()
    assert not missing
    assert process.returncode == 0, rest.decode()
    found = json.loads(out)

    spans = otlp.spans
    positions = Counter(attributes(span.attributes)["tracecar.position"] for span in spans)
    assert [position for position, times in positions.items() if times > 1] == []
    assert (
        len({(span.trace_id, span.span_id) for span in spans}) == len(positions) == found["events"] + found["replayed"]
    )
    traces: dict[bytes, list[object]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    assert len(traces) == found["flows"]
    ids = {(span.trace_id, span.span_id) for span in spans}
    tops = Counter(span.trace_id for span in spans if (span.trace_id, span.parent_span_id) not in ids)
    # Every span but the first of an order's trace has a parent in the trace. Contacts in `crm` are published badly.
    orders = {span.trace_id for span in spans if attributes(span.attributes)["messaging.destination.name"] == "orders"}
    assert len(orders) == found["orders"]
    assert {tops[trace] for trace in orders} == {1}
    services = {attributes(span.attributes).get("messaging.destination.name") for span in spans}
    assert services == {
        "orders", "payments", "stock", "scans", "shipping", "invoices", "notifications", "loyalty", "crm",
        "billing.commands",
    }  # fmt: skip
    # A replayed event is in the trace of its order, and links to the rejected one.
    again = [span for span in spans if any(note.name == "tracecar.replay" for note in span.events)]
    assert len(again) == found["replayed"] > 0
    by_id = {span.span_id: span for span in spans}
    for span in again:
        (first,) = [link.span_id for link in span.links if attributes(link.attributes)["tracecar.link"] == "replay_of"]
        assert by_id[first].status.code == 2
        assert by_id[first].trace_id == span.trace_id
    errors = Counter(attributes(span.attributes)["error.type"] for span in spans if span.status.code == 2)
    assert errors == found["codes"]
    assert len(otlp.log_records) == found["rejected"]
    assert all(len(record.trace_id) == 16 for record in otlp.log_records)
    assert {"tracecar.events", "tracecar.edge.duration", "messaging.process.duration"} <= set(otlp.metrics)
    duplicates = sum("tracecar.duplicate" in attributes(span.attributes) for span in spans)
    assert duplicates == found["duplicates"]
