"""Lint: shows the held events, their flows and a sample of their payloads to the rules, and answers what they found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sidecar.api import models
from sidecar.api.mappers.consumer_groups import list_consumers
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.event_sampler import (
    MAX_SAMPLED_EVENTS,
    EventSampler,
    SampleChoice,
    parse_metadata_query,
    value_size,
)
from sidecar.api.services.pages import suggest_if_empty
from sidecar.decoding.formats.schema_format import UnusableSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.json_safe import to_json, to_text
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.index import IndexReader, Node
from sidecar.domain.timestamps import format_rfc3339
from sidecar.insights.lint.evidence import LintFinding
from sidecar.insights.lint.linter import Linter, list_rules
from sidecar.insights.lint.rule import ConsumptionFacts, LintContext, PayloadSample
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.query import Query

MAX_LINTED_FLOWS = 2_000


class LintService:
    """Runs the linter over what the index holds."""

    def __init__(
        self,
        *,
        index: IndexReader,
        sampler: EventSampler,
        mapper: EventMapper,
        catalog: SchemaCache,
        groups: ConsumerGroupTracker,
        build_linter: Callable[[frozenset[str]], Linter],
    ) -> None:
        """Create the service. `build_linter` builds a fresh linter, given the redacted fields of events."""
        self._index, self._sampler, self._mapper, self._catalog = index, sampler, mapper, catalog
        self._groups, self._build_linter = groups, build_linter

    async def findings(self, query: str = "", *, max_events: int = MAX_SAMPLED_EVENTS) -> models.LintPage:
        """Return what is wrong with the newest events that match. Raises QueryError, Outage and Refused."""
        parsed, events = parse_metadata_query(query), 0
        linter, samples = self._build_linter(self._mapper.redactor.hidden_words), SampleChoice()
        async for nodes in self._sampler.events(parsed, max_events):
            linter.observe(nodes)
            samples.offer(nodes)
            events += len(nodes)
        flows = await self._observe_flows(linter, parsed)
        payloads = await self._observe_payloads(linter, samples.nodes())
        held = self._index.coverage()
        context = LintContext(self._consumption_facts(), held.since if held.evicted else None)
        findings = await asyncio.to_thread(linter.findings, context)  # it visits every aggregate
        items = [_finding(finding) for finding in findings]
        names = {item.rule for item in items}
        page = models.LintPage(
            items=items,
            events=events,
            flows=flows,
            payloads=payloads,
            rules=[rule for rule in explain_rules() if rule.name in names],
            coverage=coverage(held),
            did_you_mean=suggest_if_empty(range(events), query),
        )
        if events == max_events:
            note = f"the newest {max_events:,} events were looked at; narrow the query with since:, stream: or type:"
            page.coverage.note = f"{page.coverage.note} {note}" if page.coverage.note else note
        return page

    def rules(self) -> Sequence[models.LintRuleModel]:
        """Return every rule, by name."""
        return explain_rules()

    async def _observe_flows(self, linter: Linter, query: Query) -> int:
        seen = 0
        async for flow in self._sampler.flows(MAX_LINTED_FLOWS):
            if any(query.matches(node) for node in flow.nodes):
                linter.observe_flow(flow)
                seen += 1
        return seen

    async def _observe_payloads(self, linter: Linter, nodes: Sequence[Node]) -> int:
        deprecated: dict[SchemaRef, frozenset[str]] = {}
        read = 0
        async for node, decoded in self._sampler.payloads(nodes):
            schema, fields = node.event.schema, frozenset[str]()
            if schema is not None:
                if schema not in deprecated:
                    deprecated[schema] = await self._list_deprecated(schema)
                fields = deprecated[schema]
            headers = self._sampler.headers(decoded)
            body = to_json(self._mapper.body_of(decoded))
            linter.observe_payload(PayloadSample(node, headers, body, value_size(decoded.record), fields))
            read += 1
        return read

    async def _list_deprecated(self, ref: SchemaRef) -> frozenset[str]:
        try:
            registered = await self._catalog.text_of(ref)
        except (Outage, Refused):
            return frozenset()
        if registered is None:
            return frozenset()
        compiled = self._catalog.compile(registered)
        return frozenset() if isinstance(compiled, UnusableSchema) else compiled.deprecated_fields()

    def _consumption_facts(self) -> ConsumptionFacts:
        return ConsumptionFacts(frozenset(self._groups.polled_at), list_consumers(self._groups))


def explain_rules() -> list[models.LintRuleModel]:
    """Return every rule with its explanation, by name."""
    return [
        models.LintRuleModel(
            name=info.name,
            severity=info.severity.value,
            summary=info.summary,
            reason=info.reason,
            remedy=info.remedy,
        )
        for info in list_rules()
    ]


def _finding(finding: LintFinding) -> models.LintFindingModel:
    return models.LintFindingModel(
        rule=finding.rule,
        severity=finding.severity.value,
        subject=to_text(finding.subject),
        message=to_text(finding.message),
        stream=None if finding.stream is None else to_text(finding.stream),
        type=None if finding.type is None else to_text(finding.type),
        evidence=[str(position) for position in finding.evidence],
        count=finding.count,
        first_seen=_time(finding.first_seen),
        last_seen=_time(finding.last_seen),
    )


def _time(millis: int | None) -> str | None:
    return None if millis is None else format_rfc3339(millis * 1000)
