"""A rule about streams without consumers."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.domain.ports.index import Node
from sidecar.insights.lint.evidence import Evidence, LintFinding, Severity
from sidecar.insights.lint.rule import LintContext, RuleInfo

NOT_CONSUMED = RuleInfo(
    name="stream-without-consumer",
    severity=Severity.NOTE,
    summary="No consumer group consumes a stream on which events arrive.",
    reason="Events are stored that no service uses, or a consumer was lost unnoticed.",
    remedy="Start the consumer, or stop the producer. A consumer that commits no offsets cannot be seen: silence the "
    "rule for its stream.",
)


class ConsumptionRule:
    """Compares the streams that have events with the groups that the broker knows."""

    infos = (NOT_CONSUMED,)

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], tuple[Evidence, set[str]]] = {}

    def observe(self, node: Node) -> None:
        event = node.event
        position = event.position
        stream = position.system, position.stream
        seen = self._streams.get(stream)
        if seen is None:
            seen = self._streams[stream] = Evidence(), set()
        seen[0].add(event)
        if event.type is not None:
            seen[1].add(event.type)

    def findings(self, context: LintContext) -> Iterable[LintFinding]:
        for (system, stream), (evidence, types) in self._streams.items():
            if system not in context.consumption.polled_systems:
                continue
            if context.consumption.groups_by_stream.get((system, stream)):
                continue
            names = sorted(types)
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more types" if len(names) > 5 else "")
            of_types = f" ({listed})" if names else ""
            message = f"no consumer group consumes {stream}{of_types}: {evidence.count:,} events"
            yield NOT_CONSUMED.finding(message, evidence, subject=stream, stream=stream)
