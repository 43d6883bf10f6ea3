"""Each lint rule finds its fault, with evidence, and finds nothing in clean events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.domain.model import Event, Rejection, SchemaRef
from sidecar.domain.ports.index import Flow, Node
from sidecar.domain.position import Position
from sidecar.insights.lint.docs_generator import markdown
from sidecar.insights.lint.evidence import MAX_EVIDENCE_PER_FINDING, LintFinding
from sidecar.insights.lint.linter import Linter, list_rules
from sidecar.insights.lint.rule import ConsumptionFacts, LintContext, PayloadSample
from sidecar.insights.lint.type_grammar import is_command_stream, reads_as_command, reads_as_event

NOW_MS = 1_790_000_000_000
CONSUMED = ConsumptionFacts(frozenset({"kafka"}), {("kafka", stream): ["billing"] for stream in ("orders", "copies")})
_numbers = itertools.count()


def node(
    *, stream: str = "orders", partition: int = 0, offset: int | None = None, at_ms: int = 0, changed: bool = False,
    status: str = "ok", parent: Node | None = None, **fields: Any,
) -> Node:  # fmt: skip
    number = next(_numbers)
    position = Position("kafka", stream, partition, number if offset is None else offset)
    complete = {
        "key": f"order-{number}", "appended_at": NOW_MS + at_ms, "observed_at": (NOW_MS + at_ms) * 1000,
        "event_id": f"event-{number}", "type": "OrderPlaced", "occurred_at": (NOW_MS + at_ms) * 1000,
        "aggregate_id": f"order-{number}", "aggregate_type": "order", "producer": "shop", "digest": number + 1,
        "schema": SchemaRef("orders-value", 1, 7),
    }  # fmt: skip
    event = Event(position=position, **(complete | fields))
    above = None if parent is None else parent.event.position
    depth = 0 if parent is None else parent.depth + 1
    return Node(event, status, 1, above, False, depth, changed)


def lint(
    nodes: Sequence[Node] = (), flows: Sequence[Sequence[Node]] = (), samples: Sequence[PayloadSample] = (),
    context: LintContext | None = None, **options: Any,
) -> list[LintFinding]:  # fmt: skip
    linter = Linter(**options)
    linter.observe(sorted(nodes, key=lambda node: node.event.appended_at, reverse=True))
    for nodes_of_flow in flows:
        linter.observe_flow(Flow(1, list(nodes_of_flow)))
    for sample in samples:
        linter.observe_payload(sample)
    return linter.findings(context or LintContext(CONSUMED, None))


def chain(*types: str, aggregate_id: str = "order-1", **fields: Any) -> list[Node]:
    nodes: list[Node] = []
    for type in types:
        nodes.append(node(type=type, aggregate_id=aggregate_id, parent=nodes[-1] if nodes else None, **fields))
    return nodes


def sample(
    body: object, *, size_bytes: int = 100, headers: dict[str, str] | None = None, **fields: Any
) -> PayloadSample:
    deprecated = fields.pop("deprecated_fields", frozenset())
    return PayloadSample(node(**fields), headers or {}, body, size_bytes, deprecated)


def only(findings: Sequence[LintFinding], rule: str) -> LintFinding:
    (finding,) = findings
    assert finding.rule == rule
    return finding


def test_clean_events_have_no_findings() -> None:
    nodes = [node(at_ms=at) for at in range(50)]
    flows = [chain("OrderPlaced", "OrderPaid", "OrderShipped") for _ in range(5)]
    assert lint(nodes, flows, [sample({"total": 5, "sku": "A-1"}) for _ in range(30)]) == []


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"event_id": None}, "missing-id"),
        ({"occurred_at": None}, "missing-time"),
        ({"schema": None}, "missing-version"),
        ({"type": None}, "missing-type"),
    ],
)
def test_missing_fields_are_counted_of_all(fields: dict[str, Any], rule: str) -> None:
    bad = node(**fields)
    finding = only(lint([bad, *(node() for _ in range(3))]), rule)
    assert finding.evidence == [bad.event.position]
    assert finding.count == 1
    assert finding.message.startswith("all 1 event " if rule == "missing-type" else "1 of 4 events")


def test_a_redacted_field_is_not_reported_as_missing() -> None:
    assert lint([node(event_id=None)], hidden_fields=frozenset({"event_id"})) == []


def test_fields_of_rejected_events_and_tombstones_are_not_checked() -> None:
    tombstone = node(digest=0, event_id=None, type=None, schema=None, occurred_at=None)
    rejected = node(event_id=None, type=None, schema=None, occurred_at=None, rejection=Rejection("decode.limit", "x"))
    assert [finding.rule for finding in lint([tombstone, rejected])] == ["failing-events"]


def test_evidence_is_bounded_and_the_newest_first() -> None:
    nodes = [node(event_id=None, at_ms=at) for at in range(20)]
    finding = only(lint(nodes), "missing-id")
    assert finding.evidence == [each.event.position for each in nodes[: -1 - MAX_EVIDENCE_PER_FINDING : -1]]
    assert (finding.count, finding.first_seen, finding.last_seen) == (20, NOW_MS, NOW_MS + 19)


@pytest.mark.parametrize(
    "name",
    ["PlaceOrder", "com.shop.SendInvoiceCommand", "place_order", "order.cancel", "ReserveStock.v2", "charge-card"],
)
def test_commands_are_recognized_by_their_names(name: str) -> None:
    assert reads_as_command(name)
    assert not reads_as_event(name)
    assert only(lint([node(type=name)]), "event-named-as-command").type == name


@pytest.mark.parametrize(
    "name",
    [
        "OrderPlaced",
        "com.shop.OrderCancelledEvent",
        "order.paid",
        "InvoiceSent",
        "StockLow",
        "Order",
        "PaymentV2",
        "sent",
    ],
)
def test_event_names_are_not_reported_as_commands(name: str) -> None:
    assert not reads_as_command(name)
    assert lint([node(type=name)]) == []


def test_an_event_on_a_command_stream_is_named_wrongly() -> None:
    facts = LintContext(ConsumptionFacts(frozenset(), {}), None)
    stream = "billing.commands"
    assert is_command_stream(stream)
    assert not is_command_stream("recommendations")
    assert (
        only(lint([node(stream=stream, type="OrderPlaced")], context=facts), "command-named-as-event").stream == stream
    )
    assert lint([node(stream=stream, type="PlaceOrder")], context=facts) == []


def test_row_changes_are_found_by_their_form() -> None:
    rows = [node(type="customers.updated", aggregate_type="customers"), node(type="db.customers.Envelope")]
    assert only(lint(rows), "row-change").count == 2
    crud = [node(type=f"Customer{verb}") for verb in ("Created", "Updated", "Deleted")]
    assert only(lint(crud), "row-change").stream == "orders"
    assert lint([*crud, node(type="CustomerBlocked")]) == []


def test_an_id_with_two_bodies_is_an_error() -> None:
    nodes = [node(event_id="e1", at_ms=1), node(event_id="e1", at_ms=2, status="duplicate", changed=True)]
    finding = only(lint(nodes), "id-with-different-bodies")
    assert (finding.count, finding.evidence) == (1, [nodes[1].event.position]), "the later event repeats the id"
    same = [node(event_id="e1", digest=5, at_ms=1), node(event_id="e1", digest=5, at_ms=2, status="duplicate")]
    assert lint(same) == []


def test_streams_that_disagree_about_an_id() -> None:
    nodes = [node(event_id="e1"), node(event_id="e1", stream="copies")]
    finding = only(lint(nodes), "streams-disagree")
    assert "copies and orders" in finding.message
    assert lint([node(event_id="e1", digest=5), node(event_id="e1", digest=5, stream="copies")]) == []
    assert lint([node(event_id="e1"), node(event_id="e1", stream="copies", hop_of="kafka://orders/0/1")]) == []


def sequence(*versions: int, aggregate_id: str = "a", **fields: Any) -> list[Node]:
    return [
        node(aggregate_id=aggregate_id, version=str(version), at_ms=at, offset=at, **fields)
        for at, version in enumerate(versions)
    ]


def test_a_gap_in_an_aggregates_versions() -> None:
    nodes = sequence(1, 2, 5, 6)
    finding = only(lint(nodes), "version-gap")
    assert finding.evidence == [nodes[2].event.position]
    assert "2 versions" in finding.message
    assert lint(sequence(1, 2, 3, 4)) == []


def test_versions_that_name_a_schema_are_no_sequence() -> None:
    nodes = [each for id in "abc" for each in sequence(1, 1, 1, 3, 3, 3, aggregate_id=id)]
    assert lint(nodes) == []


def test_a_gap_that_eviction_may_have_made_is_not_reported() -> None:
    context = LintContext(CONSUMED, NOW_MS + 2)
    assert lint(sequence(1, 2, 5, 6), context=context) == []
    assert only(lint(sequence(1, 2, 3, 6), context=context), "version-gap").count == 1


def test_a_gap_that_another_stream_fills_is_none() -> None:
    first = sequence(1, 2, 4, 5)
    second = [
        node(stream="copies", aggregate_id="a", version="3"),
        *sequence(1, 2, 3, aggregate_id="b", stream="copies"),
    ]
    assert lint([*first, *second]) == []


def test_versions_out_of_order_on_one_partition() -> None:
    nodes = sequence(1, 3, 2, 4)
    assert only(lint(nodes), "version-reordered").evidence == [nodes[2].event.position]


def test_aggregates_without_a_key_and_on_several_partitions() -> None:
    assert only(lint([node(key=None)]), "aggregate-without-key").count == 1
    spread = [node(aggregate_id="a", partition=partition) for partition in (0, 1)]
    assert only(lint(spread), "aggregate-on-several-partitions").count == 1


def test_long_chains_and_cycles() -> None:
    types = [f"Step{number}Done" for number in range(12)]
    finding = only(lint(flows=[chain(*types)]), "long-chain")
    assert "12 events" in finding.message
    assert lint(flows=[chain(*types)], max_chain=12) == []
    finding = only(lint(flows=[chain("OrderPriced", "StockChecked", "OrderPriced")]), "cycle")
    assert "OrderPriced → StockChecked → OrderPriced" in finding.message
    different = chain("OrderPriced", "StockChecked")
    different.append(node(type="OrderPriced", aggregate_id="another", parent=different[-1]))
    assert lint(flows=[different]) == []


def test_an_id_on_two_streams_is_not_reused_on_either() -> None:
    nodes = [node(event_id="e1", at_ms=1), node(event_id="e1", at_ms=2, stream="copies", changed=True)]
    only(lint(nodes), "streams-disagree")


def test_inferred_causes_are_no_evidence_of_chains_and_cycles() -> None:
    for types in ([f"Step{number}Done" for number in range(12)], ["OrderPriced", "StockChecked", "OrderPriced"]):
        nodes = chain(*types)
        nodes[1].parent_inferred = True
        assert lint(flows=[nodes], max_chain=11) == []


def _reactions(*effects: tuple[str, str | None, str], times: int = 10) -> list[list[Node]]:
    """Return flows of a type and of its effect by a producer."""
    flows = []
    for _ in range(times):
        for type, effect, producer in effects:
            cause = node(type=type)
            result = [] if effect is None else [node(type=effect, stream="bills", producer=producer, parent=cause)]
            flows.append([cause, *result])
    return flows


def test_a_type_that_no_group_reacts_to_is_reported() -> None:
    flows = _reactions(("OrderPlaced", "OrderBilled", "/shop/billing"), ("OrderPrinted", None, ""))
    finding = only(lint(flows=flows), "type-without-consumer")
    assert (finding.subject, finding.count) == ("OrderPrinted", 10)
    assert lint(flows=_reactions(("OrderPlaced", "OrderBilled", "billing"), ("OrderPrinted", None, ""), times=9)) == []
    silent = ConsumptionFacts(frozenset({"kafka"}), {("kafka", "orders"): ["archive", "billing"]})
    assert lint(flows=flows, context=LintContext(silent, None)) == [], "the archive may use every type"


def test_requests_that_are_answered_at_once() -> None:
    def pair(latency_ms: int) -> list[Node]:
        request = node(type="PriceRequested", producer="shop")
        return [request, node(type="PriceReply", producer="pricing", parent=request, at_ms=latency_ms)]

    assert "40 ms" in only(lint(flows=[pair(40) for _ in range(3)]), "synchronous-request-reply").message
    assert lint(flows=[pair(60_000) for _ in range(3)]) == []
    assert lint(flows=[pair(40)]) == [], "one reply is no habit"


def test_clocks_that_disagree() -> None:
    ahead = node(occurred_at=(NOW_MS + 90_000) * 1000)
    assert "90.0 s ahead" in only(lint([ahead]), "clock-skew").message
    cause = node(producer="shop", occurred_at=NOW_MS * 1000)
    effect = node(producer="billing", occurred_at=(NOW_MS - 5_000) * 1000, parent=cause)
    assert "5.0 s before" in only(lint(flows=[[cause, effect]]), "clock-skew").message
    assert lint([node(occurred_at=(NOW_MS + 500) * 1000)]) == []


def test_a_stream_without_a_consumer_group() -> None:
    nothing = LintContext(ConsumptionFacts(frozenset({"kafka"}), {}), None)
    assert "OrderPlaced" in only(lint([node()], context=nothing), "stream-without-consumer").message
    unknown = LintContext(ConsumptionFacts(frozenset(), {}), None)
    assert lint([node()], context=unknown) == []


def test_an_old_schema_version_that_is_still_produced() -> None:
    newest = node(schema=SchemaRef("orders-value", 2, 8), at_ms=0)
    late = node(at_ms=20 * 60_000, producer="warehouse")
    finding = only(lint([node(at_ms=-1000), newest, late]), "old-schema-version")
    assert "by shop, warehouse, 20m after version 2" in finding.message
    assert lint([node(at_ms=60_000), newest]) == []


def test_deprecated_fields_with_values() -> None:
    deprecated = frozenset({"customer.fax"})
    findings = lint(samples=[sample({"customer": {"fax": "1"}}, deprecated_fields=deprecated)])
    assert "customer.fax" in only(findings, "deprecated-field").message
    assert lint(samples=[sample({"customer": {"fax": None}}, deprecated_fields=deprecated)]) == []


def test_payloads_that_grow() -> None:
    growing = [sample({}, size_bytes=1_000 + at * 1_000, at_ms=at) for at in range(20)]
    assert only(lint(samples=growing), "payload-growth").count == 5
    steady = [sample({}, size_bytes=50_000 + at % 3, at_ms=at) for at in range(20)]
    assert lint(samples=steady) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"customer": {"email": "x"}}, "customer.email"),
        ({"contact": "ada@example.com"}, "contact"),
        ({"accounts": [{"ref": "DE89 3704 0044 0532 0130 00"}]}, "accounts.ref"),
        ({"ref": "4111 1111 1111 1111"}, "ref"),
        ({"dateOfBirth": 7}, "dateOfBirth"),
    ],
)
def test_personal_data_is_found_by_name_and_by_form(body: object, path: str) -> None:
    finding = only(lint(samples=[sample(body)]), "personal-data")
    assert finding.message.endswith(path)


@pytest.mark.parametrize(
    "body",
    [
        {"email": "[redacted]"},
        {"order": "4111111111111112", "emailed": True, "companyName": "x"},
        {"trace": "4bf92f3577b34da6a3ce929d0e0e4736", "number": 1234567890123},
        "ada@example.com",
    ],
)
def test_redacted_and_harmless_values_are_no_personal_data(body: object) -> None:
    assert lint(samples=[sample(body)]) == []


def test_a_cause_is_blamed_on_what_only_failing_events_have() -> None:
    rejection = Rejection("schema.mismatch", "data.total: expected a number, found a text", "data.items[2].total")
    failing = [
        node(rejection=rejection, producer="shop-2", schema=SchemaRef("orders-value", 3, 9), at_ms=at)
        for at in range(4)
    ]
    finding = only(lint([*failing, *(node() for _ in range(9))]), "failing-events")
    assert finding.count == 4
    assert "data.items[].total" in finding.message
    assert "the producer shop-2 and version 3 of orders-value" in finding.message
    deployed = [
        sample(None, headers={"service.version": "1.4"}, rejection=rejection),
        sample({}, headers={"service.version": "1.3"}),
    ]
    linter = Linter()
    linter.observe([*(each.node for each in deployed), node()])
    for each in deployed:
        linter.observe_payload(each)
    assert "service.version 1.4" in only(linter.findings(LintContext(CONSUMED, None)), "failing-events").message


@pytest.mark.parametrize("ignore", ["missing-id", "missing-id:orders", "missing-id:OrderPlaced"])
def test_findings_are_silenced_by_rule_stream_and_type(ignore: str) -> None:
    assert lint([node(event_id=None)], ignore=[ignore]) == []
    assert len(lint([node(event_id=None)], ignore=["missing-id:other", "missing-time"])) == 1


def test_the_documentation_explains_every_rule() -> None:
    written = (Path(__file__).parents[3] / "docs" / "lint.md").read_text()
    assert written == markdown(), "write it again: python -m sidecar.insights.lint.docs_generator > docs/lint.md"
    assert all(f"## {rule.name}\n" in written for rule in list_rules())
