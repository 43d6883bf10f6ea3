"""Costs of sagas and lint for an event, by this process' own processor time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sidecar.domain.model import Event, SchemaRef
from sidecar.domain.ports.index import Node
from sidecar.domain.position import Position
from sidecar.insights.lint.linter import Linter
from sidecar.insights.sagas.declaration import DeclaredStep, SagaDeclaration
from sidecar.insights.sagas.tracker import SagaTracker
from sidecar.runtime.gc_tuning import tune_gc
from tests.bench import report
from tests.bench.unit import decoding

EVENTS, ROUNDS, BATCH = 100_000, 3, 500
FIRST_MS = 1_790_000_000_000
FLOW = ("OrderPlaced", "PaymentAuthorized", "StockReserved", "ParcelDispatched", "OrderCompleted")
OTHERS = 2
"""Of so many flows one is of a declared process: services publish much else."""
MAX_DECODINGS = 1.2
"""As measured, with some room: 8.4 µs (sagas 3.5, lint 4.9) where the bare decoding of an event took 8.1 µs."""
SUBJECT = SchemaRef("orders-value", 3, 17)


def _declaration() -> SagaDeclaration:
    steps = tuple(DeclaredStep(name=type, types=(type,), within_us=5_000_000) for type in FLOW[1:-1])
    return SagaDeclaration(
        name="order",
        start=FLOW[0],
        steps=steps,
        deadline_us=60_000_000,
        completed=frozenset({FLOW[-1]}),
        failed=frozenset({"PaymentRefused"}),
    )


def _node(number: int) -> Node:
    flow, place = divmod(number, len(FLOW))
    at = FIRST_MS + number
    prefix = "" if flow % OTHERS == 0 else "Other"
    event = Event(
        position=Position("kafka", f"stream-{place}", flow % 6, number),
        key=f"order-{flow}",
        appended_at=at,
        observed_at=at * 1000,
        event_id=f"event-{number}",
        type=prefix + FLOW[place],
        version="1",
        occurred_at=at * 1000 - 5_000,
        aggregate_id=f"order-{flow}",
        aggregate_type="order",
        trace_id=flow + 1,
        correlation_id=f"correlation-{flow}",
        causation_id=f"event-{number - 1}" if place else None,
        producer=f"service-{place}",
        schema=SUBJECT,
        digest=number,
    )
    return Node(event, "ok", flow + 1, None, False, 0)


def _batches(nodes: Sequence[Node]) -> Iterator[Sequence[Node]]:
    for start in range(0, len(nodes), BATCH):
        yield nodes[start : start + BATCH]


def _microseconds(nodes: Sequence[Node], observe: Callable[[Sequence[Node]], object]) -> float:
    began = time.process_time()
    for batch in _batches(nodes):
        observe(batch)
    return (time.process_time() - began) / len(nodes) * 1e6


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows: the least of some rounds."""
    nodes = [_node(number) for number in range(EVENTS)]
    tune_gc()
    unit = decoding()
    tracking, rules = [], []
    for _ in range(ROUNDS):
        tracking.append(_microseconds(nodes, SagaTracker([_declaration()]).observe))
        rules.append(_microseconds(nodes[::-1], Linter().observe))
    least = min(tracking), min(rules)
    print(f"sagas {least[0]:.2f} µs, lint {least[1]:.2f} µs, decoding {unit['value']:.2f} µs")
    return [
        {
            "what": "sagas and lint: an event followed and looked at by all rules (processor time)",
            "value": sum(least),
            "unit": "µs",
            **report.in_units(sum(least), MAX_DECODINGS, unit),
        }
    ]


if __name__ == "__main__":
    print(json.dumps({"rows": rows()}))
