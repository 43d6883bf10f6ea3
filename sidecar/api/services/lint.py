"""Lint: shows the held events, their flows and a sample of their payloads to the rules, and answers what they found."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from sidecar.api import models
from sidecar.api.mappers.events import EventMapper, coverage
from sidecar.api.services.payloads import PayloadReader
from sidecar.api.services.search import EVENTS_PER_STEP, SearchableIndex, metadata_part
from sidecar.decoding.formats.schema_format import UnusableSchema
from sidecar.decoding.schema_cache import SchemaCache
from sidecar.domain.errors import Outage, QueryError, Refused
from sidecar.domain.json_safe import to_json, to_text
from sidecar.domain.model import SchemaRef
from sidecar.domain.ports.index import Node
from sidecar.domain.timestamps import format_rfc3339
from sidecar.insights.lint.evidence import LintFinding
from sidecar.insights.lint.linter import Linter, list_rules
from sidecar.insights.lint.rule import ConsumptionFacts, LintContext, PayloadSample
from sidecar.pipeline.consumer_groups.tracker import ConsumerGroupTracker
from sidecar.query import Query, parse

MAX_LINTED_EVENTS = 200_000
MAX_LINTED_FLOWS = 2_000
FLOWS_PER_STEP = 50
SAMPLES_PER_SIDE = 12
"""Payloads of each type that are read of its newest events, and of its oldest."""
MAX_SAMPLED_PAYLOADS = 600
PAYLOADS_PER_STEP = 64
HIDDEN_IDENTITY = ("event_id", "aggregate_id", "correlation_id", "causation_id", "type", "producer", "version")


class LintService:
    """Runs the linter over what the index holds."""

    def __init__(
        self,
        *,
        index: SearchableIndex,
        payloads: PayloadReader,
        mapper: EventMapper,
        catalog: SchemaCache,
        groups: ConsumerGroupTracker,
        build_linter: Callable[[frozenset[str]], Linter],
    ) -> None:
        """Create the service. `build_linter` builds a fresh linter, given the redacted fields of events."""
        self._index, self._payloads, self._mapper, self._catalog = index, payloads, mapper, catalog
        self._groups, self._build_linter = groups, build_linter

    async def findings(self, query: str = "", *, max_events: int = MAX_LINTED_EVENTS) -> models.LintPage:
        """Return what is wrong with the newest events that match. Raises QueryError, Outage and Refused."""
        parsed = parse(query)
        if parsed.needs_payload:
            raise QueryError("lint looks at metadata: leave out conditions on body. and header.", query, 0)
        linter, samples = self._build_linter(self._mapper.redactor.hidden_words), SampleChoice()
        events = await self._observe_events(linter, samples, parsed, max_events)
        flows = await self._observe_flows(linter, parsed)
        payloads = await self._observe_payloads(linter, samples.nodes())
        held = self._index.coverage()
        context = LintContext(self._consumption_facts(), held.since if held.evicted else None)
        items = [_finding(finding) for finding in linter.findings(context)]
        names = {item.rule for item in items}
        page = models.LintPage(
            items=items,
            events=events,
            flows=flows,
            payloads=payloads,
            rules=[rule for rule in explain_rules() if rule.name in names],
            coverage=coverage(held),
        )
        if events == max_events:
            note = f"the newest {max_events:,} events were looked at; narrow the query with since:, stream: or type:"
            page.coverage.note = f"{page.coverage.note} {note}" if page.coverage.note else note
        return page

    async def _observe_events(self, linter: Linter, samples: SampleChoice, query: Query, max_events: int) -> int:
        metadata, cursor, seen = metadata_part(query), None, 0
        while seen < max_events:
            step = min(EVENTS_PER_STEP, max_events - seen)
            page = await self._index.newest(cursor, step, since=query.since, until=query.until, streams=query.streams)
            nodes = [node for node in map(self._without_hidden, page.nodes) if metadata.matches(node)]
            linter.observe(nodes)
            samples.offer(nodes)
            seen += len(nodes)
            cursor = page.cursor
            if cursor is None:
                break
            await asyncio.sleep(0)
        return seen

    def _without_hidden(self, node: Node) -> Node:
        """Return the node with a redacted event that lacks its hidden fields, so that none is taken for an id."""
        redactor = self._mapper.redactor
        if not redactor.active:
            return node
        hidden = {word: None for word in HIDDEN_IDENTITY if word in redactor.hidden_words}
        event = redactor.event(node.event)
        return replace(node, event=replace(event, **hidden) if hidden else event)

    async def _observe_flows(self, linter: Linter, query: Query) -> int:
        cursor, seen = None, 0
        while seen < MAX_LINTED_FLOWS:
            flows, cursor = await self._index.flows(FLOWS_PER_STEP, cursor)
            for flow in flows:
                nodes = list(map(self._without_hidden, flow.nodes))
                if any(query.matches(node) for node in nodes):
                    linter.observe_flow(replace(flow, nodes=nodes))
                    seen += 1
            if cursor is None:
                break
            await asyncio.sleep(0)
        return seen

    async def _observe_payloads(self, linter: Linter, nodes: Sequence[Node]) -> int:
        deprecated: dict[SchemaRef, frozenset[str]] = {}
        read = 0
        for start in range(0, len(nodes), PAYLOADS_PER_STEP):
            part = nodes[start : start + PAYLOADS_PER_STEP]
            try:
                payloads = await self._payloads.all([node.event.position for node in part])
            except (Outage, Refused):
                return read  # rules about payloads find nothing; the others have what they need
            for node, payload in zip(part, payloads, strict=True):
                decoded = payload.decoded
                if decoded is None:
                    continue
                schema = node.event.schema
                fields = frozenset[str]()
                if schema is not None:
                    if schema not in deprecated:
                        deprecated[schema] = await self._list_deprecated(schema)
                    fields = deprecated[schema]
                headers = {
                    name.lower(): value.decode("utf-8", "replace")
                    for name, value in self._mapper.headers_of(decoded)
                    if value is not None
                }
                body = to_json(self._mapper.body_of(decoded))
                linter.observe_payload(PayloadSample(node, headers, body, len(decoded.record.value or b""), fields))
                read += 1
                await asyncio.sleep(0)
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
        groups: dict[tuple[str, str], list[str]] = {}
        for group in self._groups.groups():
            for stream in group.streams:
                groups.setdefault((group.system, stream), []).append(group.group)
        return ConsumptionFacts(frozenset(self._groups.polled_at), groups)


class SampleChoice:
    """Chooses the events whose payloads are read: of each stream and type the newest and the oldest."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str | None, bool], list[Node]] = {}
        self._oldest: dict[tuple[str, str | None, bool], deque[Node]] = {}

    def offer(self, nodes: Iterable[Node]) -> None:
        """Take in events, newest first."""
        for node in nodes:
            event = node.event
            kind = event.position.stream, event.type, event.rejection is not None
            newest = self._newest.setdefault(kind, [])
            if len(newest) < SAMPLES_PER_SIDE:
                newest.append(node)
            else:
                self._oldest.setdefault(kind, deque(maxlen=SAMPLES_PER_SIDE)).append(node)

    def nodes(self) -> list[Node]:
        """Return the chosen events, a few of each kind before many of one."""
        kinds = [[*nodes, *self._oldest.get(kind, ())] for kind, nodes in self._newest.items()]
        per_kind = max(2, min(2 * SAMPLES_PER_SIDE, MAX_SAMPLED_PAYLOADS // max(1, len(kinds))))
        half = per_kind // 2
        chosen = [nodes if len(nodes) <= per_kind else [*nodes[:half], *nodes[-half:]] for nodes in kinds]
        return [node for nodes in chosen for node in nodes][:MAX_SAMPLED_PAYLOADS]


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
