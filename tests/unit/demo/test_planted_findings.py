"""`tracecar lint` on the demo's shop: it finds exactly what is planted, and nothing in a clean shop."""

from __future__ import annotations

import pytest

from sidecar.api.services.event_sampler import SampleChoice
from sidecar.decoding.formats.schema_format import UnusableSchema
from sidecar.demo.shop.bad_habits import list_planted_findings
from sidecar.demo.shop.saga import READERS, SERVICES, input_streams
from sidecar.domain.json_safe import to_json
from sidecar.domain.model import Decoded
from sidecar.insights.lint.linter import Linter, list_rules
from sidecar.insights.lint.rule import ConsumptionFacts, LintContext, PayloadSample
from tests.support.shop_events import ShopEvents, opened_flows, run_shop

ORDERS = 250
PARTITION_RULES = {"aggregate-without-key", "aggregate-on-several-partitions"}


def _consumption(system: str) -> ConsumptionFacts:
    groups: dict[tuple[str, str], list[str]] = {}
    for service, streams in {**{name: input_streams(name) for name in SERVICES}, **READERS}.items():
        for stream in streams:
            groups.setdefault((system, stream), []).append(service)
    return ConsumptionFacts(frozenset({system}), groups)


async def _sample(shop: ShopEvents, decoded: Decoded) -> tuple[object, frozenset[str]]:
    event = decoded.event
    if event.rejection is not None:
        return None, frozenset()
    fields = frozenset[str]()
    if event.schema is not None and (registered := await shop.schemas.text_of(event.schema)) is not None:
        compiled = shop.schemas.compile(registered)
        assert not isinstance(compiled, UnusableSchema)
        fields = compiled.deprecated_fields()
    return to_json(decoded.body), fields


async def _lint(shop: ShopEvents, system: str) -> set[tuple[str, str]]:
    linter, choice = Linter(old_version_after_s=5), SampleChoice()
    nodes = await shop.nodes()
    linter.observe(nodes)
    choice.offer(nodes)
    for flow in await shop.flows():
        linter.observe_flow(flow)
    by_position = {each.event.position: each for each in shop.decoded}
    for node in choice.nodes():
        decoded = by_position[node.event.position]
        body, deprecated = await _sample(shop, decoded)
        size = len(decoded.record.value or b"")
        linter.observe_payload(PayloadSample(node, {}, body, size, deprecated))
    findings = linter.findings(LintContext(_consumption(system), None))
    return {(finding.rule, finding.subject) for finding in findings}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["kafka", "redis"])
async def test_lint_finds_what_the_shop_plants_and_nothing_else(system: str) -> None:
    findings = await _lint(await run_shop(ORDERS, system), system)
    assert findings == set(list_planted_findings(partitioned=system == "kafka"))


def test_each_rule_has_a_planted_finding() -> None:
    assert {rule for rule, _ in list_planted_findings(partitioned=True)} == {rule.name for rule in list_rules()}
    without = {rule for rule, _ in list_planted_findings(partitioned=False)}
    assert {rule.name for rule in list_rules()} - without == PARTITION_RULES


@pytest.mark.slow
@pytest.mark.parametrize("system", ["kafka", "redis"])
async def test_lint_finds_nothing_in_a_clean_shop(system: str) -> None:
    shop = await run_shop(ORDERS, system, clean=True)
    assert await _lint(shop, system) == set()
    assert all(each.event.rejection is None for each in shop.decoded)


@pytest.mark.slow
async def test_each_habit_is_a_flow_of_its_own() -> None:
    shop = await run_shop(60)
    assert len(await shop.flows()) == opened_flows(shop.emissions, 60)
